"""What is odd about images, gathered while they are scored."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from skiqa._inputs.flags import pixel_flags
from skiqa._inputs.images import ImageList
from skiqa._types import Floats, Pixels
from skiqa.exceptions import ImageError

UNLIKE = 0.99  # part of the photos that a scorer was fitted to which are no farther than its limit


def unlike_above(rows: Floats) -> float:
    """Return the limit beyond which a row is unlike those that a scorer is fitted to.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
        Stage features, which are in units of their deviation over photographs, over the root of
        their number: the norm of a row is the root mean square of these.
    """
    return float(np.quantile(np.linalg.norm(rows, axis=1), UNLIKE))


class Flags:
    """What is odd about each of some images.

    Parameters
    ----------
    images : ImageList
        Which are going to be decoded; they are looked at then.
    max_pixels : int or None
        Their viewing size.
    card : dict
        Of the scorer. Its "unlike_above", if it has one, is the limit of `unlike_above`.

    Notes
    -----
    A photo is looked at in the thread that decodes it, right behind.
    """

    def __init__(self, images: ImageList, max_pixels: int | None, card: Mapping[str, Any]) -> None:
        self._images, self._max_pixels = images, max_pixels
        limit = card.get("unlike_above")  # a card may come from anywhere, and say anything
        self._limit = limit if isinstance(limit, int | float) else np.inf
        self._seen: dict[int, tuple[str, ...]] = {}
        images.watch = self._look

    def _look(self, index: int, pixels: Pixels) -> None:
        flags = pixel_flags(pixels)
        if self._images.is_animated(index):
            flags += ("animated",)
        if self._images.allow_damaged and self._images.damage(index):
            flags += ("damaged",)
        self._seen[index] = flags

    def pop(self, index: int, row: Floats | ImageError) -> tuple[str, ...]:
        """Return the flags of an image, and keep them no longer.

        Parameters
        ----------
        index : int
        row : ndarray of shape (n_features,), or ImageError
            Its features, or why it has none.
        """
        if isinstance(row, ImageError):
            self._seen.pop(index, None)  # it was decoded, and the network could not take it
            return ("damaged",) if row.kind == "damaged" else ()
        if index not in self._seen:  # its features were in the cache
            with contextlib.suppress(ImageError):  # the file is gone since
                self._images.load(index, self._max_pixels)
        flags = self._seen.pop(index, ())
        return (*flags, "unlike") if np.linalg.norm(row) > self._limit else flags
