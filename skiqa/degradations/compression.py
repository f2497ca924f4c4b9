"""Compression: JPEG, JPEG 2000 and WebP by Pillow's codecs, and ringing."""

from __future__ import annotations

import io
import math
from typing import Any

import torch
from PIL import Image

from skiqa.degradations._batching import batched
from skiqa.degradations._checks import check_at_least, check_each_between
from skiqa.degradations._filters import filter2d, sinc_kernel
from skiqa.degradations._pillow import map_pillow
from skiqa.degradations._registry import register

__all__ = ["jpeg", "jpeg2000", "ringing", "webp"]


@register(
    "jpeg2000_arniqa",
    group="compression",
    levels=(16.0, 32.0, 45.0, 120.0, 170.0),
    source="ARNIQA's levels of KADID-10k type 9",
)
@register(
    "jpeg2000",
    group="compression",
    levels=(16.0, 32.0, 45.0, 120.0, 400.0),
    source="KADID-10k type 9",
)
@batched(whole=True)
def jpeg2000(images: torch.Tensor, ratio: list[float]) -> torch.Tensor:
    """JPEG 2000 at a compression ratio.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images; rounded to 8 bits.
    ratio : float or tensor of shape (N,)
        Bytes of the image, 3 * H * W, by bytes of the code stream; 1 or more. Very small images
        miss high ratios, since the headers alone take 100 bytes.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Notes
    -----
    Runs on the CPU, in threads; CUDA batches are copied there and back. Five wavelet levels or,
    for small images, as many as fit; 9-7 wavelet, colours decorrelated. 100 ms for
    512 x 512 on one core.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.compression import jpeg2000
    >>> jpeg2000(torch.rand(1, 3, 32, 48), 16).shape
    torch.Size([1, 3, 32, 48])
    """
    for i, number in enumerate(ratio):
        check_at_least(f"jpeg2000: ratio at index {i}", number, 1)
    return map_pillow(_through_jpeg2000, images, ratio)


def _through_jpeg2000(image: Image.Image, ratio: float) -> Image.Image:
    return _code_and_decode(
        image,
        "JPEG2000",
        quality_mode="rates",
        quality_layers=[ratio],
        irreversible=True,
        num_resolutions=min(6, min(image.size).bit_length()),
    )


def _code_and_decode(image: Image.Image, codec: str, **options: Any) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, codec, **options)
    return Image.open(buffer, formats=(codec,))


@register(
    "jpeg_reiqa",
    group="compression",
    levels=(70, 43, 36, 24, 7),
    source="Re-IQA's levels of KADID-10k type 10",
)
@register(
    "jpeg_qpt",
    group="compression",
    levels=(90, 70, 50, 30, 10),
    source="QualityAwareTransform's levels",
)
@register("jpeg", group="compression", levels=(43, 36, 24, 7, 4), source="KADID-10k type 10")
@batched(whole=True)
def jpeg(images: torch.Tensor, quality: list[float]) -> torch.Tensor:
    """JPEG at a quality.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images; rounded to 8 bits.
    quality : int or tensor of shape (N,)
        The Independent JPEG Group's quality, 1 to 100, rounded. Chroma is halved both ways.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Notes
    -----
    Runs on the CPU, in threads; CUDA batches are copied there and back.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.compression import jpeg
    >>> images = torch.rand(2, 3, 16, 16)
    >>> (jpeg(images, torch.tensor([90, 5])) - images).abs().mean((1, 2, 3)).diff() > 0
    tensor([True])
    """
    check_each_between("jpeg: quality", quality, 1, 100)
    return map_pillow(_through_jpeg, images, quality)


def _through_jpeg(image: Image.Image, quality: float) -> Image.Image:
    return _code_and_decode(image, "JPEG", quality=round(quality))


@register("webp", group="compression", levels=(40, 18, 7, 2, 0), source="our choice")
@batched(whole=True)
def webp(images: torch.Tensor, quality: list[float]) -> torch.Tensor:
    """Lossy WebP at a quality.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images of at most 16,383 x 16,383; rounded to 8 bits.
    quality : int or tensor of shape (N,)
        libwebp's quality, 0 to 100, rounded.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    Notes
    -----
    Runs on the CPU, in threads; CUDA batches are copied there and back.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.compression import webp
    >>> images = torch.rand(2, 3, 16, 16)
    >>> (webp(images, torch.tensor([90, 5])) - images).abs().mean((1, 2, 3)).diff() > 0
    tensor([True])
    """
    check_each_between("webp: quality", quality, 0, 100)
    return map_pillow(_through_webp, images, quality)


def _through_webp(image: Image.Image, quality: float) -> Image.Image:
    return _code_and_decode(image, "WEBP", quality=round(quality), method=2).convert("RGB")


@register(
    "ringing",
    group="compression",
    levels=(2.0, 1.5, 1.1, 0.8, 0.6),
    source="our choice; the sinc filter of Real-ESRGAN",
)
@batched
def ringing(images: torch.Tensor, cutoff: float) -> torch.Tensor:
    """Ripples beside edges, as codecs and resizers leave that cut the spectrum off.

    An ideal low-pass filter: the inverse transform of a disk, with three ripples on each side,
    replicated borders.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images.
    cutoff : float or tensor of shape (N,)
        Highest frequency that is kept, in radians per pixel, above 0, up to pi.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]

    References
    ----------
    Wang, Xie, Dong, Shan, "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure
    Synthetic Data", ICCV Workshops 2021, section 3.4.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations.compression import ringing
    >>> edge = torch.tensor([0.2] * 16 + [0.8] * 16).expand(1, 3, 32, 32)
    >>> rippled = ringing(edge, 1.0)
    >>> bool(rippled.min() < 0.17), bool(rippled.max() > 0.83)
    (True, True)
    """
    if not 0 < cutoff <= math.pi:
        raise ValueError(f"ringing: cutoff {cutoff} is not in (0, pi].")
    return filter2d(images, sinc_kernel(cutoff))
