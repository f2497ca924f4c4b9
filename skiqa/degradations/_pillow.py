"""Between tensors and Pillow: 8-bit copies, and work on them in threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

__all__ = ["from_bytes", "map_pillow", "to_bytes"]


def to_bytes(images: torch.Tensor) -> npt.NDArray[np.uint8]:
    """(N, 3, H, W) floats in [0, 1] to a uint8 array (N, H, W, 3), rounded to the nearest."""
    scaled = images.detach().mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def from_bytes(arrays: npt.NDArray[np.uint8]) -> torch.Tensor:
    """A uint8 array (N, H, W, 3) to float32 (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).to(torch.float32).div_(255).contiguous()


def map_pillow(
    function: Callable[[Image.Image, float], Image.Image],
    images: torch.Tensor,
    values: Sequence[float],
) -> torch.Tensor:
    """``function(pillow_image, value)`` for every sample, in at most 8 threads.

    Pillow's codecs let go of Python's lock. The pool lives for one call: a lasting one would
    not survive the fork of a data loader's workers.
    """
    originals = images.detach().cpu()
    results = torch.empty_like(originals, memory_format=torch.contiguous_format)

    def degrade(i: int) -> None:
        # By planes: Pillow's merge and split are several times as fast as permuted axes, and
        # NumPy's conversion to bytes as PyTorch's.
        planes = originals[i].mul(255).add_(0.5).clamp_(0, 255).numpy().astype(np.uint8)
        image = Image.merge("RGB", [Image.fromarray(plane) for plane in planes])
        degraded = function(image, values[i])
        if degraded.size != image.size or degraded.mode != "RGB":
            raise RuntimeError(f"{image.size} RGB became {degraded.size} {degraded.mode}")
        for result, plane in zip(results[i].numpy(), degraded.split(), strict=True):
            np.divide(np.asarray(plane), np.float32(255), out=result)

    n_threads = min(8, _n_cores(), len(images))
    if n_threads <= 1:
        for i in range(len(images)):
            degrade(i)
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(degrade, range(len(images))))  # the list raises what a thread raised
    return results.to(images.device)


def _n_cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
