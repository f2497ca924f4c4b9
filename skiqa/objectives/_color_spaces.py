"""The colour spaces in which CONTRIQUE shows its views."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from skiqa.degradations.color import rgb_to_gray, rgb_to_hsv, rgb_to_lab

COLOR_SPACES = ("gray", "lab", "hsv", "ms", "rgb")


def to_color_space(images: Tensor, which: str) -> Tensor:
    """Show images in one of CONTRIQUE's five colour spaces, each channel scaled to [0, 1].

    Parameters
    ----------
    images : tensor of shape (n, 3, h, w) in [0, 1], RGB
    which : {"gray", "lab", "hsv", "ms", "rgb"}
        "lab" is scaled as 8-bit ICC Lab (L / 100, (a + 128) / 255, (b + 128) / 255); "ms" is
        the mean-subtracted image: 7 Gaussian taps, sigma 7/6, then min-max of the whole image.

    Returns
    -------
    tensor of shape (n, 3, h, w) in [0, 1]
    """
    if which == "rgb":
        return images
    if which == "gray":
        return rgb_to_gray(images).expand(-1, 3, -1, -1)
    if which == "hsv":
        return rgb_to_hsv(images)
    if which == "lab":
        lightness, a, b = rgb_to_lab(images).unbind(1)
        channels = [lightness / 100, (a + 128) / 255, (b + 128) / 255]
        return torch.stack(channels, dim=1).clamp(0, 1)
    if which != "ms":
        raise ValueError(f"{which!r} is no colour space; choose from {COLOR_SPACES}.")
    centred = images - _local_mean(images)
    low = centred.amin(dim=(1, 2, 3), keepdim=True)
    spread = centred.amax(dim=(1, 2, 3), keepdim=True) - low
    return (centred - low) / (spread + 1e-3 / 255)


def _local_mean(images: Tensor) -> Tensor:
    """Gaussian window of 7 taps, sigma 7/6, reflecting at the borders; separable."""
    taps = torch.arange(-3.0, 4.0, device=images.device)
    taps = torch.exp(-(taps**2) / (2 * (7 / 6) ** 2))
    taps = (taps / taps.sum()).expand(images.shape[1], 1, 1, 7)  # one filter for each channel
    padded = F.pad(images, (3, 3, 3, 3), mode="reflect")
    rows = F.conv2d(padded, taps, groups=images.shape[1])
    return F.conv2d(rows, taps.transpose(2, 3), groups=images.shape[1])
