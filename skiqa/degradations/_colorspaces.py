"""Colour spaces: sRGB to and from CIE L*a*b*, HSV and YCbCr, and to grey."""

from __future__ import annotations

import torch

from skiqa.degradations._batching import samplewise

__all__ = [
    "hsv_to_rgb",
    "lab_to_rgb",
    "linear_to_srgb",
    "power_",
    "rgb_to_gray",
    "rgb_to_hsv",
    "rgb_to_icc_lab",
    "rgb_to_lab",
    "rgb_to_ycbcr",
    "srgb_to_linear",
    "ycbcr_to_rgb",
]

# Linear sRGB to XYZ: the primaries and the D65 white of IEC 61966-2-1 (Lindbloom's digits).
_RGB_TO_XYZ = torch.tensor(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ],
    dtype=torch.float64,
)
_WHITE = _RGB_TO_XYZ.sum(1, keepdim=True)  # so that greys have a = b = 0 exactly
_RGB_TO_RELATIVE = _RGB_TO_XYZ / _WHITE
_RELATIVE_TO_RGB = torch.linalg.inv(_RGB_TO_RELATIVE)
# The same, adapted to the white D50 of ICC profiles by Bradford's matrix (Lindbloom's digits).
_RGB_TO_XYZ_D50 = torch.tensor(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ],
    dtype=torch.float64,
)
_RGB_TO_RELATIVE_D50 = _RGB_TO_XYZ_D50 / _RGB_TO_XYZ_D50.sum(1, keepdim=True)
# CIE 15: f(t) is the cube root above (6/29)^3 and a line below.
_DELTA = 6 / 29
_F_TO_LAB = torch.tensor([[0, 116, 0], [500, -500, 0], [0, 200, -200]], dtype=torch.float64)
_LAB_TO_F = torch.tensor(
    [[1 / 116, 1 / 500, 0], [1 / 116, 0, 0], [1 / 116, 0, -1 / 200]], dtype=torch.float64
)
# ITU-R BT.601 in studio range (Y 16..235, Cb and Cr 16..240 of 255), as MATLAB's rgb2ycbcr.
_RGB_TO_YCBCR = (
    torch.tensor(
        [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]],
        dtype=torch.float64,
    )
    / 255
)
_YCBCR_TO_RGB = torch.linalg.inv(_RGB_TO_YCBCR)
_YCBCR_OFFSET = torch.tensor([[16.0], [128.0], [128.0]], dtype=torch.float64) / 255
_GRAY = (0.298936, 0.587043, 0.114021)


def _mix(images: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """New channels as sums of the old: out_c = sum_d matrix_cd in_d."""
    mixed = torch.matmul(matrix.to(images), images.flatten(2))
    return mixed.view_as(images)


def power_(values: torch.Tensor, exponent: float) -> torch.Tensor:
    """``values ** exponent`` in place, for values > 0; faster than pow, as exp2 is than exp."""
    return values.log2_().mul_(exponent).exp2_()


# Both pieces of a curve are computed, each on its own side of the joint, and added: choosing by a
# mask is several times slower.


def srgb_to_linear(images: torch.Tensor) -> torch.Tensor:
    """Coded values of sRGB to values linear in light (IEC 61966-2-1)."""
    linear = power_((images.clamp(min=0.04045) + 0.055).div_(1.055), 2.4)
    return linear.add_(images.clamp(max=0.04045), alpha=1 / 12.92).sub_(0.04045 / 12.92)


def linear_to_srgb(linear: torch.Tensor) -> torch.Tensor:
    """Values linear in light to coded values of sRGB (IEC 61966-2-1)."""
    curved = power_(linear.clamp(min=0.0031308), 1 / 2.4).mul_(1.055)
    line = linear.clamp(max=0.0031308)
    return curved.add_(line, alpha=12.92).sub_(0.055 + 12.92 * 0.0031308)


@samplewise
def rgb_to_lab(images: torch.Tensor) -> torch.Tensor:
    """SRGB to CIE L*a*b* with the white point D65.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32
        L in 0..100, a in -86.2..98.3, b in -107.9..94.5.

    References
    ----------
    CIE 15:2004, Colorimetry; IEC 61966-2-1:1999.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import rgb_to_lab
    >>> red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> rgb_to_lab(red).flatten()
    tensor([53.2408, 80.0925, 67.2032])
    """
    return _to_lab(images, _RGB_TO_RELATIVE)


@samplewise
def rgb_to_icc_lab(images: torch.Tensor) -> torch.Tensor:
    """SRGB to CIE L*a*b* with the white point D50, as colour management has it.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32

    References
    ----------
    ICC.1:2022, Image technology colour management, section 6.3.2.
    """
    return _to_lab(images, _RGB_TO_RELATIVE_D50)


def _to_lab(images: torch.Tensor, rgb_to_relative: torch.Tensor) -> torch.Tensor:
    relative = _mix(srgb_to_linear(images), rgb_to_relative)
    root = power_(relative.clamp(min=_DELTA**3), 1 / 3)
    line = relative.mul_(1 / (3 * _DELTA**2)).add_(4 / 29)
    # The line is a tangent above the root everywhere but at the joint: the smaller one holds
    # above the joint, and below it the root was clamped to its value there.
    f = torch.minimum(root, line)
    lab = _mix(f, _F_TO_LAB)
    lab[:, 0] -= 16
    return lab


@samplewise
def lab_to_rgb(images: torch.Tensor) -> torch.Tensor:
    """CIE L*a*b* (D65) to sRGB.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32
        L, a, b as :func:`rgb_to_lab` gives them.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32
        Colours that sRGB does not hold lie outside [0, 1].

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import lab_to_rgb, rgb_to_lab
    >>> images = torch.rand(1, 3, 8, 8)
    >>> torch.allclose(lab_to_rgb(rgb_to_lab(images)), images, atol=1e-4)
    True
    """
    f = images.clone()
    f[:, 0] += 16
    f = _mix(f, _LAB_TO_F)
    # pieces added as in srgb_to_linear
    relative = f.clamp(min=_DELTA).pow_(3)
    relative.add_(f.clamp_(max=_DELTA).sub_(4 / 29), alpha=3 * _DELTA**2).sub_(_DELTA**3)
    return linear_to_srgb(_mix(relative, _RELATIVE_TO_RGB))


@samplewise
def rgb_to_hsv(images: torch.Tensor) -> torch.Tensor:
    """RGB to hue, saturation and value.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32
        Hue in [0, 1), a full turn being 1; saturation and value in [0, 1].

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import rgb_to_hsv
    >>> rgb_to_hsv(torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)).flatten()
    tensor([0.3333, 1.0000, 1.0000])
    """
    red, green, blue = images.unbind(1)
    # Two swaps sort the channels, and each shifts the sector that hue is counted from: no
    # choice by a mask is needed, which would take several times as long.
    larger, smaller = torch.maximum(green, blue), torch.minimum(green, blue)
    swap_gb = torch.lt(green, blue, out=torch.empty_like(green))
    swap_r = torch.lt(red, larger, out=torch.empty_like(red))
    value, other = torch.maximum(red, larger), torch.minimum(red, larger)
    chroma = value - torch.minimum(smaller, other)
    hue = swap_gb.mul(2).sub_(1 / 3).mul_(swap_r).sub_(swap_gb)
    is_zero = torch.eq(chroma, 0, out=torch.empty_like(chroma))
    hue.add_(other.sub_(smaller).div_(is_zero.add_(chroma)), alpha=1 / 6).abs_()
    hue.sub_(hue.floor())  # a tiny negative hue plus 1 rounds to 1
    torch.eq(value, 0, out=is_zero)
    return torch.stack([hue, chroma.div_(is_zero.add_(value)), value], 1)


@samplewise
def hsv_to_rgb(images: torch.Tensor) -> torch.Tensor:
    """Hue, saturation and value to RGB.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32
        Hue (any number of turns), saturation, value.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32
        In [0, 1] if saturation and value are.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import hsv_to_rgb, rgb_to_hsv
    >>> images = torch.rand(1, 3, 8, 8)
    >>> torch.allclose(hsv_to_rgb(rgb_to_hsv(images)), images, atol=1e-5)
    True
    """
    hue, saturation, value = images.unbind(1)
    chroma = value * saturation
    channels = []
    for offset in (5, 3, 1):  # channel = v - v s max(0, min(k, 4 - k, 1)), k = (n + 6 h) mod 6
        k = (hue * 6).add_(offset).remainder_(6)
        weight = torch.minimum(k, 4 - k).clamp_(0, 1)
        channels.append(value - chroma * weight)
    return torch.stack(channels, 1)


@samplewise
def rgb_to_ycbcr(images: torch.Tensor) -> torch.Tensor:
    """RGB to YCbCr of ITU-R BT.601 in studio range, as MATLAB's ``rgb2ycbcr``.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32
        Y in 16/255..235/255, Cb and Cr in 16/255..240/255.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import rgb_to_ycbcr
    >>> rgb_to_ycbcr(torch.ones(1, 3, 1, 1)).flatten() * 255
    tensor([235.0000, 128.0000, 128.0000])
    """
    return _mix(images, _RGB_TO_YCBCR).add_(_YCBCR_OFFSET.to(images).view(1, 3, 1, 1))


@samplewise
def ycbcr_to_rgb(images: torch.Tensor) -> torch.Tensor:
    """YCbCr in studio range to RGB, the inverse of :func:`rgb_to_ycbcr`.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32
        YCbCr images.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32
        Not clipped.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import rgb_to_ycbcr, ycbcr_to_rgb
    >>> images = torch.rand(1, 3, 8, 8)
    >>> torch.allclose(ycbcr_to_rgb(rgb_to_ycbcr(images)), images, atol=1e-5)
    True
    """
    return _mix(images - _YCBCR_OFFSET.to(images).view(1, 3, 1, 1), _YCBCR_TO_RGB)


@samplewise
def rgb_to_gray(images: torch.Tensor) -> torch.Tensor:
    """Luma of ITU-R BT.601, as MATLAB's ``rgb2gray``.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.

    Returns
    -------
    torch.Tensor of shape (N, 1, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.color import rgb_to_gray
    >>> rgb_to_gray(torch.ones(1, 3, 2, 2)).shape
    torch.Size([1, 1, 2, 2])
    """
    red, green, blue = images.split(1, 1)
    return (red * _GRAY[0]).add_(green, alpha=_GRAY[1]).add_(blue, alpha=_GRAY[2])
