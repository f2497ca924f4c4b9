"""Blur: Gaussian, lens (disk) and motion."""

import torch

from ._batching import batched
from ._filters import disk_kernel, filter2d, gaussian_filter, motion_kernel
from ._random import randint
from ._registry import register

__all__ = ["gaussian_blur", "lens_blur", "motion_blur"]


@register(
    "gaussian_blur", group="blur", levels=(0.1, 0.5, 1.0, 2.0, 5.0), source="KADID-10k type 1"
)
@batched
def gaussian_blur(images, sigma):
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
    if sigma < 0:
        raise ValueError(f"gaussian_blur: sigma must be 0 or more, not {sigma}.")
    return gaussian_filter(images, sigma)


@register("lens_blur", group="blur", levels=(1.0, 2.0, 4.0, 6.0, 8.0), source="KADID-10k type 2")
@batched
def lens_blur(images, radius):
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
    if radius <= 0:
        raise ValueError(f"lens_blur: radius must be above 0, not {radius}.")
    return filter2d(images, disk_kernel(radius))


@register(
    "motion_blur",
    group="blur",
    levels=(1.0, 2.0, 4.0, 6.0, 10.0),
    random=True,
    source="KADID-10k type 3",
)
@batched
def motion_blur(images, length, seeds):
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
    blurred = [
        filter2d(image, motion_kernel(length, angle))
        for image, angle in zip(images.split(1), angles, strict=True)
    ]
    return torch.cat(blurred) if len(blurred) > 1 else blurred[0]
