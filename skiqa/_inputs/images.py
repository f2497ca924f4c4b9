"""Images that are decoded when asked for, one at a time, each with a name for its errors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from skiqa._inputs.addresses import is_address, read_address
from skiqa._inputs.decode import check_file, damage, footprint, is_animated, to_rgb
from skiqa._inputs.digests import bytes_digest, file_digest, pixels_digest
from skiqa._inputs.forms import check_form, describe, unpacked
from skiqa._types import Pixels
from skiqa.exceptions import ImageError

REMEDY = (
    "remove it from X; or, to go on without it, skiqa.predict_quality(model, X) gives NaN for its "
    "score, and the encoder's on_error='nan' a row of NaN for its features"
)


class Indexed(Protocol):
    """Sequences, arrays and tensors: what gives one image for each index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class ImageList:
    """Images that are decoded when asked for.

    Parameters
    ----------
    images : sequence
        Paths, addresses, bytes, rows of data sets, PIL images, arrays and tensors, in any mixture;
        or one array of images.
    allow_damaged : bool, default=False
        Whether a damaged file is an image as long as it decodes; else it is an ImageError.

    Attributes
    ----------
    watch : callable or None
        Given the index and the pixels of each image that `load` decodes.

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

    def __init__(self, images: Indexed, allow_damaged: bool = False) -> None:
        self._images = images
        self._read: dict[int, bytes | ImageError] = {}  # what was at addresses, while in work
        self.allow_damaged = allow_damaged
        self.watch: Callable[[int, Pixels], None] | None = None
        alike = getattr(images, "ndim", 1) > 1  # one array: what holds for the first holds for all
        for index in range(1 if alike else len(images)):
            with self.naming_errors(index):
                check_form(images[index])

    def __len__(self) -> int:
        return len(self._images)

    def indices(self) -> Iterable[int]:
        """Return which images there are, in order."""
        return range(len(self))

    def forget(self, index: int) -> None:
        """Take notice that X[index] is done with."""

    def _image(self, index: int) -> Any:
        """Return X[index], an address as the bytes there, which are kept until it is decoded."""
        image = unpacked(self._images[index])
        if is_address(image):
            if index not in self._read:
                self._read[index] = _bytes_or_error(image)
            image = self._read[index]
        if isinstance(image, ImageError):
            raise image
        return image

    def source(self, index: int) -> str:
        """Return what stands in X[index] in a few words, such as the path."""
        return describe(self._images[index])

    def load(self, index: int, max_pixels: int | None = None) -> Pixels:
        """Decode X[index].

        Parameters
        ----------
        index : int
        max_pixels : int or None, default=None
            An image with more pixels is brought to that many; None: never.

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
        try:
            with self.naming_errors(index):
                pixels = to_rgb(self._image(index), max_pixels, allow_damaged=self.allow_damaged)
            self._look(index, pixels)
        finally:
            self._read.pop(index, None)
        return pixels

    def _look(self, index: int, pixels: Pixels) -> None:
        """Look at X[index] while it is at hand, encoded and decoded."""
        if self.watch is not None:
            self.watch(index, pixels)

    def footprint(self, index: int, max_pixels: int | None = None) -> int:
        """Return about how many bytes ``load`` takes at its peak, to judge by the header."""
        try:
            return footprint(self._image(index), max_pixels)
        except ImageError:  # `load` will say it
            return 0

    def damage(self, index: int) -> str | None:
        """Return what is wrong with a file that decodes all the same; see `decode.damage`."""
        return damage(self._image(index))

    def is_animated(self, index: int) -> bool:
        """Whether it is the first of several frames that are shown one after the other."""
        return is_animated(self._image(index))

    def digest(self, index: int) -> bytes:
        """Return 32 bytes that identify the image X[index].

        The SHA-256 of an encoded image (a path, an address or bytes), or of the RGB pixels of any
        other, for which the errors are those of ``load``. Of a path only the reading can fail here,
        with ImageError: a damaged file has a digest.
        """
        with self.naming_errors(index):
            image = unpacked(self._images[index])
            if is_address(image):
                return bytes_digest(read_address(image))
            if isinstance(image, str | os.PathLike):
                check_file(image)
                try:
                    return file_digest(image)
                except OSError as error:
                    raise ImageError(f"the file cannot be read ({error.strerror})") from error
            if isinstance(image, bytes | bytearray | memoryview):
                return bytes_digest(image)
            return pixels_digest(to_rgb(image))

    def digests(self) -> list[bytes | None]:
        """Return the digest of every image, or None where it cannot even be read.

        ``load`` will say why.
        """
        return [self._digest_or_none(index) for index in range(len(self))]

    def _digest_or_none(self, index: int) -> bytes | None:
        try:
            return self.digest(index)
        except ImageError:
            return None

    @contextlib.contextmanager
    def naming_errors(self, index: int) -> Iterator[None]:
        """Put index, source and remedy into the message of an error about one image."""
        try:
            yield
        except ImageError as error:
            message = f"X[{index}] = {self.source(index)}: {error}; {REMEDY}"
            raise ImageError(message, kind=error.kind, reason=error.reason) from error.__cause__
        except (ValueError, TypeError) as error:
            message = f"X[{index}] = {self.source(index)}: {error}"
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(message) from error.__cause__


def _bytes_or_error(address: str) -> bytes | ImageError:
    try:
        return read_address(address)
    except ImageError as error:
        return error


def refuse_empty(count: int, unit: str, shape: tuple[int, ...]) -> None:
    """Raise ValueError when there are no samples, or no features."""
    if count == 0:  # in scikit-learn's words
        raise ValueError(
            f"Found array with 0 {unit}(s) (shape={shape}) while a minimum of 1 is required."
        )
