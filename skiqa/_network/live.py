"""Networks that are built and ready to run, shared by all estimators of a process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch

from skiqa._fork import ForkSafeLock
from skiqa._network.batchnorm import fold_batchnorm
from skiqa._network.build import build
from skiqa._network.stages import Stages
from skiqa._network.state import EncoderState
from skiqa._types import Pixels

# (digest of networks, device, dtype) -> the networks. Two entries, because a process rarely scores
# with more than two models and each holds the whole network. Never on the estimator, which must
# pickle without torch.
CACHE: OrderedDict[tuple[str, str, torch.dtype], list[Stages]] = OrderedDict()
CACHE_SIZE = 2
_LOCK = ForkSafeLock()


def live_networks(state: EncoderState, device: torch.device, dtype: torch.dtype) -> list[Stages]:
    """Return the networks of a state in evaluation mode on a device, from the cache if there."""
    key = (state.networks_digest, str(device), dtype)
    with _LOCK:
        if key in CACHE:
            CACHE.move_to_end(key)
            return CACHE[key]
        networks = []
        for part in state.parts():
            for expert in range(len(part.networks)):
                network = fold_batchnorm(build(part, expert).eval().requires_grad_(False))
                networks.append(network.to(device, dtype).to(memory_format=torch.channels_last))
        CACHE[key] = networks
        while len(CACHE) > CACHE_SIZE:
            CACHE.popitem(last=False)
        return networks


def normalise(pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Map [0, 1] pixels (n, 3, h, w) to the network's input: (pixels - mean) / std."""
    center = torch.tensor(mean, dtype=pixels.dtype, device=pixels.device).view(1, 3, 1, 1)
    scale = torch.tensor(std, dtype=pixels.dtype, device=pixels.device).view(1, 3, 1, 1)
    return (pixels - center) / scale


def to_input(
    images: Pixels, network: Stages, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Turn uint8 images of one size, (n, h, w, 3), into the network's input (n, 3, h, w)."""
    x = normalise(to_values(images, device), network.mean, network.std)
    return x.to(dtype, memory_format=torch.channels_last)


def to_values(images: Pixels, device: torch.device) -> torch.Tensor:
    """Turn uint8 images of one size, (n, h, w, 3), into float32 (n, 3, h, w) in [0, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    return x.float().div_(255.0)
