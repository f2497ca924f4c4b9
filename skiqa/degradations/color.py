"""Colour: diffusion, shift, fringes, quantization, banding, saturation, hue; colour spaces.

The conversions are public here (``rgb_to_lab``, ``rgb_to_hsv``, ...); objectives use them too.
"""

from __future__ import annotations

import math

import torch

from skiqa.degradations._batching import batched
from skiqa.degradations._checks import as_count, check_at_least, check_between, check_each_between
from skiqa.degradations._colorspaces import (
    hsv_to_rgb,
    lab_to_rgb,
    rgb_to_gray,
    rgb_to_hsv,
    rgb_to_lab,
    rgb_to_ycbcr,
    ycbcr_to_rgb,
)
from skiqa.degradations._filters import enlarge, gaussian_filter, gradient_magnitude, replicate
from skiqa.degradations._palette import reduce_colors
from skiqa.degradations._pillow import map_pillow
from skiqa.degradations._random import uniform
from skiqa.degradations._registry import register

__all__ = [
    "banding",
    "chromatic_aberration",
    "color_diffusion",
    "color_quantization",
    "color_saturation_hsv",
    "color_saturation_lab",
    "color_shift",
    "hsv_to_rgb",
    "hue",
    "lab_to_rgb",
    "rgb_to_gray",
    "rgb_to_hsv",
    "rgb_to_lab",
    "rgb_to_ycbcr",
    "saturation",
    "ycbcr_to_rgb",
]


@register(
    "color_diffusion", group="color", levels=(1.0, 3.0, 6.0, 8.0, 12.0), source="KADID-10k type 4"
)
@batched
def color_diffusion(images: torch.Tensor, amount: float) -> torch.Tensor:
    """Colour that runs: a and b of CIE L*a*b* blurred and amplified.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    amount : float or tensor of shape (N,)
        a and b are blurred by a Gaussian of ``sigma = 1.5 * amount + 2`` pixels and multiplied by
        `amount`.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Notes
    -----
    The dearest of the colour operators: 81 taps at level 5, 40 ms for 512 x 512 on one CPU core.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import color_diffusion
    >>> color_diffusion(torch.full((1, 3, 8, 8), 0.5), 3).std() < 1e-4
    tensor(True)
    """
    check_at_least("color_diffusion: amount", amount, 0)
    lab = rgb_to_lab(images)
    lab[:, 1:] = gaussian_filter(lab[:, 1:], 1.5 * amount + 2).mul_(amount)
    return lab_to_rgb(lab).clamp_(0, 1)


@register(
    "color_shift",
    group="color",
    levels=(1.0, 3.0, 6.0, 8.0, 12.0),
    random=True,
    source="KADID-10k type 5",
)
@batched
def color_shift(images: torch.Tensor, amount: float, seeds: torch.Tensor) -> torch.Tensor:
    """Green that lies beside red and blue, above all at edges.

    The green channel is moved and blended with itself; the weight of the moved one is an edge
    map: the gradient magnitude of grey, smoothed by a Gaussian of sigma 4, stretched to 0..1,
    cut to 0.1..1 and stretched so that its first percentile becomes 0 and its last 1.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    amount : float or tensor of shape (N,)
        Distance in pixels, 0 or more; the two components are rounded.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the direction, uniform between right and down.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import color_shift
    >>> images = torch.rand(1, 3, 16, 16)
    >>> torch.equal(color_shift(images, 5, seeds=0)[:, 0], images[:, 0])
    True
    """
    check_at_least("color_shift: amount", amount, 0)
    weight = _edge_map(images)
    height, width = images.shape[2:]
    result = images.clone()
    for i, angle in enumerate((uniform(seeds, (1,))[:, 0] * (math.pi / 2)).tolist()):
        down = min(round(amount * math.sin(angle)), height)
        right = min(round(amount * math.cos(angle)), width)
        green = images[i : i + 1, 1:2]
        moved = replicate(green, down, right)[:, :, :height, :width]
        result[i : i + 1, 1:2] = torch.lerp(green, moved, weight[i : i + 1])
    return result


def _edge_map(images: torch.Tensor) -> torch.Tensor:
    """Weights (N, 1, H, W) in [0, 1] that are high near edges."""
    edges = gaussian_filter(gradient_magnitude(rgb_to_gray(images)), 4.0)
    flat = edges.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    flat = (flat - low).div_((high - low).clamp(min=1e-12)).clamp_(min=0.1)
    size = flat.shape[1]
    tail = max(1, round(0.01 * size))
    low = flat.kthvalue(tail, 1, keepdim=True).values
    high = flat.kthvalue(size + 1 - tail, 1, keepdim=True).values
    return (flat - low).div_((high - low).clamp(min=1e-12)).clamp_(0, 1).view_as(edges)


@register(
    "color_quantization", group="color", levels=(64, 48, 32, 16, 8), source="KADID-10k type 6"
)
@batched(whole=True)
def color_quantization(images: torch.Tensor, n_colors: list[float]) -> torch.Tensor:
    """Few colours: a palette of least variance, and error-diffusion dithering.

    The palette is Wu's (greedy minimum variance on a 32 x 32 x 32 histogram); Floyd and
    Steinberg's dithering is Pillow's. MATLAB's ``rgb2ind``, by which KADIS was made, does the
    same two steps by an unpublished variant of the first.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images; rounded to 8 bits.
    n_colors : int or tensor of shape (N,)
        Most colours, 2 to 256.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Notes
    -----
    Runs on the CPU, in threads; CUDA batches are copied there and back. 70 ms for 512 x 512 on
    one core.

    References
    ----------
    X. Wu, "Efficient statistical computations for optimal color quantization", Graphics Gems II,
    1991.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import color_quantization
    >>> images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> len(color_quantization(images, 8)[0].flatten(1).unique(dim=1).T)
    8
    """
    check_each_between("color_quantization: n_colors", n_colors, 2, 256)
    for i, n in enumerate(n_colors):
        as_count(f"color_quantization: n_colors at index {i}", n, low=2)
    return map_pillow(reduce_colors, images, n_colors)


@register(
    "color_saturation_hsv",
    group="color",
    levels=(0.4, 0.2, 0.1, 0.0, -0.4),
    source="KADID-10k type 7 (color saturation 1)",
)
@batched
def color_saturation_hsv(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Saturation of HSV times a factor: paler, grey, and below 0 the opposite colours.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    factor : float or tensor of shape (N,)
        1 changes nothing, 0 gives grey.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import color_saturation_hsv
    >>> color_saturation_hsv(torch.tensor([0.6, 0.2, 0.2]).view(1, 3, 1, 1), 0.5).flatten()
    tensor([0.6000, 0.4000, 0.4000])
    """
    # Hue and value stay, so channel = value - chroma * weight becomes linear in the factor:
    # value + factor * (channel - value). No conversion is needed.
    value = images.amax(1, keepdim=True)
    return torch.lerp(value, images, factor)


@register(
    "color_saturation_lab",
    group="color",
    levels=(1.0, 2.0, 3.0, 6.0, 9.0),
    source="KADID-10k type 8 (color saturation 2)",
)
@batched
def color_saturation_lab(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Chroma: a and b of CIE L*a*b* times a factor.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    factor : float or tensor of shape (N,)
        1 changes nothing, more gives gaudy colours.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import color_saturation_lab
    >>> images = torch.rand(1, 3, 8, 8)
    >>> torch.allclose(color_saturation_lab(images, 1), images, atol=1e-4)
    True
    """
    lab = rgb_to_lab(images)
    lab[:, 1:] *= factor
    return lab_to_rgb(lab).clamp_(0, 1)


@register(
    "saturation_down",
    group="color",
    levels=(0.9, 0.8, 0.7, 0.6, 0.5),
    source="QualityAwareTransform's levels; definition as Pillow's and torchvision's",
)
@register(
    "saturation_up",
    group="color",
    levels=(1.1, 1.2, 1.3, 1.4, 1.5),
    source="QualityAwareTransform's levels; definition as Pillow's and torchvision's",
)
@batched
def saturation(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Distance from each pixel's grey times a factor; ``saturation_up``, ``saturation_down``.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    factor : float or tensor of shape (N,)
        0 or more; 1 changes nothing, 0 gives grey.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import saturation
    >>> saturation(torch.tensor([0.6, 0.2, 0.2]).view(1, 3, 1, 1), 0.5).flatten()
    tensor([0.4598, 0.2598, 0.2598])
    """
    check_at_least("saturation: factor", factor, 0)
    return torch.lerp(rgb_to_gray(images), images, factor)


@register(
    "hue_down",
    group="color",
    levels=(-0.01, -0.02, -0.03, -0.04, -0.05),
    source="QualityAwareTransform's levels, 0.99 to 0.95, read as turns of -0.01 to -0.05",
)
@register(
    "hue_up",
    group="color",
    levels=(0.01, 0.02, 0.03, 0.04, 0.05),
    source="QualityAwareTransform's levels, 1.01 to 1.05, read as turns of 0.01 to 0.05",
)
@batched
def hue(images: torch.Tensor, turns: float) -> torch.Tensor:
    """The hue of HSV turned; ``hue_up`` towards green and ``hue_down`` towards blue from red.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    turns : float or tensor of shape (N,)
        1/3 makes red green; 0 and whole numbers change nothing.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import hue
    >>> hue(torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1), 1 / 3).flatten()
    tensor([0.1000, 0.9000, 0.1000])
    """
    hsv = rgb_to_hsv(images)
    hsv[:, 0] += turns % 1
    return hsv_to_rgb(hsv)


@register(
    "chromatic_aberration",
    group="color",
    levels=(0.002, 0.004, 0.008, 0.014, 0.022),
    source="our choice",
)
@batched
def chromatic_aberration(images: torch.Tensor, amount: float) -> torch.Tensor:
    """Coloured fringes of a lens that magnifies red more and blue less than green.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    amount : float or tensor of shape (N,)
        Red is enlarged about the image's centre by the factor ``1 + amount``, and blue shrunk by
        as much, bilinear, with replicated borders; in [0, 0.5].

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import chromatic_aberration
    >>> images = torch.rand(1, 3, 16, 16)
    >>> torch.equal(chromatic_aberration(images, 0.1)[:, 1], images[:, 1])
    True
    """
    check_between("chromatic_aberration: amount", amount, 0, 0.5)
    red, green, blue = images.split(1, 1)
    return torch.cat([enlarge(red, 1 + amount), green, enlarge(blue, 1 / (1 + amount))], 1)


@register("banding", group="color", levels=(40, 24, 14, 9, 6), source="our choice")
@batched
def banding(images: torch.Tensor, n_values: float) -> torch.Tensor:
    """Too few values a channel: bands where there was a gradient (posterization).

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    n_values : int or tensor of shape (N,)
        Number of evenly spaced values, 2 or more; each value becomes the nearest.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import banding
    >>> banding(torch.tensor([0.1, 0.3, 0.8]).view(1, 3, 1, 1), 3).flatten()
    tensor([0.0000, 0.5000, 1.0000])
    """
    n_steps = as_count("banding: n_values", n_values, low=2) - 1
    return images.mul(n_steps).round_().div_(n_steps)
