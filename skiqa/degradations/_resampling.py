"""Images in another size, by the definitions of Pillow, in tensor operations."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch

__all__ = ["nearest", "resample", "shrink_and_enlarge"]


def shrink_and_enlarge(images: torch.Tensor, factor: float, kernel: str) -> torch.Tensor:
    """Images shrunk by a factor, sides rounded up, and enlarged back; "nearest" or a kernel."""
    size = images.shape[2:]
    small = [max(1, math.ceil(side * factor)) for side in size]
    if kernel == "nearest":
        return nearest(nearest(images, small), size)
    return resample(resample(images, small, kernel), size, kernel)


def nearest(images: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Images (N, C, H, W) in another size, each pixel the nearest one."""
    height, width = images.shape[2:]
    rows = _nearest(height, size[0]).to(images.device)
    columns = _nearest(width, size[1]).to(images.device)
    if len(rows) < height:
        return _select_columns(images.index_select(2, rows), columns)
    return _select_columns(images, columns).index_select(2, rows)


@functools.lru_cache(maxsize=128)
def _nearest(old: int, new: int) -> torch.Tensor:
    """Which of `old` samples `new` ones are."""
    return ((torch.arange(new, dtype=torch.float64) + 0.5) * old / new).floor().long()


def _select_columns(images: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    # index_select copies whole rows, but takes ten times as long as gather for columns
    return images.gather(3, columns.expand(*images.shape[:3], -1))


def resample(images: torch.Tensor, size: Sequence[int], kernel: str) -> torch.Tensor:
    """Images (N, C, H, W) in another size by "bilinear", "bicubic" or "lanczos".

    As Pillow's ``resize`` but for its rounding: where the image shrinks, the kernel is widened,
    so that nothing is skipped. (PyTorch's own antialiased kernels go wrong on images of one
    column, and lack Lanczos in PyTorch 2.6.)
    """
    (old_rows, old_columns), (rows, columns) = images.shape[2:], size
    for axis in (2, 3) if rows * old_columns < old_rows * columns else (3, 2):  # the cheaper first
        if axis == 2:
            blocks = _blocks(old_rows, rows, kernel)
            parts = [weights.to(images) @ images[:, :, where] for where, weights in blocks]
        else:
            blocks = _blocks(old_columns, columns, kernel)
            parts = [images[..., where] @ weights.T.to(images) for where, weights in blocks]
        images = torch.cat(parts, axis) if len(parts) > 1 else parts[0]
    return images


def _linear(x: torch.Tensor) -> torch.Tensor:
    return (1 - x.abs()).clamp(min=0)


def _cubic(x: torch.Tensor) -> torch.Tensor:
    x = x.abs()
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x < 1, inner, torch.where(x < 2, outer, 0))


def _lanczos(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), 0)


_KERNELS = {"bilinear": (_linear, 1), "bicubic": (_cubic, 2), "lanczos": (_lanczos, 3)}
_BLOCK = 32


@functools.lru_cache(maxsize=128)
def _blocks(old: int, new: int, kernel: str) -> list[tuple[slice, torch.Tensor]]:
    """Weights that make `new` samples of `old` ones, for 32 new ones at a time.

    Returns
    -------
    list of (slice, float32 tensor of shape (up to 32, n))
        Which n of the old samples make these new ones, and with which weights.
    """
    function, support = _KERNELS[kernel]
    step = old / new
    width = max(step, 1.0)
    blocks = []
    for start in range(0, new, _BLOCK):
        centers = torch.arange(start, min(start + _BLOCK, new), dtype=torch.float64)
        centers = (centers[:, None] + 0.5) * step
        first = (centers - support * width + 0.5).floor().clamp(min=0)
        last = (centers + support * width + 0.5).floor().clamp(max=old)
        where = slice(int(first[0]), int(last[-1]))
        places = torch.arange(where.start, where.stop, dtype=torch.float64)
        weights = function((places + 0.5 - centers) / width)
        weights[(places < first) | (places >= last)] = 0
        blocks.append((where, (weights / weights.sum(1, keepdim=True)).to(torch.float32)))
    return blocks
