"""The one door for input: anything a user calls images, to RGB uint8.

``as_image_list`` decides what X is and opens nothing; :class:`ImageList` decodes one image at a
time; ``iter_decoded`` decodes ahead of whoever consumes them, in order.
"""

import contextlib
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Number

import numpy as np
from joblib import effective_n_jobs
from PIL import Image
from scipy.sparse import issparse

from skiqa._inputs import decode
from skiqa._inputs.digests import bytes_digest, file_digest, pixels_digest
from skiqa.exceptions import ImageError

__all__ = [
    "ImageList",
    "as_image_list",
    "is_rows",
    "iter_decoded",
    "pad_to",
    "resize",
    "rows_as_images",
]

REMEDY = "remove it from X, or pass on_error='nan' to get a row of NaN"


class ImageList:
    """Images that are decoded when asked for.

    Parameters
    ----------
    images : sequence
        Paths, bytes, PIL images, arrays and tensors, in any mixture.

    Notes
    -----
    Making one looks at types and shapes only; it opens no file. ``load`` and ``digest`` may be
    called from several threads at once.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa._inputs.images import ImageList
    >>> images = ImageList([np.zeros((4, 6)), np.full((2, 2, 3), 255, np.uint8)])
    >>> len(images), images.load(0).shape, images.source(1)
    (2, (4, 6, 3), '<array (2, 2, 3) uint8>')
    """

    def __init__(self, images):
        self._images = images
        alike = getattr(images, "ndim", 1) > 1  # one array: what holds for the first holds for all
        for index in range(1 if alike else len(images)):
            with self.named(index):
                decode.check_form(images[index])

    def __len__(self):
        return len(self._images)

    def source(self, index):
        """Return what stands in X[index] in a few words, such as the path."""
        return decode.describe(self._images[index])

    def load(self, index):
        """Decode X[index].

        Returns
        -------
        pixels : ndarray of shape (h, w, 3), uint8
            C-contiguous and writable, but not to be written to: it may be the array in X.

        Raises
        ------
        ImageError
            When it cannot be read or decoded. The message names index, source and remedy.
        ValueError, TypeError
            When an array's values are out of range or its dtype is not a picture's.
        """
        with self.named(index):
            return decode.to_rgb(self._images[index])

    def digest(self, index):
        """Return 32 bytes that identify the image X[index].

        The SHA-256 of an encoded image (a path or bytes), or of the RGB pixels of any other, for
        which the errors are those of ``load``. Of a path only the reading can fail here, with
        ImageError: a damaged file has a digest.
        """
        with self.named(index):
            image = self._images[index]
            if isinstance(image, str | os.PathLike):
                decode.regular_file(image)
                try:
                    return file_digest(image)
                except OSError as error:
                    raise ImageError(f"the file cannot be read ({error})") from error
            if isinstance(image, bytes | bytearray | memoryview):
                return bytes_digest(image)
            return pixels_digest(decode.to_rgb(image))

    @contextlib.contextmanager
    def named(self, index):
        """Put index, source and remedy into the message of an error about one image."""
        try:
            yield
        except ImageError as error:
            message = f"X[{index}] = {self.source(index)}: {error}; {REMEDY}"
            raise ImageError(message) from error.__cause__
        except (ValueError, TypeError) as error:
            message = f"X[{index}] = {self.source(index)}: {error}"
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(message) from error.__cause__


# What is X? ---------------------------------------------------------------------------------------


def is_rows(X):
    """Is X a table of numbers, one image a row, that scikit-learn should check first?

    True for 2-D numbers in any container (array, list of lists, data frame, sparse matrix, anything
    with ``__array__``), for a table of objects, and for numbers in fewer dimensions: scikit-learn
    rejects the last with its own message. False for everything else, `X` empty included.

    Examples
    --------
    >>> from skiqa._inputs.images import is_rows
    >>> is_rows([[0.0, 1.0], [2.0, 3.0]]), is_rows(["a.jpg", "b.jpg"])
    (True, False)
    """
    if isinstance(X, ImageList) or _is_single(X):
        return False
    if issparse(X) or isinstance(X, Number):
        return True
    if decode.is_tensor(X):
        return X.ndim <= 2 and X.shape != (0,)
    if not _is_array_like(X):
        return isinstance(X, Sequence) and _holds_numbers(X)
    values = np.asarray(X)
    if values.ndim == 0 or values.ndim >= 3:
        return values.ndim == 0 and values.dtype.kind in "buifc"
    if values.ndim == 1:
        return values.size > 0 and (values.dtype.kind in "buifc" or _holds_numbers(values))
    return values.size == 0 or not _is_image_like(_first(values[:, 0]))


def as_image_list(X, *, image_shape=None):
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
    >>> from skiqa._inputs.images import as_image_list
    >>> len(as_image_list(np.zeros((5, 32, 48))))
    5
    >>> as_image_list("a.jpg")
    Traceback (most recent call last):
    TypeError: X is a single image, 'a.jpg': pass [image], a list of one
    """
    if isinstance(X, ImageList):
        return X
    if _is_single(X):
        if isinstance(X, str | os.PathLike) and os.path.isdir(X):
            raise TypeError(f"X is a directory, {os.fspath(X)!r}: pass a list of its files' paths")
        raise TypeError(f"X is a single image, {decode.describe(X)}: pass [image], a list of one")
    if is_rows(X):
        return rows_as_images(X, image_shape)
    if not (decode.is_tensor(X) or _is_array_like(X) or isinstance(X, Sequence)):
        raise TypeError(
            "X must be a list, tuple, array, Series or one-column data frame of images, "
            f"not {type(X).__name__}"
        )
    images = X
    if _is_array_like(X) and not decode.is_tensor(X):
        images = np.asarray(X)
    _refuse_none(len(images), "sample", tuple(getattr(images, "shape", (0,))))
    if hasattr(images, "ndim"):
        images = _split(images)
    return ImageList(images)


def _split(images):
    """Check the axes of an array or tensor of images; what it gives when indexed is one image."""
    shape, tensor = tuple(images.shape), decode.is_tensor(images)
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


def _refuse_none(count, unit, shape):
    if count == 0:  # in scikit-learn's words
        raise ValueError(
            f"Found array with 0 {unit}(s) (shape={shape}) while a minimum of 1 is required."
        )


def _is_single(X):
    return isinstance(X, str | os.PathLike | bytes | bytearray | memoryview | Image.Image)


def _is_image_like(value):
    """Can one cell of a table of objects be an image?"""
    return _is_single(value) or decode.is_tensor(value) or isinstance(value, np.ndarray)


def _is_array_like(X):
    return hasattr(X, "__array__") or hasattr(X, "__array_interface__")


def _holds_numbers(X):
    """Does a sequence hold numbers or rows of numbers (and gaps), to judge by the first?"""
    first = _first(X)
    if first is None:  # empty, or nothing but gaps, which are numbers when they are NaN
        return len(X) > 0 and all(isinstance(value, Number) for value in X)
    if _is_single(first):
        return False
    if isinstance(first, Number | np.bool_):
        return True
    if isinstance(first, list | tuple):
        inner = _first(first)
        return inner is None or isinstance(inner, Number | np.bool_)
    if decode.is_tensor(first):
        return first.ndim <= 1
    if _is_array_like(first):
        first = np.asarray(first)
        return first.ndim <= 1 and first.dtype.kind in "buifcO"
    return False


def _first(values):
    return next((value for value in values if not decode.is_missing(value)), None)


# Rows ---------------------------------------------------------------------------------------------


def rows_as_images(rows, image_shape=None):
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
    >>> from skiqa._inputs.images import rows_as_images
    >>> rows_as_images(np.array([[-3.0, 0.0, 102.0]])).load(0)[0, :, 0]
    array([  0,   7, 255], dtype=uint8)
    >>> rows_as_images(np.zeros((5, 64)), image_shape=(8, 8)).load(0).shape
    (8, 8, 3)
    """
    rows = np.asarray(rows.detach().cpu() if decode.is_tensor(rows) else rows)
    if rows.ndim != 2 or rows.dtype.kind not in "buif":
        raise ValueError(f"rows must be a 2-D array of numbers, not {rows.ndim}-D of {rows.dtype}")
    _refuse_none(rows.shape[0], "sample", rows.shape)
    _refuse_none(rows.shape[1], "feature", rows.shape)
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


class _PlainRows(Sequence):
    """Rows of numbers as grey images (1, n_features), uint8, made when asked for."""

    ndim = 3

    def __init__(self, rows):
        self._rows = rows

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, index):
        # Halved, so that even the widest span of float64 is finite.
        row = self._rows[index].astype(np.float64) / 2
        low, span = row.min(), np.ptp(row)
        levels = np.rint((row - low) / span * 255) if span > 0 else np.zeros_like(row)
        return levels.astype(np.uint8)[None]


# Sizes --------------------------------------------------------------------------------------------


def resize(image, scale):
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


def pad_to(image, minimum):
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


# Decoding ahead -----------------------------------------------------------------------------------


def iter_decoded(images, *, n_jobs=None, prefetch=4, on_error="raise", indices=None):
    """Decode images ahead of the consumer, and yield them in order.

    Parameters
    ----------
    images : ImageList
    n_jobs : int, optional
        Decoding threads, as joblib counts them: None is 1, -1 all cores. Threads, because Pillow's
        decoders release Python's lock. Even one decodes while the consumer computes.
    prefetch : int
        How many images are kept decoded or in decoding beyond the one the consumer holds; at
        least one for each thread.
    on_error : {"raise", "nan"}
        "raise": an ImageError is raised when its turn comes, after the images before it were
        yielded. "nan": it is yielded in the image's place. Other errors are always raised.
    indices : sequence of int, optional
        Which images, in which order; None is all of them.

    Yields
    ------
    index : int
    image : ndarray of shape (h, w, 3), uint8, or ImageError

    Notes
    -----
    When the generator is closed, or its consumer raises and drops it, images still waiting are not
    decoded, and the threads have ended when ``close`` returns.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa._inputs.images import as_image_list, iter_decoded
    >>> images = as_image_list([np.zeros((4, 6)), "no such file.jpg"])
    >>> [type(image).__name__ for _, image in iter_decoded(images, on_error="nan")]
    ['ndarray', 'ImageError']
    """
    n_threads = effective_n_jobs(n_jobs)
    window = max(prefetch, n_threads)
    remaining = iter(range(len(images)) if indices is None else indices)
    executor = ThreadPoolExecutor(n_threads, thread_name_prefix="skiqa-decode")
    waiting = deque()

    def top_up():
        while len(waiting) < window:
            index = next(remaining, None)
            if index is None:
                return
            waiting.append((index, executor.submit(images.load, index)))

    try:
        top_up()
        while waiting:
            index, future = waiting.popleft()
            try:
                image = future.result()
            except ImageError as error:
                if on_error == "raise":
                    raise
                image = _without_frames(error)
            del future  # it holds the image, and the consumer may keep us waiting
            top_up()
            yield index, image
            del image
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _without_frames(error):
    """Drop tracebacks, whose frames would keep half-decoded images alive as long as the error."""
    link = error
    while link is not None:
        link.__traceback__ = None
        if link.__cause__ is not None:
            link.__context__ = None
        link = link.__cause__ or link.__context__
    return error
