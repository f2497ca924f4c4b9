"""Rows of numbers as images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from skiqa._inputs.forms import is_tensor
from skiqa._inputs.images import ImageList, refuse_empty
from skiqa._types import Pixels


def rows_as_images(rows: Any, image_shape: Sequence[int] | None = None) -> ImageList:
    """Make images of rows of numbers.

    Parameters
    ----------
    rows : array-like of shape (n, n_features)
        With `image_shape`, pixels under the same rules as arrays of images: uint8, uint16, bool or
        float in [0, 1]. Without, any finite numbers: each row becomes an image one pixel high whose
        values are mapped to 0..255 by the row's own minimum and maximum (a constant row to 0).
    image_shape : tuple (h, w) or (h, w, c), optional
        c = 1, 3 or 4.

    Returns
    -------
    images : ImageList

    Raises
    ------
    ValueError
        When there are none, a number is NaN or infinite, or `image_shape` does not hold n_features
        numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa._inputs.rows import rows_as_images
    >>> rows_as_images(np.array([[-3.0, 0.0, 102.0]])).load(0)[0, :, 0]
    array([  0,   7, 255], dtype=uint8)
    >>> rows_as_images(np.zeros((5, 64)), image_shape=(8, 8)).load(0).shape
    (8, 8, 3)
    """
    rows = np.asarray(rows.detach().cpu() if is_tensor(rows) else rows)
    if rows.ndim != 2 or rows.dtype.kind not in "buif":
        raise ValueError(f"rows must be a 2-D array of numbers, not {rows.ndim}-D of {rows.dtype}")
    refuse_empty(rows.shape[0], "sample", rows.shape)
    refuse_empty(rows.shape[1], "feature", rows.shape)
    if not np.isfinite(rows).all():
        index = np.flatnonzero(~np.isfinite(rows).all(axis=1))[0]
        raise ValueError(f"X[{index}] contains NaN or infinity")
    if image_shape is None:
        return ImageList(_PlainRows(rows))
    shape = tuple(image_shape)
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise ValueError(f"image_shape must be (h, w) or (h, w, c) with c = 1, 3 or 4, not {shape}")
    if np.prod(shape) != rows.shape[1]:
        raise ValueError(
            f"image_shape={shape} takes {np.prod(shape)} values, but X has {rows.shape[1]} features"
        )
    return ImageList(rows.reshape(len(rows), *shape))


class _PlainRows:
    """Rows of numbers as grey images (1, n_features), uint8, made when asked for."""

    ndim = 3

    def __init__(self, rows: npt.NDArray[Any]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Pixels:
        # Halved, so that even the widest span of float64 is finite.
        row = self._rows[index].astype(np.float64) / 2
        low, span = row.min(), np.ptp(row)
        levels = np.rint((row - low) / span * 255) if span > 0 else np.zeros_like(row)
        return levels.astype(np.uint8)[None]
