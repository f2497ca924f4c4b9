"""Noise: Gaussian in RGB and in YCbCr, impulse, multiplicative, and noise that was removed."""

import torch

from ._batching import batched
from ._random import normal
from ._registry import register

__all__ = ["white_noise"]


@register(
    "white_noise",
    group="noise",
    levels=(0.001, 0.002, 0.003, 0.005, 0.01),
    random=True,
    source="KADID-10k 11",
)
@batched
def white_noise(images, variance, seeds):
    """Additive white Gaussian noise.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
    variance : float or tensor of shape (N,)
    seeds : int64 tensor of shape (N,)

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
    """
    noise = normal(seeds, images.shape[1:])
    return torch.add(images, noise, alpha=variance**0.5)
