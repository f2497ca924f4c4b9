"""Denoising by thresholds on the cosine transform of overlapping blocks."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F

__all__ = ["dct_denoise"]

_BLOCK = 8
_STEP = 4


@functools.lru_cache(maxsize=4)
def _basis(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The orthonormal 8 x 8 DCT-II, and its inverse under a Hann window: (64 frequencies, 64)."""
    k = torch.arange(_BLOCK, dtype=torch.float64)
    rows = torch.cos(math.pi / _BLOCK * k[:, None] * (k[None] + 0.5)) * math.sqrt(2 / _BLOCK)
    rows[0] /= math.sqrt(2)
    patterns = torch.einsum("ux,vy->uvxy", rows, rows)
    basis = patterns.reshape(_BLOCK**2, _BLOCK**2)
    # sin^2, whose copies half a block apart sum to 1: blocks fade into one another
    window = torch.sin(math.pi / _BLOCK * (k + 0.5)).square()
    windowed = basis * (window[:, None] * window).flatten()
    return basis.to(device, torch.float32), windowed.to(device, torch.float32)


def dct_denoise(images: torch.Tensor, threshold: float) -> torch.Tensor:
    """Channels of (N, 3, H, W) with the block coefficients below the threshold dropped."""
    height, width = images.shape[2:]
    basis, windowed = _basis(images.device)
    # Four tilings by whole blocks, half a block apart, on replicated borders: every pixel lies
    # in four blocks.
    rows, columns = (-(-(side + _STEP) // _BLOCK) * _BLOCK for side in (height, width))
    padding = (_STEP, columns - width, _STEP, rows - height)
    padded = F.pad(images, padding, mode="replicate")
    sums = torch.zeros_like(padded)
    for top in (0, _STEP):
        for left in (0, _STEP):
            tiles = padded[:, :, top : top + rows, left : left + columns]
            blocks = tiles.unflatten(3, (-1, _BLOCK)).unflatten(2, (-1, _BLOCK)).transpose(3, 4)
            coefficients = blocks.reshape(-1, _BLOCK**2) @ basis.T
            kept = F.hardshrink(coefficients, threshold)
            kept[:, 0] = coefficients[:, 0]  # the mean
            blocks = (kept @ windowed).view(blocks.shape).transpose(3, 4)
            sums[:, :, top : top + rows, left : left + columns] += blocks.reshape(tiles.shape)
    return sums[:, :, _STEP : _STEP + height, _STEP : _STEP + width]
