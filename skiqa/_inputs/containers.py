"""What is X? Any container of images to an ImageList."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from numbers import Number
from typing import Any

import numpy as np
from scipy.sparse import issparse

from skiqa._inputs.forms import describe, is_array_like, is_missing, is_single, is_tensor
from skiqa._inputs.images import ImageList, refuse_empty
from skiqa._inputs.rows import rows_as_images
from skiqa._types import Images


def is_rows(X: object) -> bool:
    """Is X a table of numbers, one image a row, that scikit-learn should check first?

    True for 2-D numbers in any container (array, list of lists, data frame, sparse matrix, anything
    with ``__array__``), for a table of objects, and for numbers in fewer dimensions, which
    `refuse_lone_numbers` refuses. False for everything else, `X` empty included.

    Examples
    --------
    >>> from skiqa._inputs.containers import is_rows
    >>> is_rows([[0.0, 1.0], [2.0, 3.0]]), is_rows(["a.jpg", "b.jpg"])
    (True, False)
    """
    if isinstance(X, ImageList) or is_single(X):
        return False
    if issparse(X) or isinstance(X, Number):
        return True
    if is_tensor(X):
        return X.ndim <= 2 and X.shape != (0,)
    if not is_array_like(X):
        return isinstance(X, Sequence) and _holds_numbers(X)
    values = np.asarray(X)
    if values.ndim == 0 or values.ndim >= 3:
        return values.ndim == 0 and values.dtype.kind in "buifc"
    if values.ndim == 1:
        return values.size > 0 and (values.dtype.kind in "buifc" or _holds_numbers(values))
    return values.size == 0 or not _is_image_like(_first_present(values[:, 0]))


def refuse_lone_numbers(X: object) -> None:
    """Raise ValueError for numbers in fewer than two dimensions: they are no images, and no rows.

    Raises
    ------
    ValueError
    """
    if issparse(X):
        return
    if is_array_like(X) and not is_tensor(X):
        lone = np.asarray(X).ndim < 2
    elif hasattr(X, "ndim"):
        lone = X.ndim < 2
    else:
        number = _first_present(X) if isinstance(X, Sequence) else X
        lone = isinstance(number, Number | np.bool_) or number is None
    if lone:
        raise ValueError(
            "X holds lone numbers, where each entry must be an image: a path, the bytes of an "
            "encoded file, a PIL image, an array or a torch tensor. Reshape your data if they are "
            "the pixels of one image: a row for each image, X.reshape(1, -1)"
        )


def as_image_list(
    X: Images | ImageList, *, image_shape: tuple[int, ...] | None = None
) -> ImageList:
    """Decide what X is, and make it a list of images.

    Parameters
    ----------
    X : array-like
        - list, tuple, 1-D object or string array, pandas or polars Series, or one column (n, 1) of
          paths, bytes of encoded files, PIL images, arrays (h, w), (h, w, 1), (h, w, 3), (h, w, 4)
          or torch tensors (c, h, w), in any mixture and of any sizes;
        - array (n, h, w) of grey images, array (n, h, w, c) or tensor (n, c, h, w);
        - rows of numbers, see :func:`rows_as_images`.

        A single image must be passed as ``[image]``. A 3-D array whose last axis is 1, 3 or 4 is
        refused because it could be one image (h, w, c) or many grey ones of that width; the
        message says how to write either. So is a tensor whose first axis is 3 or 4.
    image_shape : tuple (h, w) or (h, w, c), optional
        What a row of numbers is.

    Returns
    -------
    images : ImageList

    Raises
    ------
    TypeError
        When X, or something in it, is not of a type known here.
    ValueError
        When X is empty, a single image, or holds an array whose shape is not an image's.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa._inputs.containers import as_image_list
    >>> len(as_image_list(np.zeros((5, 32, 48))))
    5
    >>> as_image_list("a.jpg")
    Traceback (most recent call last):
    TypeError: X is a single image, 'a.jpg': pass [image], a list of one
    """
    if isinstance(X, ImageList):
        return X
    if is_single(X):
        if isinstance(X, str | os.PathLike) and os.path.isdir(X):
            raise TypeError(f"X is a directory, {os.fspath(X)!r}: pass a list of its files' paths")
        raise TypeError(f"X is a single image, {describe(X)}: pass [image], a list of one")
    if is_rows(X):
        refuse_lone_numbers(X)
        return rows_as_images(X, image_shape)
    if not (is_tensor(X) or is_array_like(X) or isinstance(X, Sequence)):
        raise TypeError(
            "X must be a list, tuple, array, Series or one-column data frame of images, "
            f"not {type(X).__name__}"
        )
    images: Any = np.asarray(X) if is_array_like(X) and not is_tensor(X) else X
    refuse_empty(len(images), "sample", tuple(getattr(images, "shape", (0,))))
    if hasattr(images, "ndim"):
        images = _check_axes(images)
    return ImageList(images)


def _check_axes(images: Any) -> Any:
    """Check the axes of an array or tensor of images; what it gives when indexed is one image."""
    shape, tensor = tuple(images.shape), is_tensor(images)
    if len(shape) == 1:
        return images
    if len(shape) == 2:  # not rows: objects
        if shape[1] != 1:
            raise ValueError(f"X has {shape[1]} columns: pass the one that holds the images")
        return images[:, 0]
    if len(shape) == 3 and tensor and shape[0] in (3, 4):
        raise ValueError(
            f"X is a tensor of shape {shape}, which looks like a single image (c, h, w): "
            "pass [image], or X[:, None] when it is many grey images"
        )
    if len(shape) == 3 and not tensor and shape[2] in (1, 3, 4):
        raise ValueError(
            f"X is an array of shape {shape}, which looks like a single image (h, w, c): "
            "pass [image], or X[..., None] when it is many grey images"
        )
    if len(shape) > 4 or (len(shape) == 4 and shape[1 if tensor else 3] not in (1, 3, 4)):
        layout = "(n, c, h, w), as torch has it," if tensor else "(n, h, w, c)"
        raise ValueError(f"X must be (n, h, w) or {layout} with c = 1, 3 or 4, not {shape}")
    return images


def _is_image_like(value: object) -> bool:
    """Can one cell of a table of objects be an image?"""
    return is_single(value) or is_tensor(value) or isinstance(value, np.ndarray)


def _holds_numbers(X: Any) -> bool:
    """Does a sequence hold numbers or rows of numbers (and gaps), to judge by the first?"""
    first = _first_present(X)
    if first is None:  # empty, or nothing but gaps, which are numbers when they are NaN
        return len(X) > 0 and all(isinstance(value, Number) for value in X)
    if is_single(first):
        return False
    if isinstance(first, Number | np.bool_):
        return True
    if isinstance(first, list | tuple):
        inner = _first_present(first)
        return inner is None or isinstance(inner, Number | np.bool_)
    if is_tensor(first):
        return first.ndim <= 1
    if is_array_like(first):
        first = np.asarray(first)
        return first.ndim <= 1 and first.dtype.kind in "buifcO"
    return False


def _first_present(values: Iterable[Any]) -> Any:
    return next((value for value in values if not is_missing(value)), None)
