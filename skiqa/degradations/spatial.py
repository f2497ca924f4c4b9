"""Spatial degradations: jitter, patches, blocks, pixelation, quantization, resizing, moire."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from skiqa.degradations._batching import batched
from skiqa.degradations._checks import as_count, check_at_least, check_between
from skiqa.degradations._random import normal, randint, uniform
from skiqa.degradations._registry import register
from skiqa.degradations._resampling import shrink_and_enlarge
from skiqa.degradations._thresholds import otsu_thresholds

__all__ = [
    "color_block",
    "jitter",
    "moire",
    "non_eccentricity_patch",
    "pixelate",
    "quantization",
    "resize_bicubic",
    "resize_bilinear",
    "resize_lanczos",
    "resize_nearest",
]

_MANY = 1_000_000  # patches or blocks; more is a mistake


@register(
    "jitter",
    group="spatial",
    levels=(0.05, 0.1, 0.2, 0.5, 1.0),
    random=True,
    source="KADID-10k type 19",
)
@batched
def jitter(images: torch.Tensor, std: float, seeds: torch.Tensor) -> torch.Tensor:
    """Pixels that scatter: five times, each is fetched from a place near its own.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    std : float or tensor of shape (N,)
        Standard deviation of the displacement along each axis, 0 or more, in pixels.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the displacements.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Notes
    -----
    Interpolation is PyTorch's cubic convolution (a = -0.75; MATLAB's has a = -0.5), borders are
    replicated. The slowest spatial operator: 100 ms for 512 x 512 on one CPU core.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.spatial import jitter
    >>> images = torch.rand(1, 3, 16, 16)
    >>> torch.allclose(jitter(images, 0.0, seeds=0), images, atol=1e-4)
    True
    """
    check_at_least("jitter: std", std, 0)
    height, width = images.shape[2:]
    x = (torch.arange(width, device=images.device) * 2 + 1) / width - 1
    y = (torch.arange(height, device=images.device) * 2 + 1) / height - 1
    grid = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)
    scale = torch.tensor([2 * std / width, 2 * std / height], device=images.device)
    result = images
    for stream in range(5):
        shift = normal(seeds, (2, height, width), stream).permute(0, 2, 3, 1) * scale
        result = F.grid_sample(
            result, shift.add_(grid), mode="bicubic", padding_mode="border", align_corners=False
        )
    return result


@register(
    "non_eccentricity_patch",
    group="spatial",
    levels=(20, 40, 60, 80, 100),
    random=True,
    source="KADID-10k type 20",
)
@batched
def non_eccentricity_patch(
    images: torch.Tensor, n_patches: float, seeds: torch.Tensor
) -> torch.Tensor:
    """Patches of 16 x 16 pixels copied to a place up to 8 pixels away along each axis.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images. Patches of images below 16 pixels are as large as these.
    n_patches : int or tensor of shape (N,)
        Number of patches, 0 or more. All are cut from the image as it was; later ones cover
        earlier ones.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the places; the first patches of a seed are the same whatever the number.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.spatial import non_eccentricity_patch
    >>> images = torch.rand(1, 3, 32, 32)
    >>> torch.equal(non_eccentricity_patch(images, 0, seeds=0), images)
    True
    """
    n = as_count("non_eccentricity_patch: n_patches", n_patches, low=0, high=_MANY)
    height, width = images.shape[2:]
    rows, columns = min(16, height), min(16, width)
    tops = randint(seeds, 0, height - rows, (n,), 0)
    lefts = randint(seeds, 0, width - columns, (n,), 1)
    new_tops = tops + randint(seeds, -8, 8, (n,), 2)
    new_lefts = lefts + randint(seeds, -8, 8, (n,), 3)
    new_tops.clamp_(0, height - rows)
    new_lefts.clamp_(0, width - columns)
    places = torch.stack([tops, lefts, new_tops, new_lefts], -1).tolist()
    result = images.clone()
    for source, target, patches in zip(images, result, places, strict=True):
        for top, left, to_top, to_left in patches:
            patch = source[:, top : top + rows, left : left + columns]
            target[:, to_top : to_top + rows, to_left : to_left + columns] = patch
    return result


@register(
    "pixelate", group="spatial", levels=(0.01, 0.05, 0.1, 0.2, 0.5), source="KADID-10k type 21"
)
@batched
def pixelate(images: torch.Tensor, amount: float) -> torch.Tensor:
    """Fewer pixels: shrunk and enlarged again, both by the nearest neighbour.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    amount : float or tensor of shape (N,)
        In [0, 0.9]; the image is shrunk by the factor 0.95 - amount ** 0.6, its sides rounded up.
        Both steps go by the true ratio of the sizes, so that nothing moves (MATLAB's imresize
        goes by the factor and moves the far end by up to a pixel of the small image).

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.spatial import pixelate
    >>> ramp = torch.arange(8.0).expand(1, 3, 8, 8) / 8
    >>> pixelate(ramp, 0.5)[0, 0, 0] * 8
    tensor([1., 1., 1., 4., 4., 6., 6., 6.])
    """
    check_between("pixelate: amount", amount, 0, 0.9)
    factor = 0.95 - amount**0.6
    return shrink_and_enlarge(images, factor, "nearest")


@register(
    "quantization",
    group="spatial",
    family="color",
    levels=(20, 16, 13, 10, 7),
    source="KADID-10k type 22",
)
@batched
def quantization(images: torch.Tensor, n_thresholds: float) -> torch.Tensor:
    """Few values: Otsu's thresholds on the values of all channels together.

    With thresholds t_1 < ... < t_n the n + 1 classes between them become 0, t_2, ..., t_n, 1.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    n_thresholds : int or tensor of shape (N,)
        Number of thresholds, 1 to 255; fewer are used where there are fewer values.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        A constant image stays as it is.

    Notes
    -----
    The thresholds are optimal (dynamic programming on 256 bins); MATLAB's ``multithresh``, by
    which KADIS was made, searches for them by descent and may stop short of the optimum.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.spatial import quantization
    >>> images = torch.rand(1, 3, 32, 32)
    >>> len(quantization(images, 7).unique())
    8
    """
    n = as_count("quantization: n_thresholds", n_thresholds, low=1, high=255)
    return torch.cat([_quantize(image, n) for image in images.split(1)])


def _quantize(image: torch.Tensor, n_thresholds: int) -> torch.Tensor:
    low, high = image.aminmax()
    if low == high:
        return image.clone()
    # 256 bins from the least to the greatest value, as multithresh has them
    scaled = (image - low).mul_(255 / (high - low)).add_(0.5).clamp_(0, 255)
    bins = scaled.to(torch.uint8)
    histogram = torch.bincount(bins.flatten(), minlength=256).cpu()
    last = otsu_thresholds(histogram, n_thresholds)
    thresholds = low.cpu() + torch.tensor(last) / 255 * (high - low).cpu()
    values = torch.cat([torch.zeros(1), thresholds[1:], torch.ones(1)])
    classes = torch.bucketize(torch.arange(256), torch.tensor(last))
    table = values[classes].to(image.device)
    return table.index_select(0, bins.int().flatten()).view_as(image)


@register("resize_nearest_reiqa", group="spatial", levels=(2, 3, 4, 5, 6), source="Re-IQA")
@register(
    "resize_nearest",
    group="spatial",
    levels=(2.0, 2.5, 3.0, 3.5, 4.0),
    source="QualityAwareTransform's levels",
)
@batched
def resize_nearest(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Shrunk and enlarged again, both by the nearest neighbour.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    factor : float or tensor of shape (N,)
        1 or more; sides are divided by it and rounded up.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.spatial import resize_nearest
    >>> edge = torch.tensor([0.0] * 4 + [1.0] * 4).expand(1, 3, 8, 8)
    >>> resize_nearest(edge, 4)[0, 0, 0]
    tensor([0., 0., 0., 0., 1., 1., 1., 1.])
    """
    check_at_least("resize_nearest: factor", factor, 1)
    return shrink_and_enlarge(images, 1 / factor, "nearest")


@register("resize_bilinear_reiqa", group="spatial", levels=(2, 3, 4, 8, 16), source="Re-IQA")
@register(
    "resize_bilinear",
    group="spatial",
    levels=(2.0, 2.5, 3.0, 3.5, 4.0),
    source="QualityAwareTransform's levels; antialiasing our choice",
)
@batched
def resize_bilinear(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Shrunk and enlarged again, both by linear interpolation, as Pillow has it.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    factor : float or tensor of shape (N,)
        1 or more; sides are divided by it and rounded up.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.spatial import resize_bilinear
    >>> edge = torch.tensor([0.0] * 4 + [1.0] * 4).expand(1, 3, 8, 8)
    >>> resize_bilinear(edge, 4)[0, 0, 0]
    tensor([0.1429, 0.1429, 0.2321, 0.4107, 0.5893, 0.7679, 0.8571, 0.8571])
    """
    check_at_least("resize_bilinear: factor", factor, 1)
    return shrink_and_enlarge(images, 1 / factor, "bilinear")


@register("resize_bicubic_reiqa", group="spatial", levels=(2, 3, 4, 8, 16), source="Re-IQA")
@register(
    "resize_bicubic",
    group="spatial",
    levels=(2.0, 2.5, 3.0, 3.5, 4.0),
    source="QualityAwareTransform's levels; antialiasing our choice",
)
@batched
def resize_bicubic(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Shrunk and enlarged again, both by cubic convolution (a = -1/2), as Pillow has it.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    factor : float or tensor of shape (N,)
        1 or more; sides are divided by it and rounded up.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.spatial import resize_bicubic
    >>> edge = torch.tensor([0.0] * 4 + [1.0] * 4).expand(1, 3, 8, 8)
    >>> resize_bicubic(edge, 4)[0, 0, 0]
    tensor([0.0056, 0.0538, 0.1656, 0.3778, 0.6222, 0.8344, 0.9462, 0.9944])
    """
    check_at_least("resize_bicubic: factor", factor, 1)
    return shrink_and_enlarge(images, 1 / factor, "bicubic")


@register("resize_lanczos", group="spatial", levels=(2, 3, 4, 8, 16), source="Re-IQA")
@batched
def resize_lanczos(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Shrunk and enlarged again, both by Lanczos' kernel of three lobes, as Pillow has it.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    factor : float or tensor of shape (N,)
        1 or more; sides are divided by it and rounded up.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.spatial import resize_lanczos
    >>> edge = torch.tensor([0.0] * 4 + [1.0] * 4).expand(1, 3, 8, 8)
    >>> resize_lanczos(edge, 4)[0, 0, 0]
    tensor([0.0000, 0.0065, 0.1772, 0.3875, 0.6125, 0.8228, 0.9935, 1.0000])
    """
    check_at_least("resize_lanczos: factor", factor, 1)
    return shrink_and_enlarge(images, 1 / factor, "lanczos")


@register(
    "moire",
    group="spatial",
    family="texture",
    levels=(0.06, 0.14, 0.25, 0.4, 0.6),
    random=True,
    source="our choice",
)
@batched
def moire(images: torch.Tensor, depth: float, seeds: torch.Tensor) -> torch.Tensor:
    """Photo of a screen: curved coloured bands, where its grid beats with the sensor's.

    Each channel is multiplied by ``1 - depth / 2 (1 + cos phase)``. The phase grows evenly along
    a random direction, by a turn in 8 to 32 pixels, and with the square of the distance from
    the centre, by up to three turns; those of red, green and blue lie a third of a turn apart, as
    the stripes of a screen do.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    depth : float or tensor of shape (N,)
        How much of the light is lost in the dark of a band, in [0, 1].
    seeds : int or int64 tensor of shape (N,)
        Seeds of the bands.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.spatial import moire
    >>> banded = moire(torch.full((1, 3, 64, 64), 0.8), 0.5, seeds=0)
    >>> round(float(banded.min()), 2), round(float(banded.max()), 2)
    (0.4, 0.8)
    """
    check_between("moire: depth", depth, 0, 1)
    height, width = images.shape[2:]
    turn, pitch, bend, start = uniform(seeds, (4,)).mul_(2 * math.pi).view(-1, 4, 1, 1).unbind(1)
    frequency = 2 * math.pi / 32 * 4 ** (pitch / (2 * math.pi))
    y = (torch.arange(height, device=images.device) - height / 2)[:, None]
    x = torch.arange(width, device=images.device) - width / 2
    curve = (bend * 6 - 6 * math.pi) / ((height**2 + width**2) / 4)
    phase = x * (frequency * turn.cos()) + x.square() * curve
    phase = phase + (y * (frequency * turn.sin()) + y.square() * curve + start)
    third = 2 * math.pi / 3 * torch.arange(3, device=images.device)[:, None, None]
    return (phase[:, None] + third).cos_().add_(1).mul_(-depth / 2).add_(1).mul_(images)


@register(
    "color_block", group="spatial", levels=(2, 4, 6, 8, 10), random=True, source="KADID-10k type 23"
)
@batched
def color_block(images: torch.Tensor, n_blocks: float, seeds: torch.Tensor) -> torch.Tensor:
    """Opaque blocks of 32 x 32 pixels, each of one random colour, at random places.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images. Blocks of images below 32 pixels are as large as these.
    n_blocks : int or tensor of shape (N,)
        Number of blocks, 0 or more.
    seeds : int or int64 tensor of shape (N,)
        Seeds of places and colours; the first blocks of a seed are the same whatever the number.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.spatial import color_block
    >>> (color_block(torch.zeros(1, 3, 64, 64), 1, seeds=7)[0, 0] > 0).sum()
    tensor(1024)
    """
    n = as_count("color_block: n_blocks", n_blocks, low=0, high=_MANY)
    height, width = images.shape[2:]
    rows, columns = min(32, height), min(32, width)
    tops = randint(seeds, 0, height - rows, (n,), 0).tolist()
    lefts = randint(seeds, 0, width - columns, (n,), 1).tolist()
    # A block's colour takes one number each from three streams, so that it stays when blocks
    # are added.
    colors = torch.stack([uniform(seeds, (n,), 2 + c) for c in range(3)], -1)
    result = images.clone()
    for target, *blocks in zip(result, tops, lefts, colors, strict=True):
        for top, left, color in zip(*blocks, strict=True):
            target[:, top : top + rows, left : left + columns] = color[:, None, None]
    return result
