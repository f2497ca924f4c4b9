"""Compression: JPEG and JPEG 2000, by Pillow's codecs (libjpeg, OpenJPEG)."""

import io

from PIL import Image

from ._batching import batched
from ._pillow import map_pillow
from ._registry import register

__all__ = ["jpeg", "jpeg2000"]


@register(
    "jpeg2000",
    group="compression",
    levels=(16.0, 32.0, 45.0, 120.0, 400.0),
    source="KADID-10k type 9",
)
@batched(whole=True)
def jpeg2000(images, ratio):
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
    for i, r in enumerate(ratio):
        if r < 1:
            raise ValueError(f"jpeg2000: ratio {r} at index {i} is below 1.")
    return map_pillow(_through_jpeg2000, images, ratio)


def _through_jpeg2000(image, ratio):
    buffer = io.BytesIO()
    resolutions = min(6, min(image.size).bit_length())
    image.save(
        buffer,
        "JPEG2000",
        quality_mode="rates",
        quality_layers=[ratio],
        irreversible=True,
        num_resolutions=resolutions,
    )
    return Image.open(buffer)


@register("jpeg", group="compression", levels=(43, 36, 24, 7, 4), source="KADID-10k type 10")
@batched(whole=True)
def jpeg(images, quality):
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
    for i, q in enumerate(quality):
        if not 1 <= q <= 100:
            raise ValueError(f"jpeg: quality {q} at index {i} is not in 1..100.")
    return map_pillow(_through_jpeg, images, quality)


def _through_jpeg(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=round(quality))
    return Image.open(buffer)
