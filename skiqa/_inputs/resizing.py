"""Images at another scale or viewing size, and padded to a size."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from skiqa._types import Pixels

Number = TypeVar("Number", bound=np.generic)

# How much larger than the result an image still is after whole blocks of pixels were averaged.
REDUCING_GAP = 3.0


def scaled_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Return (height, width) at a scale, rounded down as the papers do, at least one pixel each."""
    return max(1, int(height * scale)), max(1, int(width * scale))


def viewing_size(height: int, width: int, max_pixels: int | None) -> tuple[int, int]:
    """Return the (height, width) at which a photo is looked at.

    Parameters
    ----------
    height, width : int
        Of the photo, in pixels.
    max_pixels : int or None
        A photo with more pixels is brought to that many, its aspect kept; None: never.

    Returns
    -------
    tuple of 2 int
        Rounded, so the product may differ from `max_pixels` by a row and a column.

    Examples
    --------
    >>> from skiqa._inputs.resizing import viewing_size
    >>> viewing_size(3000, 4000, 480_000), viewing_size(300, 400, 480_000)
    ((600, 800), (300, 400))
    """
    if max_pixels is None or height * width <= max_pixels:
        return height, width
    scale = (max_pixels / (height * width)) ** 0.5
    height, width = (max(1, round(side * scale)) for side in (height, width))
    return min(height, max_pixels), min(width, max_pixels)  # of a line one pixel high


def resize(image: Pixels, scale: float) -> Pixels:
    """Scale an image by Pillow's bicubic filter, which averages over what it removes.

    Parameters
    ----------
    image : ndarray of shape (h, w, 3), uint8
    scale : float, above 0

    Returns
    -------
    resized : ndarray of shape `scaled_size(h, w, scale)` and 3, uint8
        The image itself when its size stays.
    """
    height, width = image.shape[:2]
    return _to_size(image, scaled_size(height, width, scale))


def reduce_to(image: Pixels, max_pixels: int | None) -> Pixels:
    """Bring an image (h, w, 3), uint8, to its viewing size; a smaller one is returned as it is."""
    height, width = image.shape[:2]
    return _to_size(image, viewing_size(height, width, max_pixels))


def _to_size(image: Pixels, size: tuple[int, int]) -> Pixels:
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    return np.array(shrink(Image.fromarray(image), (width, height)))


def shrink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bring a PIL image to a smaller (width, height) without aliasing.

    Large steps first average whole blocks of pixels, then filter: Pillow's `reducing_gap`.
    """
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)


def pad_to(image: npt.NDArray[Number], minimum: int) -> npt.NDArray[Number]:
    """Reflect an image at its borders until no side is shorter than `minimum`.

    Parameters
    ----------
    image : ndarray of shape (h, w, c)
    minimum : int
        Pixels.

    Returns
    -------
    padded : ndarray of shape (max(h, minimum), max(w, minimum), c)
        The image lies in the middle; of an odd number of added pixels one more comes after it.
        The image itself when it is large enough. A side of one pixel is repeated.
    """
    missing = [max(0, minimum - side) for side in image.shape[:2]]
    return _reflect(image, [(extra // 2, extra - extra // 2) for extra in missing])


def pad_for_network(image: npt.NDArray[Number], stride: int, pooling: str) -> npt.NDArray[Number]:
    """Reflect an image at its lower and right border, as far as a network and its pooling need.

    Networks pad what their strides do not divide, each layer by what is left there: a row more or
    less would move all of its maps. Behind the image, the padding moves nothing.

    Parameters
    ----------
    image : ndarray of shape (h, w, c)
    stride : int
        Pixels of the image per cell of the network's last map.
    pooling : {"stages", "avg"}
        "stages": to multiples of the stride. "avg", the papers' own, which do not pad: only where a
        side is shorter than the stride.

    Returns
    -------
    padded : ndarray of shape (H, W, c)
        The image itself if nothing is missing. A side of one pixel is repeated.
    """
    sides = image.shape[:2]
    missing = [-side % stride if pooling == "stages" or side < stride else 0 for side in sides]
    return _reflect(image, [(0, pixels) for pixels in missing])


def _reflect(image: npt.NDArray[Number], widths: list[tuple[int, int]]) -> npt.NDArray[Number]:
    if not any(map(any, widths)):
        return image
    return np.pad(image, [*widths, (0, 0)], mode="reflect")
