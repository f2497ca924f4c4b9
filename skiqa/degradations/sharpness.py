"""Sharpness and contrast: sharpened, and contrast by curve, by line and about the mean."""

from __future__ import annotations

import torch

from skiqa.degradations._batching import batched
from skiqa.degradations._checks import check_at_least, check_between
from skiqa.degradations._colorspaces import lab_to_rgb, rgb_to_gray, rgb_to_lab
from skiqa.degradations._filters import gaussian_filter, replicate
from skiqa.degradations._registry import register

__all__ = [
    "contrast",
    "contrast_change",
    "high_sharpen",
    "laplacian_sharpen",
    "non_linear_contrast",
    "unsharp_mask",
]


@register(
    "high_sharpen", group="sharpness", levels=(1.0, 2.0, 3.0, 6.0, 12.0), source="KADID-10k type 24"
)
@batched
def high_sharpen(images: torch.Tensor, amount: float) -> torch.Tensor:
    """Unsharp mask on CIE lightness: ``L + amount * (L - blurred L)``, sigma 3 pixels.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    amount : float or tensor of shape (N,)
        Strength; 0 changes nothing.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.sharpness import high_sharpen
    >>> flat = torch.full((1, 3, 16, 16), 0.5)
    >>> torch.allclose(high_sharpen(flat, 12), flat, atol=1e-3)
    True
    """
    lab = rgb_to_lab(images)
    lightness = lab[:, :1]
    lightness += amount * (lightness - gaussian_filter(lightness, 3.0))
    return lab_to_rgb(lab).clamp_(0, 1)


@register(
    "contrast_change_arniqa",
    group="sharpness",
    family="color",
    levels=(0.0, 0.15, -0.4, 0.3, -0.6),
    monotone=False,
    source="ARNIQA's order of the levels of KADID-10k type 25 (linear contrast)",
)
@register(
    "contrast_change",
    group="sharpness",
    family="color",
    levels=(0.3, 0.15, 0.0, -0.4, -0.6),
    monotone=False,
    source="KADID-10k type 25",
)
@batched
def contrast_change(images: torch.Tensor, amount: float) -> torch.Tensor:
    """Contrast of mid-tones, black and white kept.

    The curve is the not-a-knot spline through (0, 0), (0.3, 0.25 - amount / 4), (0.5, 0.5),
    (0.7, 0.75 + amount / 4) and (1, 1), cut to [0, 1].

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    amount : float or tensor of shape (N,)
        Above -0.2 contrast grows, below it falls. KADID's levels run from more to less.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.sharpness import contrast_change
    >>> contrast_change(torch.tensor([0.3, 0.5, 0.7]).view(1, 1, 1, 3).expand(1, 3, 1, 3), 0)[0, 0]
    tensor([[0.2500, 0.5000, 0.7500]])
    """
    # Not-a-knot drops the knots at 0.3 and 0.7, and by symmetry about (1/2, 1/2) the two cubics
    # that are left are one odd cubic in t = x - 1/2:
    # y - 1/2 = t (1 + c (t^2 - 1/4)), which is 1/4 + amount / 4 at t = 0.2.
    # (The points of .3 and .7 lie symmetrically: .25 - a/4 = 1 - (.75 + a/4).)
    cubic = -(0.2 + amount) / 0.168
    t = images - 0.5
    curve = t.square().sub_(0.25).mul_(cubic).add_(1).mul_(t)
    return curve.add_(0.5).clamp_(0, 1)


@register(
    "non_linear_contrast",
    group="sharpness",
    family="color",
    levels=(0.4, 0.3, 0.2, 0.1, 0.05),
    source="ARNIQA (non-linear contrast)",
)
@batched
def non_linear_contrast(images: torch.Tensor, offset: float) -> torch.Tensor:
    """Contrast lost at both ends: [0, 1] is mapped to [1/2 - offset, 1/2 + offset].

    Non-linear is its name in ARNIQA's code; the map is linear.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    offset : float or tensor of shape (N,)
        In [0, 0.5]; 0.5 changes nothing, 0 leaves grey.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.sharpness import non_linear_contrast
    >>> non_linear_contrast(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2), 0.3)[0, 0]
    tensor([[0.2000, 0.8000]])
    """
    check_between("non_linear_contrast: offset", offset, 0, 0.5)
    return (images * (2 * offset)).add_(0.5 - offset)


@register(
    "contrast_down",
    group="sharpness",
    family="color",
    levels=(0.95, 0.9, 0.85, 0.8, 0.75),
    source="QualityAwareTransform's levels; definition as Pillow's and torchvision's",
)
@register(
    "contrast_up",
    group="sharpness",
    family="color",
    levels=(1.05, 1.1, 1.15, 1.2, 1.25),
    source="QualityAwareTransform's levels; definition as Pillow's and torchvision's",
)
@batched
def contrast(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Distance from the image's mean grey times a factor; ``contrast_up`` and ``contrast_down``.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    factor : float or tensor of shape (N,)
        0 or more; 1 changes nothing.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.sharpness import contrast
    >>> contrast(torch.tensor([0.4, 0.6]).view(1, 1, 1, 2).expand(1, 3, 1, 2), 1.5)[0, 0]
    tensor([[0.3500, 0.6500]])
    """
    check_at_least("contrast: factor", factor, 0)
    means = rgb_to_gray(images.mean((2, 3), keepdim=True))  # the mean of grey is grey of the means
    return torch.lerp(means, images, factor)


@register(
    "unsharp_mask",
    group="sharpness",
    levels=(0.5, 0.7, 0.9, 1.1, 1.3),
    source="QualityAwareTransform's levels; sigma our choice",
)
@batched
def unsharp_mask(images: torch.Tensor, amount: float) -> torch.Tensor:
    """Sharpened: ``x + amount * (x - blurred x)`` on red, green and blue, sigma 2 pixels.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    amount : float or tensor of shape (N,)
        Strength; 0 changes nothing.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.sharpness import unsharp_mask
    >>> edge = torch.tensor([0.3, 0.3, 0.3, 0.7, 0.7, 0.7]).expand(1, 3, 6, 6)
    >>> unsharp_mask(edge, 1)[0, 0, 0]
    tensor([0.2624, 0.2129, 0.1408, 0.8592, 0.7871, 0.7376])
    """
    return gaussian_filter(images, 2.0).sub_(images).mul_(-amount).add_(images)


@register(
    "high_sharpen_reiqa",
    group="sharpness",
    levels=(1.0, 2.0, 3.0, 6.0, 12.0),
    source="Re-IQA (high sharpen)",
)
@batched
def laplacian_sharpen(images: torch.Tensor, amount: float) -> torch.Tensor:
    """Sharpened by the Laplacian of CIE lightness: ``L - amount * laplacian(L)``.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    amount : float or tensor of shape (N,)
        Strength; 0 changes nothing. The Laplacian is the sum of the four neighbours less four
        times the pixel.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.sharpness import laplacian_sharpen
    >>> flat = torch.full((1, 3, 16, 16), 0.5)
    >>> torch.allclose(laplacian_sharpen(flat, 12), flat, atol=1e-3)
    True
    """
    lab = rgb_to_lab(images)
    lightness = lab[:, :1]
    padded = replicate(lightness, 1, 1)
    neighbors = padded[:, :, :-2, 1:-1] + padded[:, :, 2:, 1:-1]
    neighbors += padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:]
    lightness += amount * (4 * lightness - neighbors)
    return lab_to_rgb(lab).clamp_(0, 1)
