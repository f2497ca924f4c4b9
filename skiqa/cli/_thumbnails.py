"""Photos that keep a thumbnail of each when it is decoded; imported when there are photos."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from typing import Any

from PIL import Image

from skiqa._inputs.decode import upright_size
from skiqa._inputs.forms import is_array_like
from skiqa._inputs.streams import ImageStream
from skiqa._sources.named import Named
from skiqa._types import Pixels

__all__ = ["PhotosWithThumbnails"]

SIDE = 160  # pixels: the page shows thumbnails at this size
JPEG_QUALITY = 70


class PhotosWithThumbnails(ImageStream):
    """Photos that are decoded once, for their score and for their thumbnail.

    Parameters
    ----------
    pictures : iterable of Named

    Attributes
    ----------
    names : dict of int to str
        Of those in work.
    """

    def __init__(self, pictures: Iterable[Named]) -> None:
        self.names: dict[int, str] = {}
        self._thumbnails: dict[int, tuple[str, tuple[int, int]]] = {}
        super().__init__(self._images_of(pictures))

    def _images_of(self, pictures: Iterable[Named]) -> Iterator[Any]:
        for index, (name, image) in enumerate(pictures):
            self.names[index] = name
            yield image

    def _look(self, index: int, pixels: Pixels) -> None:
        """Keep a thumbnail."""
        super()._look(index, pixels)
        photo = Image.fromarray(pixels)
        photo.thumbnail((SIDE, SIDE))
        data = io.BytesIO()
        photo.save(data, "JPEG", quality=JPEG_QUALITY)
        image = self._image(index)  # a file, or the pixels of a frame
        height, width = pixels.shape[:2] if is_array_like(image) else upright_size(image)
        self._thumbnails[index] = base64.b64encode(data.getvalue()).decode(), (width, height)

    def thumbnail(self, index: int) -> tuple[str, tuple[int, int]]:
        """Return (JPEG in base64, (width, height) of the photo)."""
        return self._thumbnails[index]

    def forget(self, index: int) -> None:
        """Hold nothing of a photo any longer."""
        super().forget(index)
        del self.names[index]
        self._thumbnails.pop(index, None)
