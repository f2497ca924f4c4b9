"""Photos that keep a thumbnail of each when it is decoded; imported when there are photos."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image

from skiqa._inputs.decode import upright_size
from skiqa._inputs.images import ImageList
from skiqa._types import Pixels

__all__ = ["PhotosWithThumbnails"]

SIDE = 160  # pixels: the page shows thumbnails at this size
JPEG_QUALITY = 70


class PhotosWithThumbnails(ImageList):
    """Photos that are decoded once, for their score and for their thumbnail.

    Parameters
    ----------
    files : sequence of str
        Their paths.
    """

    def __init__(self, files: Sequence[str]) -> None:
        super().__init__(files)
        self._thumbnails: dict[int, tuple[str, tuple[int, int]]] = {}  # of what is decoded ahead

    def load(self, index: int, max_pixels: int | None = None) -> Pixels:
        """Decode a photo, and keep its thumbnail."""
        pixels = super().load(index, max_pixels)
        photo = Image.fromarray(pixels)
        photo.thumbnail((SIDE, SIDE))
        data = io.BytesIO()
        photo.save(data, "JPEG", quality=JPEG_QUALITY)
        height, width = upright_size(self._images[index])
        self._thumbnails[index] = base64.b64encode(data.getvalue()).decode(), (width, height)
        return pixels

    def take_thumbnail(self, index: int) -> tuple[str, tuple[int, int]]:
        """Return (JPEG in base64, (width, height) of the photo), and keep them no longer."""
        if index not in self._thumbnails:  # its features were in the model's cache
            self.load(index)
        return self._thumbnails.pop(index)
