"""Noise: Gaussian, ISO, Poisson, impulse, multiplicative, and noise that was removed."""

from __future__ import annotations

import math

import torch

from skiqa.degradations._batching import batched
from skiqa.degradations._checks import check_above, check_at_least, check_between
from skiqa.degradations._colorspaces import rgb_to_gray, rgb_to_ycbcr, ycbcr_to_rgb
from skiqa.degradations._dct import dct_denoise
from skiqa.degradations._filters import filter_axes, gaussian_filter
from skiqa.degradations._random import normal, randint, uniform
from skiqa.degradations._registry import register

__all__ = [
    "denoise",
    "denoise_by_blur",
    "gaussian_noise",
    "gray_noise",
    "impulse_noise",
    "iso_noise",
    "multiplicative_noise",
    "poisson_noise",
    "white_noise",
    "white_noise_ycbcr",
]


def _add_white_noise(
    images: torch.Tensor, variance: float, seeds: torch.Tensor, name: str
) -> torch.Tensor:
    """Images with Gaussian noise, cut to [0, 1] as MATLAB's imnoise does."""
    check_at_least(f"{name}: variance", variance, 0)
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
def white_noise(images: torch.Tensor, variance: float, seeds: torch.Tensor) -> torch.Tensor:
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
def white_noise_ycbcr(images: torch.Tensor, variance: float, seeds: torch.Tensor) -> torch.Tensor:
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
def impulse_noise(images: torch.Tensor, density: float, seeds: torch.Tensor) -> torch.Tensor:
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
    check_between("impulse_noise: density", density, 0, 1)
    draw = uniform(seeds, images.shape[1:])
    # comparisons that write floats take a tenth of the time of a choice by masks
    kept = torch.ge(draw, density / 2, out=torch.empty_like(draw)).mul_(images)
    return torch.maximum(kept, torch.ge(draw, 1 - density / 2, out=draw))


@register(
    "multiplicative_noise_qpt",
    group="noise",
    # factors uniform within 1 +- a have the variance a^2 / 3
    levels=tuple(a * a / 3 for a in (0.05, 0.1, 0.15, 0.2, 0.25)),
    random=True,
    source="QualityAwareTransform's levels",
)
@register(
    "multiplicative_noise",
    group="noise",
    levels=(0.001, 0.005, 0.01, 0.02, 0.05),
    random=True,
    source="KADID-10k type 14",
)
@batched
def multiplicative_noise(
    images: torch.Tensor, variance: float, seeds: torch.Tensor
) -> torch.Tensor:
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
    check_at_least("multiplicative_noise: variance", variance, 0)
    width = math.sqrt(12 * variance)
    factor = uniform(seeds, images.shape[1:]).mul_(width).add_(1 - width / 2)
    return factor.mul_(images).clamp_(0, 1)


_QPT_STDS = (4 / 255, 8 / 255, 12 / 255, 16 / 255, 18 / 255)


@register(
    "gaussian_noise",
    group="noise",
    levels=_QPT_STDS,
    random=True,
    source="QualityAwareTransform's levels (Gaussian colour noise)",
)
@batched
def gaussian_noise(images: torch.Tensor, std: float, seeds: torch.Tensor) -> torch.Tensor:
    """White Gaussian noise by its standard deviation; :func:`white_noise` goes by the variance.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    std : float or tensor of shape (N,)
        Standard deviation of the noise on each value, 0 or more.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the noise.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.noise import gaussian_noise
    >>> noisy = gaussian_noise(torch.full((1, 3, 64, 64), 0.5), 0.1, seeds=0)
    >>> round(float(noisy.std()), 2)
    0.1
    """
    check_at_least("gaussian_noise: std", std, 0)
    return normal(seeds, images.shape[1:]).mul_(std).add_(images)


@register(
    "gray_noise",
    group="noise",
    levels=_QPT_STDS,
    random=True,
    source="QualityAwareTransform's levels (Gaussian grey noise)",
)
@batched
def gray_noise(images: torch.Tensor, std: float, seeds: torch.Tensor) -> torch.Tensor:
    """White Gaussian noise that is the same on red, green and blue.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    std : float or tensor of shape (N,)
        Standard deviation of the noise on each pixel, 0 or more.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the noise.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.noise import gray_noise
    >>> noisy = gray_noise(torch.full((1, 3, 64, 64), 0.5), 0.05, seeds=0)
    >>> torch.equal(noisy[:, 0], noisy[:, 2])
    True
    """
    check_at_least("gray_noise: std", std, 0)
    return normal(seeds, (1, *images.shape[2:])).mul_(std) + images


@register(
    "iso_noise",
    group="noise",
    levels=(0.1, 0.3, 0.5, 0.7, 0.9),
    random=True,
    source="QualityAwareTransform's levels; definition our choice",
)
@batched
def iso_noise(images: torch.Tensor, intensity: float, seeds: torch.Tensor) -> torch.Tensor:
    """Noise of a sensor at high gain: grain that grows with the light, and blotches of colour.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    intensity : float or tensor of shape (N,)
        0 or more. The grain, the same on all channels, has the standard deviation
        ``0.12 * intensity * sqrt(luma)``; the colours, smoothed by a Gaussian of sigma 1 as by
        demosaicing, ``0.03 * intensity`` and, as QualityAwareTransform pairs them, 0.0075 more.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the noise.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.noise import iso_noise
    >>> dark, light = torch.full((1, 3, 64, 64), 0.1), torch.full((1, 3, 64, 64), 0.6)
    >>> iso_noise(dark, 0.5, seeds=0).std() < iso_noise(light, 0.5, seeds=0).std()
    tensor(True)
    """
    check_at_least("iso_noise: intensity", intensity, 0)
    noise = normal(seeds, (4, *images.shape[2:]))
    grain = rgb_to_gray(images).sqrt_().mul_(noise[:, 3:]).mul_(0.12 * intensity)
    # sigma 1 leaves 0.2845 of white noise's standard deviation
    colors = gaussian_filter(noise[:, :3], 1.0).mul_((0.0075 + 0.025 * intensity) / 0.2845)
    return colors.add_(grain).add_(images)


@register(
    "poisson_noise", group="noise", levels=(400, 150, 60, 25, 10), random=True, source="our choice"
)
@batched
def poisson_noise(images: torch.Tensor, peak: float, seeds: torch.Tensor) -> torch.Tensor:
    """Shot noise: each value is a count of photons, drawn from a Poisson distribution.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    peak : float or tensor of shape (N,)
        Photons that white is on the mean, above 0; the fewer, the more noise.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the counts.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Notes
    -----
    Means below 2 go by the exact distribution, others by Cornish and Fisher's correction of the
    normal one, rounded.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.noise import poisson_noise
    >>> noisy = poisson_noise(torch.full((1, 3, 64, 64), 0.5), 100, seeds=0)
    >>> round(float(noisy.mean()), 2), round(float(noisy.var()), 3)
    (0.5, 0.005)
    """
    check_above("poisson_noise: peak", peak, 0)
    mean = images * peak
    z = normal(seeds, images.shape[1:])
    exact = _poisson_quantiles(torch.special.ndtr(z), mean.clamp(max=2))
    # mean + sqrt(mean) z + (z^2 - 1) / 6, rounded
    counts = z.square().sub_(1).div_(6).add_(mean).add_(mean.sqrt().mul_(z)).add_(0.5).floor_()
    many = torch.ge(mean, 2, out=z)
    return torch.lerp(exact, counts, many).div_(peak)


def _poisson_quantiles(probabilities: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """Poisson counts at some probabilities, for means up to 2; 12 is passed once in a million."""
    weight = torch.exp(-means)
    total, counts, above = weight.clone(), torch.zeros_like(means), torch.empty_like(means)
    for k in range(1, 13):
        counts += torch.gt(probabilities, total, out=above)
        total += weight.mul_(means).mul_(1 / k)
    return counts


@register(
    "denoise",
    group="noise",
    levels=(0.01, 0.03, 0.05, 0.1, 0.15),
    random=True,
    source="KADID-10k type 15, with a DCT denoiser in DnCNN's place",
)
@batched
def denoise(images: torch.Tensor, variance: float, seeds: torch.Tensor) -> torch.Tensor:
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
    return dct_denoise(noisy, 3 * math.sqrt(variance)).clamp_(0, 1)


@register(
    "denoise_reiqa",
    group="noise",
    levels=(0.001, 0.002, 0.003, 0.005, 0.01),
    random=True,
    source="Re-IQA (denoise)",
)
@batched
def denoise_by_blur(images: torch.Tensor, variance: float, seeds: torch.Tensor) -> torch.Tensor:
    """White Gaussian noise, then a blur that removes it: Gaussian or box, at random.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    variance : float or tensor of shape (N,)
        Variance of the noise, 0 or more.
    seeds : int or int64 tensor of shape (N,)
        Seeds of the noise, and of the blur: a Gaussian of sigma 3 or the mean of 5 x 5 pixels.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.noise import denoise_by_blur
    >>> denoise_by_blur(torch.full((1, 3, 64, 64), 0.5), 0.01, seeds=0).std() < 0.03
    tensor(True)
    """
    noisy = _add_white_noise(images, variance, seeds, "denoise_by_blur")
    box = randint(seeds, 0, 1, (1,), stream=1)[:, 0].tolist()
    blurs = [
        filter_axes(image, [0.2] * 5) if boxed else gaussian_filter(image, 3.0)
        for image, boxed in zip(noisy.split(1), box, strict=True)
    ]
    return torch.cat(blurs)
