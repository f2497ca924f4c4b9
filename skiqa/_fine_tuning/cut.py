"""A network in two parts: what stays as it is, and the trained stages behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from skiqa._network.build import to_arrays
from skiqa._network.stages import Stages
from skiqa._types import Arrays


@dataclass(frozen=True)
class Cut(ABC):
    """Where a network is cut.

    Parameters
    ----------
    n_front : int
        How many stages, or blocks of a transformer, are in front.
    """

    n_front: int

    @abstractmethod
    def front_arrays(self, network: Stages) -> Arrays:
        """Return the weights in front, by names of their own."""

    @abstractmethod
    def front(
        self, network: Stages, x: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
        """Run what is in front.

        Returns
        -------
        maps : list of tensor (n, c_s, h_s, w_s)
            Of each stage in front.
        last : tensor (n, c, h, w)
            The last of them or, where there is none, what goes into the first stage.
        prefix : tensor (n, t, c)
            What a transformer has beside the map, such as its class token; t is 0 elsewhere.
        """

    @abstractmethod
    def behind(
        self, network: Stages, last: torch.Tensor, prefix: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Run the trained stages on what `front` left; return their maps and the class token."""


class ChainCut(Cut):
    """Of a chain of stages."""

    def front_arrays(self, network: Stages) -> Arrays:
        stem, stages = _chain(network)
        layers = [*stem, *(layer for stage in stages[: self.n_front] for layer in stage)]
        return {
            f"{k}.{name}": array
            for k, layer in enumerate(layers)
            for name, array in to_arrays(layer).items()
        }

    def front(
        self, network: Stages, x: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
        stem, stages = _chain(network)
        for layer in stem:
            x = layer(x)
        maps = _maps(stages[: self.n_front], x)
        last = maps[-1] if maps else x
        return maps, last, last.new_empty(len(x), 0, last.shape[1])

    def behind(
        self, network: Stages, last: torch.Tensor, prefix: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        return _maps(_chain(network)[1][self.n_front :], last), None


class TransformerCut(Cut):
    """Of a plain vision transformer, whose stages are its blocks."""

    def front_arrays(self, network: Stages) -> Arrays:
        behind = tuple(f"blocks.{k}." for k in range(self.n_front, len(network.model.blocks)))
        arrays = to_arrays(network.model)
        return {name: array for name, array in arrays.items() if not name.startswith(behind)}

    def front(
        self, network: Stages, x: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
        m, (height, width) = network.model, x.shape[2:]
        size = m.patch_embed.dynamic_feat_size((height, width))
        tokens = m.norm_pre(m.patch_drop(m._pos_embed(m.patch_embed(x))))
        maps = []
        for block in m.blocks[: self.n_front]:
            tokens = block(tokens)
            maps.append(self._map(network, tokens, size))
        prefix = tokens[:, : m.num_prefix_tokens]
        return maps, self._map(network, tokens, size), prefix

    def behind(
        self, network: Stages, last: torch.Tensor, prefix: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        m, size = network.model, last.shape[2:]
        tokens = torch.cat([prefix, last.flatten(2).mT], dim=1)  # (n, c, h, w) -> (n, h * w, c)
        maps = []
        for block in m.blocks[self.n_front :]:
            tokens = block(tokens)
            maps.append(self._map(network, tokens, size))
        return maps, None if m.cls_token is None else tokens[:, 0]

    def _map(self, network: Stages, tokens: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """Return the tokens of patches as a map: (n, t + h * w, c) -> (n, c, h, w)."""
        return tokens[:, network.model.num_prefix_tokens :].mT.unflatten(2, tuple(size))


def cut(network: Stages, n_behind: int) -> Cut | None:
    """Return where a network is cut in front of its last stages; None: it cannot be."""
    _, stages = network.split()
    if stages is not None:
        return ChainCut(len(stages) - n_behind)
    if isinstance(network.model, VisionTransformer):
        return TransformerCut(len(network.model.blocks) - n_behind)
    return None


def _chain(network: Stages) -> tuple[list[nn.Module], list[list[nn.Module]]]:
    stem, stages = network.split()
    return stem, stages or []


def _maps(stages: Sequence[Sequence[nn.Module]], x: torch.Tensor) -> list[torch.Tensor]:
    maps = []
    for stage in stages:
        for layer in stage:
            x = layer(x)
        maps.append(x)
    return maps
