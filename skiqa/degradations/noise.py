"""Noise: Gaussian in RGB and in YCbCr, impulse, multiplicative, and noise that was removed."""

import functools
import math

import torch
import torch.nn.functional as F

from ._batching import batched
from ._colorspaces import rgb_to_ycbcr, ycbcr_to_rgb
from ._random import normal, uniform
from ._registry import register

__all__ = [
    "denoise",
    "impulse_noise",
    "multiplicative_noise",
    "white_noise",
    "white_noise_ycbcr",
]


def _add_white_noise(images, variance, seeds, name):
    """Images with Gaussian noise, cut to [0, 1] as MATLAB's imnoise does."""
    if variance < 0:
        raise ValueError(f"{name}: variance must be 0 or more, not {variance}.")
    noise = normal(seeds, images.shape[1:])
    return noise.mul_(math.sqrt(variance)).add_(images).clamp_(0, 1)


@register(
    "white_noise",
    group="noise",
    levels=(0.001, 0.002, 0.003, 0.005, 0.01),
    random=True,
    source="KADID-10k type 11",
)
@batched
def white_noise(images, variance, seeds):
    """Additive white Gaussian noise on red, green and blue.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    variance : float or tensor of shape (N,)
        Variance of the noise, 0 or more.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the noise.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.noise import white_noise
    >>> noisy = white_noise(torch.full((1, 3, 64, 64), 0.5), 0.01, seeds=0)
    >>> round(float(noisy.std()), 2)
    0.1
    """
    return _add_white_noise(images, variance, seeds, "white_noise")


@register(
    "white_noise_ycbcr",
    group="noise",
    levels=(0.0001, 0.0005, 0.001, 0.002, 0.003),
    random=True,
    source="KADID-10k type 12 (white noise in color component)",
)
@batched
def white_noise_ycbcr(images, variance, seeds):
    """Additive white Gaussian noise on Y, Cb and Cr of studio range.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    variance : float or tensor of shape (N,)
        Variance of the noise in YCbCr, 0 or more.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the noise.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.noise import white_noise_ycbcr
    >>> images = torch.rand(1, 3, 16, 16)
    >>> torch.allclose(white_noise_ycbcr(images, 0.0, seeds=0), images, atol=1e-4)
    True
    """
    noisy = _add_white_noise(rgb_to_ycbcr(images), variance, seeds, "white_noise_ycbcr")
    return ycbcr_to_rgb(noisy).clamp_(0, 1)


@register(
    "impulse_noise",
    group="noise",
    levels=(0.001, 0.005, 0.01, 0.02, 0.03),
    random=True,
    source="KADID-10k type 13",
)
@batched
def impulse_noise(images, density, seeds):
    """Salt and pepper on single values of single channels.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    density : float or tensor of shape (N,)
        Share of the values that become 0 or 1, half of them each, in [0, 1].
    seeds : int or int64 tensor of shape (N,)
        Seeds of the places; those of a lower density are among those of a higher.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.noise import impulse_noise
    >>> impulse_noise(torch.full((1, 3, 8, 8), 0.5), 1.0, seeds=0).unique()
    tensor([0., 1.])
    """
    if not 0 <= density <= 1:
        raise ValueError(f"impulse_noise: density {density} is not in [0, 1].")
    draw = uniform(seeds, images.shape[1:])
    salted = torch.where(draw < density / 2, 0, images)
    return salted.masked_fill_(draw >= 1 - density / 2, 1)


@register(
    "multiplicative_noise",
    group="noise",
    levels=(0.001, 0.005, 0.01, 0.02, 0.05),
    random=True,
    source="KADID-10k type 14",
)
@batched
def multiplicative_noise(images, variance, seeds):
    """Speckle: ``a + n a`` with uniform noise n of mean 0, as MATLAB's imnoise draws it.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    variance : float or tensor of shape (N,)
        Variance of n, 0 or more.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the noise.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.noise import multiplicative_noise
    >>> multiplicative_noise(torch.zeros(1, 3, 8, 8), 0.05, seeds=0).max()
    tensor(0.)
    """
    if variance < 0:
        raise ValueError(f"multiplicative_noise: variance must be 0 or more, not {variance}.")
    width = math.sqrt(12 * variance)
    factor = uniform(seeds, images.shape[1:]).mul_(width).add_(1 - width / 2)
    return factor.mul_(images).clamp_(0, 1)


@register(
    "denoise",
    group="noise",
    levels=(0.01, 0.03, 0.05, 0.1, 0.15),
    random=True,
    source="KADID-10k type 15, with a DCT denoiser in DnCNN's place",
)
@batched
def denoise(images, variance, seeds):
    """White Gaussian noise, and what remains of it and of the picture after its removal.

    KADIS removed the noise, channel by channel, by the network DnCNN, whose weights cannot be
    shipped. This is a stand-in of our choice with the same signs (texture wiped out, faint
    blotches): each channel's 8 x 8 blocks, half overlapping, are transformed by the DCT,
    coefficients below three standard deviations of the noise are dropped, and the blocks are
    added under a Hann window.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    variance : float or tensor of shape (N,)
        Variance of the noise, 0 or more.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the noise.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Notes
    -----
    40 ms for 512 x 512 on one CPU core; memory five times the image.

    References
    ----------
    G. Yu and G. Sapiro, "DCT image denoising: a simple and effective image denoising algorithm",
    Image Processing On Line 1, 2011.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.noise import denoise
    >>> denoise(torch.full((1, 3, 64, 64), 0.5), 0.01, seeds=0).std() < 0.03
    tensor(True)
    """
    noisy = _add_white_noise(images, variance, seeds, "denoise")
    return _dct_denoise(noisy, 3 * math.sqrt(variance)).clamp_(0, 1)


_BLOCK = 8
_STEP = 4


@functools.lru_cache(maxsize=4)
def _dct_basis(device):
    """The orthonormal 8 x 8 DCT-II, and its inverse under a Hann window: (64 frequencies, 64)."""
    k = torch.arange(_BLOCK, dtype=torch.float64)
    rows = torch.cos(math.pi / _BLOCK * k[:, None] * (k[None] + 0.5)) * math.sqrt(2 / _BLOCK)
    rows[0] /= math.sqrt(2)
    patterns = torch.einsum("ux,vy->uvxy", rows, rows)
    basis = patterns.reshape(_BLOCK**2, _BLOCK**2)
    # sin^2, whose copies half a block apart sum to 1: blocks fade into one another
    window = torch.sin(math.pi / _BLOCK * (k + 0.5)).square()
    windowed = basis * (window[:, None] * window).flatten()
    return basis.to(device, torch.float32), windowed.to(device, torch.float32)


def _dct_denoise(images, threshold):
    """Channels of (N, 3, H, W) with the block coefficients below the threshold dropped."""
    height, width = images.shape[2:]
    basis, windowed = _dct_basis(images.device)
    # Four tilings by whole blocks, half a block apart, on replicated borders: every pixel lies
    # in four blocks.
    rows, columns = (-(-(side + _STEP) // _BLOCK) * _BLOCK for side in (height, width))
    padding = (_STEP, columns - width, _STEP, rows - height)
    padded = F.pad(images, padding, mode="replicate")
    sums = torch.zeros_like(padded)
    for top in (0, _STEP):
        for left in (0, _STEP):
            tiles = padded[:, :, top : top + rows, left : left + columns]
            blocks = tiles.unflatten(3, (-1, _BLOCK)).unflatten(2, (-1, _BLOCK)).transpose(3, 4)
            coefficients = blocks.reshape(-1, _BLOCK**2) @ basis.T
            kept = F.hardshrink(coefficients, threshold)
            kept[:, 0] = coefficients[:, 0]  # the mean
            blocks = (kept @ windowed).view(blocks.shape).transpose(3, 4)
            sums[:, :, top : top + rows, left : left + columns] += blocks.reshape(tiles.shape)
    return sums[:, :, _STEP : _STEP + height, _STEP : _STEP + width]
