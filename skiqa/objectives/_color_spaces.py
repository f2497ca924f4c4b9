"""The colour spaces in which CONTRIQUE shows its views."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from skiqa.degradations._colorspaces import rgb_to_icc_lab
from skiqa.degradations.color import rgb_to_gray, rgb_to_hsv, rgb_to_lab

COLOR_SPACES = ("gray", "lab", "hsv", "ms", "rgb")  # of the reference
ALL_COLOR_SPACES = (*COLOR_SPACES, "lab_offset")


def to_color_space(images: Tensor, which: str) -> Tensor:
    """Show images in one of CONTRIQUE's five colour spaces, or in ours, channels in [0, 1].

    Parameters
    ----------
    images : tensor of shape (n, 3, h, w) in [0, 1], RGB
    which : {"gray", "lab", "hsv", "ms", "rgb", "lab_offset"}
        "lab" is what the reference's network sees: the bytes of Pillow's mode LAB over 255, white
        point D50, a* and b* in two's complement, so that they jump from 0 to 1 at neutral grey.
        "ms" is the mean-subtracted image, each channel by itself: 7 Gaussian taps, sigma 7/6, the
        rim repeated in mirror order; then min-max. "lab_offset" is our own: Lab without the jump,
        white point D65, (L / 100, (a + 128) / 255, (b + 128) / 255).

    Returns
    -------
    tensor of shape (n, 3, h, w) in [0, 1]

    Notes
    -----
    Departs from the reference: but for "lab", nothing is rounded to 8 bits.
    """
    if which == "rgb":
        return images
    if which == "gray":
        return rgb_to_gray(images).expand(-1, 3, -1, -1)
    if which == "hsv":
        return rgb_to_hsv(images)
    if which == "lab":
        lightness, a, b = rgb_to_icc_lab(images).unbind(1)
        values = torch.stack([lightness * 2.55, a.clamp(-128, 127), b.clamp(-128, 127)], dim=1)
        return values.round().remainder(256) / 255
    if which == "lab_offset":
        lightness, a, b = rgb_to_lab(images).unbind(1)
        channels = [lightness / 100, (a + 128) / 255, (b + 128) / 255]
        return torch.stack(channels, dim=1).clamp(0, 1)
    if which != "ms":
        raise ValueError(f"{which!r} is no colour space; choose from {ALL_COLOR_SPACES}.")
    centred = images - _local_mean(images)
    low = centred.amin(dim=(2, 3), keepdim=True)
    spread = centred.amax(dim=(2, 3), keepdim=True) - low
    return (centred - low) / (spread + 1e-3 / 255)


def _local_mean(images: Tensor) -> Tensor:
    """Gaussian window of 7 taps, sigma 7/6, mirrored with the rim repeated; separable."""
    taps = torch.arange(-3.0, 4.0, device=images.device)
    taps = torch.exp(-(taps**2) / (2 * (7 / 6) ** 2))
    taps = (taps / taps.sum()).expand(images.shape[1], 1, 1, 7)  # one filter for each channel
    rows, columns = (
        torch.from_numpy(np.pad(np.arange(side), 3, mode="symmetric")).to(images.device)
        for side in images.shape[2:]
    )
    padded = images[:, :, rows][..., columns]
    means = F.conv2d(padded, taps, groups=images.shape[1])
    return F.conv2d(means, taps.transpose(2, 3), groups=images.shape[1])
