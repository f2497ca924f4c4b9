"""Tokens: the maps of a network, laid on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import adaptive_avg_pool2d


@dataclass(frozen=True)
class TokenGrid:
    """How the maps of the last stages become tokens.

    Parameters
    ----------
    n_stages : int
        How many of the last stages.
    side : int
        Each map is averaged to side x side tokens, whatever the photo's size and aspect.
    """

    n_stages: int
    side: int

    def tokens(
        self, seen: Sequence[tuple[Sequence[torch.Tensor], torch.Tensor | None]]
    ) -> list[torch.Tensor]:
        """Return the tokens of images of one size.

        Parameters
        ----------
        seen : sequence of (maps, class token)
            At each scale the last maps, [(n, c_s, h_s, w_s)], and the class token (n, c) or None.

        Returns
        -------
        list of tensor (n, side * side, c_s) or (n, 1, c)
            Scale by scale a block for each map; the class tokens are last.

        Raises
        ------
        ValueError
            If there are fewer maps.
        """
        blocks, class_tokens = [], []
        for maps, class_token in seen:
            if len(maps) < self.n_stages:
                raise ValueError(
                    f"token_stages={self.n_stages}, but there are maps of {len(maps)} stages: the "
                    "network has no more, or maps_dir keeps only the last one in front of the "
                    "trained_last_stages."
                )
            for x in maps:
                cells = adaptive_avg_pool2d(x.float(), self.side)
                blocks.append(cells.flatten(2).mT)  # (n, c, side, side) -> (n, side * side, c)
            if class_token is not None:
                class_tokens.append(class_token.float()[:, None])
        return [*blocks, *class_tokens]
