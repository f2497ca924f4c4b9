"""What several objectives share: precision, cutting, rows for the projector, projectors, draws."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skiqa.degradations import Bank
from skiqa.degradations._registry import N_LEVELS


def at_least_float32(x: Tensor) -> Tensor:
    """Return a tensor in float32, or as it is if it is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def cut_at_offsets(images: Tensor, offsets: Tensor, size: int) -> Tensor:
    """Cut one square from each image at a relative offset.

    Parameters
    ----------
    images : tensor of shape (n, c, h, w)
    offsets : tensor of shape (n, 2) in [0, 1)
        Where in the free room above and left of the square, 0 = flush.
    size : int

    Returns
    -------
    tensor of shape (n, c, size, size)
    """
    free = torch.tensor(images.shape[2:], device=offsets.device) - size + 1
    # in float32 an offset just below 1 can round up to all the room there is
    return cut_at_corners(images, torch.minimum((offsets * free).long(), free - 1), size)


def cut_at_corners(images: Tensor, corners: Tensor, size: int) -> Tensor:
    """Cut one square from each image at its own corner, an int tensor (n, 2) of rows, columns."""
    places = zip(images, corners.tolist(), strict=True)
    return torch.stack([x[:, top : top + size, left : left + size] for x, (top, left) in places])


def crop_or_pad(images: Tensor, offsets: Tensor, size: int) -> Tensor:
    """Cut one square from each image as CONTRIQUE does.

    At a relative offset (n, 2) in [0, 1) where images (n, c, h, w) are large enough; else the
    middle of both sides, zeros around it where a side is too short.
    """
    height, width = images.shape[2:]
    if min(height, width) >= size:
        return cut_at_offsets(images, offsets, size)
    rows, columns = max(0, size - height), max(0, size - width)
    images = F.pad(images, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    top, left = (round((side - size) / 2) for side in images.shape[2:])
    return images[:, :, top : top + size, left : left + size]


def halved(images: Tensor, mode: str = "bilinear") -> Tensor:
    """Return images (n, c, h, w) at half their size, averaged over what is removed."""
    height, width = (max(1, side // 2) for side in images.shape[2:])
    return F.interpolate(images, size=(height, width), mode=mode, antialias=True)


def average(maps: Tensor) -> Tensor:
    """Average each map over its area: (n, c, h, w) -> (n, c)."""
    return at_least_float32(maps).mean(dim=(2, 3))


def patch_features(maps: Tensor, grid: int = 2) -> Tensor:
    """Average a map over a grid of patches, L2-norm each: (n, c, h, w) -> (n * grid^2, c)."""
    pooled = F.adaptive_avg_pool2d(at_least_float32(maps), grid)  # n c g g
    return F.normalize(pooled.flatten(2).transpose(1, 2).flatten(0, 1), dim=1)  # row-major patches


class PlainProjector(nn.Sequential):
    """Linear - ReLU - Linear with biases: the projector of MoCo v2, ARNIQA and Re-IQA."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__(
            nn.Linear(n_features, n_features), nn.ReLU(), nn.Linear(n_features, n_outputs)
        )


class Projector(nn.Sequential):
    """Linear - BatchNorm - ReLU - Linear - BatchNorm, no biases: CONTRIQUE's projector."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__(
            nn.Linear(n_features, n_features, bias=False),
            nn.BatchNorm1d(n_features),
            nn.ReLU(),
            nn.Linear(n_features, n_outputs, bias=False),
            nn.BatchNorm1d(n_outputs),
        )


def draw_degradations(authentic: Tensor, draw: Tensor, bank: Bank) -> tuple[Tensor, Tensor, Tensor]:
    """Draw type and level of each photo, or leave it alone.

    Parameters
    ----------
    authentic : int tensor of shape (n,)
        1: degraded by life, left alone; 0: pristine, degraded or, as likely as any one type and
        level, left as it is; -1: unknown, degraded or left alone with equal chance.
    draw : tensor of shape (n, 3) in [0, 1)
    bank : Bank
        What is drawn from.

    Returns
    -------
    types : int64 tensor of shape (n,)
        -1: not degraded.
    levels : int64 tensor of shape (n,), 1..5
    alone : bool tensor of shape (n,)
        Not degraded because it is, or may be, degraded by life.
    """
    alone = torch.where(authentic < 0, draw[:, 0] < 0.5, authentic > 0)
    pristine = (authentic == 0) & (draw[:, 0] < 1 / bank.n_classes)
    types = (draw[:, 1] * len(bank)).long().clamp(max=len(bank) - 1)
    levels = (draw[:, 2] * N_LEVELS).long().clamp(max=N_LEVELS - 1) + 1
    return torch.where(alone | pristine, -1, types), levels, alone
