"""An attention panel: some learned queries look at an image's tokens, and each gives a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from skiqa._network.stages import seeded

_HEADS = 4  # of the decoder's attention, where the width divides by it
_OPEN = 2.0  # logit at which a selector starts: sigmoid(2) = .88, and free to move


@dataclass(frozen=True)
class PanelDesign:
    """What a panel consists of.

    Parameters
    ----------
    channels : tuple of int
        Of each block of tokens.
    n_class_tokens : int
        How many of the blocks, the last ones, are class tokens.
    width : int
        Of the tokens that the panel looks at.
    n_queries : int
        0: no decoder, a linear head on the mean of the tokens.
    selects : bool
        Whether there is a selector.
    """

    channels: tuple[int, ...]
    n_class_tokens: int
    width: int
    n_queries: int
    selects: bool


class TokenBlock(nn.Module):
    """Tokens of one map to the panel's width, marked as that map's; standardised, if told how."""

    center: torch.Tensor
    scale: torch.Tensor

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.project = nn.Identity() if channels == width else nn.Linear(channels, width)
        self.mark = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (n, t, channels) as (n, t, width)."""
        return self.project((x - self.center) / self.scale) + self.mark


class AttentionPanel(nn.Module):
    """Tokens to scores, one for each query; 0 before training.

    DEIQT's: query j is a learned vector plus the pooled token, one decoder layer looks at the
    tokens, and a linear head that all queries share makes a score of each. A selector in front, if
    there is one, multiplies each channel of an image's tokens by a number in (0, 1) that follows
    from their means and spreads.

    Parameters
    ----------
    design : PanelDesign
    seed : int, default=0
        Decides the weights.
    """

    def __init__(self, design: PanelDesign, seed: int = 0) -> None:
        super().__init__()
        self.design, width = design, design.width
        with seeded(seed):
            self.blocks = nn.ModuleList(TokenBlock(c, width) for c in design.channels)
            self.queries = nn.Parameter(torch.randn(design.n_queries, width))
            self.decoder = _decoder(width) if design.n_queries else None
            self.selector = nn.Linear(2 * width, width) if design.selects else None
            self.head = nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        if self.selector is not None:
            nn.init.zeros_(self.selector.weight)
            nn.init.constant_(self.selector.bias, _OPEN)

    @torch.no_grad()
    def standardise_by(self, blocks: Sequence[torch.Tensor]) -> None:
        """Let the tokens of some images, [(n, t_k, c_k)], have mean 0 and deviation 1."""
        for block, x in zip(self.blocks, blocks, strict=True):
            deviation, mean = torch.std_mean(x, dim=(0, 1), correction=0)
            varies = deviation > 1e-6 * mean.abs()
            block.get_buffer("center").copy_(mean)
            block.get_buffer("scale").copy_(torch.where(varies, deviation, 1.0))

    def tokens(self, blocks: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return blocks of tokens, [(n, t_k, c_k)], as one: (n, t, width)."""
        return torch.cat([f(x) for f, x in zip(self.blocks, blocks, strict=True)], dim=1)

    def selection(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return how far each channel of tokens (n, t, d) is open: (n, d) in (0, 1]."""
        if self.selector is None:
            return torch.ones_like(tokens[:, 0])
        variance, mean = torch.var_mean(tokens, dim=1, correction=0)
        return self.selector(torch.cat([mean, (variance + 1e-6).sqrt()], dim=1)).sigmoid()

    def votes(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the scores of selected tokens (n, t, d), one for each query: (n, j)."""
        pooled = tokens[:, -self.design.n_class_tokens :].mean(dim=1)  # all, without class tokens
        if self.decoder is None:
            return self.head(pooled)
        queries = self.queries + pooled[:, None]  # jd + nd -> njd
        return self.head(self.decoder(queries, tokens)).squeeze(-1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the scores of tokens (n, t, d), one for each query: (n, j)."""
        return self.votes(self.selection(tokens)[:, None] * tokens)

    def pictured(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the selected tokens of images, (n, t, d), as one picture: (n, side * side, d).

        Its tokens are means over scales and stages, so that networks of any can be compared.
        """
        selected = self.selection(tokens)[:, None] * tokens
        n_maps = len(self.blocks) - self.design.n_class_tokens
        of_maps = selected[:, : selected.shape[1] - self.design.n_class_tokens]
        return of_maps.unflatten(1, (n_maps, -1)).mean(dim=1)  # nksd -> nsd


def _decoder(width: int) -> nn.Module:
    """Return DEIQT's decoder layer."""
    n_heads = _HEADS if width % _HEADS == 0 else 1
    how = {"dropout": 0.0, "activation": "gelu", "norm_first": True, "batch_first": True}
    return nn.TransformerDecoderLayer(width, n_heads, 4 * width, **how)  # type: ignore[arg-type]
