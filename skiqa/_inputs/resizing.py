"""Images at another scale, and padded to a size."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from skiqa._types import Pixels

Number = TypeVar("Number", bound=np.generic)


def resize(image: Pixels, scale: float) -> Pixels:
    """Scale an image by Pillow's bicubic filter, which averages over what it removes.

    Parameters
    ----------
    image : ndarray of shape (h, w, 3), uint8
    scale : float, above 0

    Returns
    -------
    resized : ndarray of shape (max(1, int(h * scale)), max(1, int(w * scale)), 3), uint8
        The image itself when `scale` is 1.
    """
    if scale == 1:
        return image
    height, width = image.shape[:2]
    size = max(1, int(width * scale)), max(1, int(height * scale))
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


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
    if not any(missing):
        return image
    widths = [(extra // 2, extra - extra // 2) for extra in missing]
    return np.pad(image, [*widths, (0, 0)], mode="reflect")
