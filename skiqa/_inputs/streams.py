"""Images that come one after the other, and are forgotten when they are done with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from skiqa._inputs.forms import check_form
from skiqa._inputs.images import ImageList
from skiqa.exceptions import ImageError

__all__ = ["ImageStream"]


class ImageStream(ImageList):
    """Images of which nobody knows how many there are: as many are held as are in work.

    Parameters
    ----------
    images : iterable
        In any form, or the ImageError of one that could not be had. They are drawn while `indices`
        is, in the same thread.
    allow_damaged : bool, default=False
        As of `ImageList`.

    Notes
    -----
    An index is good between its coming out of `indices` and `forget`. There is one pass.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa._inputs.streams import ImageStream
    >>> images = ImageStream(np.full((2, n + 1, 3), n, np.uint8) for n in range(10**6))
    >>> indices = images.indices()
    >>> next(indices), next(indices), images.load(1).shape
    (0, 1, (2, 2, 3))
    """

    def __init__(self, images: Iterable[Any], allow_damaged: bool = False) -> None:
        self._window: dict[int, Any] = {}
        super().__init__((), allow_damaged)
        self._images = self._window
        self._coming = enumerate(images)

    def __len__(self) -> int:
        raise TypeError("a stream of images has no length: it is read to its end, once")

    def indices(self) -> Iterator[int]:
        """Draw images, and yield their indices."""
        for index, image in self._coming:
            self._window[index] = image
            if not isinstance(image, ImageError):
                with self.naming_errors(index):
                    check_form(image)
            yield index

    def forget(self, index: int) -> None:
        """Hold X[index] no longer."""
        del self._window[index]
