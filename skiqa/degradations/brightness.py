"""Brightness: by curve, shift, factor and gamma; exposures that miss, vignetting, haze."""

from __future__ import annotations

import torch

from skiqa.degradations._batching import batched
from skiqa.degradations._checks import check_above, check_at_least, check_between
from skiqa.degradations._colorspaces import (
    lab_to_rgb,
    linear_to_srgb,
    power_,
    rgb_to_lab,
    srgb_to_linear,
)
from skiqa.degradations._registry import register

__all__ = [
    "brighten",
    "brightness",
    "darken",
    "exposure",
    "gamma",
    "haze",
    "mean_shift",
    "vignetting",
]


def _bend(values: torch.Tensor, amount: float) -> torch.Tensor:
    """The parabola through (0, 0), (1/2, 1/2 + amount / 2) and (1, 1)."""
    # x + 2 amount x (1 - x), the not-a-knot spline through three points
    return values * (1 + 2 * amount) - values.square().mul_(2 * amount)


@register(
    "brighten", group="brightness", levels=(0.1, 0.2, 0.4, 0.7, 1.1), source="KADID-10k type 16"
)
@batched
def brighten(images: torch.Tensor, amount: float) -> torch.Tensor:
    """Lighter mid-tones, black and white kept.

    The mean of two curved copies of RGB and one whose CIE lightness is curved. The curve is the
    parabola through (0, 0), (1/2, 1/2 + amount / 2), (1, 1), clipped at 1.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    amount : float or tensor of shape (N,)
        Twice what a mid-tone gains.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.brightness import brighten
    >>> brighten(torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3), 0.2)[0, 0]
    tensor([[0.0000, 0.6004, 1.0000]])
    """
    curved = _bend(images, amount).clamp_(0, 1)
    lab = rgb_to_lab(images)
    lab[:, 0] = _bend(lab[:, 0] / 100, amount).clamp_(0, 1).mul_(100)
    return torch.lerp(curved, lab_to_rgb(lab).clamp_(0, 1), 1 / 3)


@register(
    "darken", group="brightness", levels=(0.05, 0.1, 0.2, 0.4, 0.8), source="KADID-10k type 17"
)
@batched
def darken(images: torch.Tensor, amount: float) -> torch.Tensor:
    """Darker mid-tones, black and white kept.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    amount : float or tensor of shape (N,)
        Twice what a mid-tone loses: the curve is the parabola through (0, 0),
        (1/2, 1/2 - amount / 2), (1, 1), clipped at 0.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.brightness import darken
    >>> darken(torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3), 0.2)[0, 0]
    tensor([[0.0000, 0.4000, 1.0000]])
    """
    return _bend(images, -amount).clamp_(0, 1)


@register(
    "mean_shift_arniqa",
    group="brightness",
    levels=(0.0, 0.08, -0.08, 0.15, -0.15),
    monotone=False,
    source="ARNIQA's order of the levels of KADID-10k type 18",
)
@register(
    "mean_shift",
    group="brightness",
    levels=(0.15, 0.08, 0.0, -0.08, -0.15),
    monotone=False,
    source="KADID-10k type 18",
)
@batched
def mean_shift(images: torch.Tensor, shift: float) -> torch.Tensor:
    """A constant added to every value, cut to [0, 1].

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    shift : float or tensor of shape (N,)
        The constant, of either sign. KADID's levels run from +0.15 through 0 to -0.15.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.brightness import mean_shift
    >>> mean_shift(torch.full((1, 3, 1, 1), 0.9), 0.15).max()
    tensor(1.)
    """
    return (images + shift).clamp_(0, 1)


@register(
    "brightness_down",
    group="brightness",
    levels=(0.95, 0.9, 0.85, 0.8, 0.75),
    source="QualityAwareTransform's levels; definition as Pillow's and torchvision's",
)
@register(
    "brightness_up",
    group="brightness",
    levels=(1.05, 1.1, 1.15, 1.2, 1.25),
    source="QualityAwareTransform's levels; definition as Pillow's and torchvision's",
)
@batched(whole=True)
def brightness(images: torch.Tensor, factor: list[float]) -> torch.Tensor:
    """All values times a factor, cut at 1; ``brightness_up`` and ``brightness_down``.

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
    >>> from skiqa.degradations.brightness import brightness
    >>> brightness(torch.tensor([0.4, 0.9]).view(1, 1, 1, 2).expand(1, 3, 1, 2), 1.25)[0, 0]
    tensor([[0.5000, 1.0000]])
    """
    check_at_least("brightness: factor", min(factor, default=0), 0)
    factors = torch.tensor(factor, dtype=images.dtype, device=images.device)
    return torch.mul(images, factors.view(-1, 1, 1, 1)).clamp_(0, 1)


@register(
    "gamma_down",
    group="brightness",
    levels=(0.95, 0.925, 0.9, 0.875, 0.85),
    source="QualityAwareTransform's levels",
)
@register(
    "gamma_up",
    group="brightness",
    levels=(1.025, 1.05, 1.075, 1.1, 1.125),
    source="QualityAwareTransform's levels",
)
@batched
def gamma(images: torch.Tensor, exponent: float) -> torch.Tensor:
    """All values to a power; ``gamma_up`` darkens, ``gamma_down`` lightens.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    exponent : float or tensor of shape (N,)
        Above 0; 1 changes nothing.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.brightness import gamma
    >>> gamma(torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3).expand(1, 3, 1, 3), 2)[0, 0]
    tensor([[0.0000, 0.2500, 1.0000]])
    """
    check_above("gamma: exponent", exponent, 0)
    return power_(images.clamp(min=1e-30), exponent)  # the logarithm of 0 is slow


@register(
    "under_exposure", group="brightness", levels=(-0.5, -1.0, -1.5, -2.0, -3.0), source="our choice"
)
@register(
    "over_exposure", group="brightness", levels=(0.4, 0.8, 1.2, 1.6, 2.2), source="our choice"
)
@batched
def exposure(images: torch.Tensor, stops: float) -> torch.Tensor:
    """Light that is too much, cut where the sensor is full, or too little.

    The values are made linear in light by the curve of sRGB, multiplied by ``2 ** stops``, cut
    at 1 and coded again; ``over_exposure`` and ``under_exposure``.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    stops : float or tensor of shape (N,)
        In -20..20: each stop doubles the light; 0 changes nothing.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.brightness import exposure
    >>> exposure(torch.tensor([0.2, 0.5, 0.9]).view(1, 1, 1, 3).expand(1, 3, 1, 3), 1.0)[0, 0]
    tensor([[0.2854, 0.6858, 1.0000]])
    """
    check_between("exposure: stops", stops, -20, 20)
    return linear_to_srgb(srgb_to_linear(images).mul_(2.0**stops).clamp_(max=1))


@register("vignetting", group="brightness", levels=(0.3, 0.5, 0.7, 0.85, 0.95), source="our choice")
@batched
def vignetting(images: torch.Tensor, loss: float) -> torch.Tensor:
    """Corners that a lens leaves dark: light falls by the fourth power of the cosine.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    loss : float or tensor of shape (N,)
        Share of the light that a corner loses, in [0, 1). Values stand for light to the power of
        1 / 2.2.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.brightness import vignetting
    >>> vignetting(torch.ones(1, 3, 3, 3), 0.5)[0, 0]
    tensor([[0.8576, 0.9231, 0.8576],
            [0.9231, 1.0000, 0.9231],
            [0.8576, 0.9231, 0.8576]])
    """
    if not 0 <= loss < 1:
        raise ValueError(f"vignetting: loss {loss} is not in [0, 1).")
    height, width = images.shape[2:]
    y = (torch.arange(height, device=images.device) + 0.5 - height / 2)[:, None]
    x = torch.arange(width, device=images.device) + 0.5 - width / 2
    square = (y.square() + x.square()).div_((height**2 + width**2) / 4)  # 1 in the corners
    # cos^4 = (1 + tan^2)^-2, and tan grows with the distance from the centre
    light = square.mul_((1 - loss) ** -0.5 - 1).add_(1)
    return images * light.pow_(-2 / 2.2)


@register("haze", group="brightness", levels=(0.15, 0.35, 0.65, 1.1, 1.8), source="our choice")
@batched
def haze(images: torch.Tensor, density: float) -> torch.Tensor:
    """Light scattered by the air: ``x t + 0.9 (1 - t)``, with more air towards the top.

    Koschmieder's law on coded values, as in the literature on dehazing. The transmission is
    ``t = exp(-density d)``; the depth d falls evenly from 1 in the first row to 1/3 in the last.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    density : float or tensor of shape (N,)
        0 or more; 0 changes nothing.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.brightness import haze
    >>> haze(torch.zeros(1, 3, 3, 1), 1.0)[0, 0, :, 0]
    tensor([0.5689, 0.4379, 0.2551])
    """
    check_at_least("haze: density", density, 0)
    depth = torch.linspace(1, 1 / 3, images.shape[2], device=images.device)[:, None]
    transmission = depth.mul_(-density).exp_()
    return (images - 0.9).mul_(transmission).add_(0.9)
