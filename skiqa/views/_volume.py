"""Slices of volumes, such as CT and MR images."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from typing import Any

import numpy as np
import numpy.typing as npt

from skiqa._inputs.arrays import grey_to_rgb
from skiqa._types import Path, Pixels
from skiqa.views._view import View, check_count, missing_extra, reading, spread

__all__ = ["volume_slices"]


def volume_slices(
    volume: Path | npt.NDArray[Any],
    *,
    window: tuple[float, float],
    axis: int = 2,
    count: int | None = None,
) -> Generator[View, None, None]:
    """Yield slices of a volume as gray pictures.

    Parameters
    ----------
    volume : array of shape (a, b, c), str or path
        A path leads to a NIfTI file, .nii or .nii.gz, in its own units, such as Hounsfield's.
    window : tuple of 2 float
        Which values are black and white: numbers mean nothing to the eye before that is said. For
        soft tissue in CT about (-160, 240).
    axis : {0, 1, 2}, default=2
        Across which axis the volume is cut. Of NIfTI files, as stored.
    count : int or None, default=None
        Number of slices, from the middles of equal parts. None: all.

    Yields
    ------
    View
        Named by axis and number, such as "axis 2, slice 40". Slices of files are turned so that
        their second axis points up, as files are shown that store right, anterior, superior.

    Raises
    ------
    ImageError
        If a file cannot be read, or nibabel is missing. The message names it.
    ValueError
        If it is no volume, or a parameter is of no use.

    Notes
    -----
    Of a file one slice is read at a time; of a compressed one all before it are, too. Voxels are
    shown as square pixels, whatever their spacing is. NaN is black.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa.views import volume_slices
    >>> volume = np.linspace(-1, 1, 5)[None, None] * np.ones((6, 4, 1))
    >>> slices = volume_slices(volume, window=(-1, 1), count=2)
    >>> [(view.name, view.image.shape, int(view.image[0, 0, 0])) for view in slices]
    [('axis 2, slice 1', (6, 4, 3), 64), ('axis 2, slice 3', (6, 4, 3), 191)]
    """
    low, high = window
    if not low < high:
        raise ValueError(f"window={window} must be two numbers, black below white")
    if axis not in (0, 1, 2):
        raise ValueError(f"axis={axis} must be 0, 1 or 2")
    check_count(count, "slices")
    if not isinstance(volume, str | os.PathLike):
        _check_shape(np.shape(volume), "the array")
        return _slices(volume, low, high, axis, count, path=None)
    return _slices(_open_nifti(volume), low, high, axis, count, path=volume)


def _open_nifti(path: Path) -> Any:
    try:
        import nibabel
    except ImportError:
        raise missing_extra(path, "NIfTI files", "views") from None
    with reading(path, "a NIfTI file", kind="format"):
        volume = nibabel.load(path).dataobj
    _check_shape(volume.shape, repr(os.fspath(path)))
    return volume


def _check_shape(shape: tuple[int, ...], what: str) -> None:
    if len(shape) != 3 or 0 in shape:
        raise ValueError(
            f"{what} must be a volume of shape (a, b, c), not {shape}: of a series of volumes pass "
            "one, such as series[..., 0]"
        )


def _slices(
    volume: Any, low: float, high: float, axis: int, count: int | None, path: Path | None
) -> Generator[View, None, None]:
    for number in spread(volume.shape[axis], count):
        place = [slice(None)] * 3
        with reading(path, "a NIfTI file", kind="damaged") if path else contextlib.nullcontext():
            values = np.asarray(volume[(*place[:axis], number, *place[axis + 1 :])])
        pixels = _through_window(values, low, high)
        pixels = np.ascontiguousarray(np.rot90(pixels)) if path else pixels
        yield View(grey_to_rgb(pixels), f"axis {axis}, slice {number}")


def _through_window(values: npt.NDArray[Any], low: float, high: float) -> Pixels:
    levels = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.rint(np.nan_to_num(levels, nan=0.0).clip(0, 255)).astype(np.uint8)
