"""Blur: Gaussian (also anisotropic), lens, defocus, motion, zoom, median, glass."""

from __future__ import annotations

import math

import torch

from skiqa.degradations._batching import batched
from skiqa.degradations._checks import as_count, check_above, check_at_least, check_between
from skiqa.degradations._filters import (
    anisotropic_kernel,
    defocus_kernel,
    disk_kernel,
    enlarge,
    filter2d,
    gaussian_filter,
    median_filter,
    motion_kernel,
)
from skiqa.degradations._random import randint, uniform
from skiqa.degradations._registry import register

__all__ = [
    "anisotropic_blur",
    "box_motion_blur",
    "defocus_blur",
    "gaussian_blur",
    "glass_blur",
    "lens_blur",
    "median_blur",
    "motion_blur",
    "zoom_blur",
]


@register(
    "gaussian_blur_qpt",
    group="blur",
    levels=(0.5, 1.0, 1.5, 2.0, 2.5),
    source="QualityAwareTransform's levels",
)
@register(
    "gaussian_blur", group="blur", levels=(0.1, 0.5, 1.0, 2.0, 5.0), source="KADID-10k type 1"
)
@batched
def gaussian_blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur with a kernel of 2 * ceil(2 sigma) + 1 taps and replicated borders.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    sigma : float or tensor of shape (N,)
        Standard deviation, 0 or more, in pixels.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Notes
    -----
    Time grows with sigma: 8 ms for 512 x 512 at sigma 5 on one CPU core.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.blur import gaussian_blur
    >>> images = torch.zeros(1, 3, 5, 5)
    >>> images[:, :, 2, 2] = 1
    >>> gaussian_blur(images, 0.5)[0, 0, 2]
    tensor([0.0000, 0.0838, 0.6193, 0.0838, 0.0000])
    """
    check_at_least("gaussian_blur: sigma", sigma, 0)
    return gaussian_filter(images, sigma)


@register("lens_blur", group="blur", levels=(1.0, 2.0, 4.0, 6.0, 8.0), source="KADID-10k type 2")
@batched
def lens_blur(images: torch.Tensor, radius: float) -> torch.Tensor:
    """Defocus: the mean over a disk, replicated borders.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    radius : float or tensor of shape (N,)
        Radius of the disk, above 0, in pixels. Pixels weigh as much as lies in the disk.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.blur import lens_blur
    >>> images = torch.zeros(1, 3, 3, 3)
    >>> images[:, :, 1, 1] = 1
    >>> lens_blur(images, 1)[0, 0]
    tensor([[0.0251, 0.1453, 0.0251],
            [0.1453, 0.3183, 0.1453],
            [0.0251, 0.1453, 0.0251]])
    """
    check_above("lens_blur: radius", radius, 0)
    return filter2d(images, disk_kernel(radius))


@register(
    "motion_blur",
    group="blur",
    levels=(1.0, 2.0, 4.0, 6.0, 10.0),
    random=True,
    source="KADID-10k type 3",
)
@batched
def motion_blur(images: torch.Tensor, length: float, seeds: torch.Tensor) -> torch.Tensor:
    """Camera motion along a line of random direction, replicated borders.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    length : float or tensor of shape (N,)
        Length of the line in pixels; up to 1 nothing changes.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the angle: a whole number of degrees, 0 to 180.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.blur import motion_blur
    >>> images = torch.rand(2, 3, 16, 16)
    >>> torch.equal(motion_blur(images, 1.0, seeds=0), images)
    True
    """
    angles = randint(seeds, 0, 180, (1,))[:, 0].tolist()
    return _filter_each(images, [motion_kernel(length, angle) for angle in angles])


def _filter_each(images: torch.Tensor, kernels: list[torch.Tensor]) -> torch.Tensor:
    """Each image filtered by a kernel of its own."""
    pairs = zip(images.split(1), kernels, strict=True)
    filtered = [filter2d(image, kernel) for image, kernel in pairs]
    return torch.cat(filtered) if len(filtered) > 1 else filtered[0]


@register(
    "motion_blur_reiqa",
    group="blur",
    levels=(12, 16, 20, 24, 28),
    random=True,
    source="Re-IQA (motion blur along the axes)",
)
@batched
def box_motion_blur(images: torch.Tensor, length: float, seeds: torch.Tensor) -> torch.Tensor:
    """Camera motion along a row or a column: the mean over a line, replicated borders.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    length : int or tensor of shape (N,)
        Pixels of the line, 1 or more; 1 changes nothing.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the direction: across or down.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.blur import box_motion_blur
    >>> images = torch.zeros(1, 3, 5, 5)
    >>> images[:, :, 2, 2] = 1
    >>> box_motion_blur(images, 4, seeds=0)[0, 0].max()
    tensor(0.2500)
    """
    n_pixels = as_count("box_motion_blur: length", length, low=1)
    row = torch.zeros(1, 2 * (n_pixels // 2) + 1, dtype=torch.float64)
    row[0, :n_pixels] = 1 / n_pixels
    down = randint(seeds, 0, 1, (1,))[:, 0].tolist()
    return _filter_each(images, [row.T if turn else row for turn in down])


@register(
    "anisotropic_blur",
    group="blur",
    levels=(0.5, 1.0, 1.5, 2.0, 2.5),
    random=True,
    source="QualityAwareTransform's levels (advanced blur); ratio and angle our choice",
)
@batched
def anisotropic_blur(images: torch.Tensor, sigma: float, seeds: torch.Tensor) -> torch.Tensor:
    """Gaussian blur that is stronger along a random direction than across it.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    sigma : float or tensor of shape (N,)
        Standard deviation along the direction, above 0, in pixels; across it a random part of
        that, 1/4 to 3/4. The kernel has 2 * ceil(2 sigma) + 1 taps each way, less the corners.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the direction and of that part.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.blur import anisotropic_blur
    >>> images = torch.zeros(1, 3, 21, 21)
    >>> images[:, :, 10, 10] = 1
    >>> blurred = anisotropic_blur(images, 2.0, seeds=1)[0, 0]
    >>> round(float(blurred.sum()), 4), bool(blurred.max() < 0.2)
    (1.0, True)
    """
    check_above("anisotropic_blur: sigma", sigma, 0)
    draws = uniform(seeds, (2,)).double().tolist()
    shapes = [(sigma * (0.25 + 0.5 * ratio), 180 * turn) for ratio, turn in draws]
    kernels = [anisotropic_kernel(sigma, across, angle) for across, angle in shapes]
    return _filter_each(images, kernels)


@register(
    "defocus_blur",
    group="blur",
    levels=(3, 4, 5, 6, 7),
    source="QualityAwareTransform's levels; soft edge our choice",
)
@batched
def defocus_blur(images: torch.Tensor, radius: float) -> torch.Tensor:
    """Defocus of a real lens: the mean over a disk with a soft edge, replicated borders.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    radius : float or tensor of shape (N,)
        Radius of the disk, above 0, in pixels. Its rim is smoothed by a Gaussian of sigma
        ``0.1 * radius`` pixels.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.blur import defocus_blur
    >>> images = torch.zeros(1, 3, 15, 15)
    >>> images[:, :, 7, 7] = 1
    >>> defocus_blur(images, 3)[0, 0, 7, 4:8]
    tensor([0.0171, 0.0353, 0.0354, 0.0354])
    """
    check_above("defocus_blur: radius", radius, 0)
    return filter2d(images, defocus_kernel(radius))


@register(
    "zoom_blur",
    group="blur",
    levels=(1.02, 1.04, 1.06, 1.08, 1.1),
    source="QualityAwareTransform's levels; number of copies our choice",
)
@batched
def zoom_blur(images: torch.Tensor, factor: float) -> torch.Tensor:
    """A zoom during the exposure: the mean of the image and copies enlarged about its centre.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    factor : float or tensor of shape (N,)
        1 to 10; the largest copy's size by the image's. From copy to copy the border moves by no
        more than a pixel.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.blur import zoom_blur
    >>> images = torch.rand(1, 3, 64, 64)
    >>> difference = (zoom_blur(images, 1.1) - images).abs().mean(1)[0]
    >>> bool(difference[28:36, 28:36].mean() < difference[:8, :8].mean())
    True
    """
    check_between("zoom_blur: factor", factor, 1, 10)
    widest = max(images.shape[2:]) / 2 * (factor - 1)  # pixels that the largest gains on a side
    doublings = math.ceil(math.log2(widest + 1))
    result = images
    for k in range(doublings):
        # copies at gains 1, g, ..., g^(2^k - 1), and these enlarged by g^(2^k), are twice as many
        gain = factor ** (2**k / (2**doublings - 1))
        result = torch.lerp(result, enlarge(result, gain), 0.5)
    return result


@register(
    "median_blur", group="blur", levels=(3, 5, 7, 9, 11), source="QualityAwareTransform's levels"
)
@batched
def median_blur(images: torch.Tensor, size: float) -> torch.Tensor:
    """The median over a square: texture wiped out, edges kept, replicated borders.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images; rounded to 8 bits.
    size : int or tensor of shape (N,)
        Side of the square in pixels, odd, 1 to 15.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Notes
    -----
    Time grows with the area of the square: 12 ms for 256 x 256 at size 11 on one CPU core.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.blur import median_blur
    >>> images = torch.zeros(1, 3, 5, 5)
    >>> images[:, :, 2, 2] = 1
    >>> median_blur(images, 3).max()
    tensor(0.)
    """
    if size not in range(1, 16, 2):
        raise ValueError(f"median_blur: size must be odd and in 1..15, not {size}.")
    return median_filter(images, int(size))


@register(
    "glass_blur",
    group="blur",
    levels=(1, 2, 3, 4, 5),
    random=True,
    source="QualityAwareTransform's reach; sigma our choice",
)
@batched
def glass_blur(images: torch.Tensor, reach: float, seeds: torch.Tensor) -> torch.Tensor:
    """A view through frosted glass: blurred, scattered and blurred again.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    reach : int or tensor of shape (N,)
        How far along each axis pixels are fetched from, 1 or more, in pixels. Both Gaussians
        have ``sigma = 0.5 + 0.2 * reach``. (QualityAwareTransform's are narrower by 0.6:
        its level 2 scatters more than its level 5, which smooths what it has scattered.)
    seeds : int or int64 tensor of shape (N,)
        Seeds of the displacements.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.blur import glass_blur
    >>> flat = torch.full((1, 3, 16, 16), 0.5)
    >>> torch.allclose(glass_blur(flat, 3, seeds=0), flat)
    True
    """
    farthest = as_count("glass_blur: reach", reach, low=1)
    sigma = 0.5 + 0.2 * reach
    height, width = images.shape[2:]
    shifts = randint(seeds, -farthest, farthest, (2, height, width))
    rows = torch.arange(height, device=images.device)[:, None] + shifts[:, 0]
    columns = torch.arange(width, device=images.device) + shifts[:, 1]
    rows.clamp_(0, height - 1)
    columns.clamp_(0, width - 1)
    index = rows.mul_(width).add_(columns).flatten(1)[:, None].expand(-1, 3, -1)
    blurred = gaussian_filter(images, sigma)
    scattered = blurred.flatten(2).gather(2, index).view_as(images)
    return gaussian_filter(scattered, sigma)
