"""What a network consists of and how much it says of a photo, found out without running it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch

from skiqa._network.pooling import POOLINGS
from skiqa._network.stages import Stages


@lru_cache(maxsize=8)
def _shadow(backbone: str) -> Stages:
    """Return a network that has shapes but no values."""
    with torch.device("meta"):
        return Stages(backbone).eval()


def array_shapes(backbone: str) -> dict[str, tuple[int, ...]]:
    """Return {name: shape} of the arrays that a network consists of."""
    return shapes_of(_shadow(backbone).model)


def normalisation_of(backbone: str) -> tuple[Sequence[float], Sequence[float]]:
    """Return the mean and std that timm states for the input of a network."""
    network = _shadow(backbone)
    return network.mean, network.std


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Return {name: shape} of the arrays that a module consists of."""
    return {
        name: tuple(value.shape)
        for name, value in module.state_dict().items()
        if not name.endswith("num_batches_tracked")  # counts steps for nobody
    }


def pooled_width(backbone: str, pooling: str) -> int:
    """Return the number of pooled features of a photo."""
    network = _shadow(backbone)
    with torch.inference_mode(), torch.device("meta"):
        photo = torch.empty(1, 3, network.stride, network.stride)
        return int(POOLINGS[pooling](network.maps(photo)).shape[1])


def embedding_width(backbone: str) -> int:
    """Return the number of features that the network's own pooling gives."""
    network = _shadow(backbone)
    with torch.inference_mode(), torch.device("meta"):
        photo = torch.empty(1, 3, network.stride, network.stride)
        return int(network.embedding(photo).shape[1])
