"""Brightness: brighten, darken and mean shift."""

import torch

from ._batching import batched
from ._colorspaces import lab_to_rgb, rgb_to_lab
from ._registry import register

__all__ = ["brighten", "darken", "mean_shift"]


def _bend(values, amount):
    """The parabola through (0, 0), (1/2, 1/2 + amount / 2) and (1, 1)."""
    # x + 2 amount x (1 - x), the not-a-knot spline through three points
    return values * (1 + 2 * amount) - values.square().mul_(2 * amount)


@register(
    "brighten", group="brightness", levels=(0.1, 0.2, 0.4, 0.7, 1.1), source="KADID-10k type 16"
)
@batched
def brighten(images, amount):
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
def darken(images, amount):
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
    "mean_shift",
    group="brightness",
    levels=(0.15, 0.08, 0.0, -0.08, -0.15),
    monotone=False,
    source="KADID-10k type 18",
)
@batched
def mean_shift(images, shift):
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
