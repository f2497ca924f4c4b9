"""One image, in any of its forms, to RGB uint8.

The functions here know nothing of X or of an index in it: they raise with the bare reason, and
:class:`skiqa._inputs.images.ImageList` says which image it was and what to do.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import threading
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError

from skiqa._inputs.arrays import array_to_rgb
from skiqa._inputs.damage import find_damage
from skiqa._inputs.formats import develop, open_image, pillow_formats, raw_size
from skiqa._inputs.forms import check_form, is_missing
from skiqa._inputs.pil import SIDEWAYS, Origin, pil_to_rgb, raw_mode, turn_of
from skiqa._inputs.resizing import reduce_to, viewing_size
from skiqa._types import Image as AnyImage
from skiqa._types import Path as AnyPath
from skiqa._types import Pixels
from skiqa.exceptions import ImageError

__all__ = [
    "as_image_error",
    "check_file",
    "damage",
    "footprint",
    "is_animated",
    "to_rgb",
    "upright_size",
]

# How much larger than the viewing size a JPEG is decoded, at least. Scores of 16 photos brought to
# 12 megapixels moved by 0.42 on the mean and 0.81 at most with 2, which reads them at half the
# scale; those brought to 20 and 30 megapixels by 0.12 and 0.43 with 2 or 3.
DRAFT_GAP = 3

# What decoding takes at its peak for each pixel of a file: Pillow keeps four bytes of colours, and
# an array of them is three more; for values of more than eight bits there are wider arrays, too.
BYTES_PER_PIXEL, BYTES_PER_DEEP_PIXEL = 8, 20
# Where a decoder keeps more; of a lossless WebP, 17 for its pixels and 8 for the second look.
BYTES_PER_PIXEL_OF = {"AVIF": 10, "WEBP": 25}
BYTES_OF_RAW = 16  # for each byte of a raw file

# Guards the loading of an image the caller holds, which may stand in X twice.
_LOCK = threading.Lock()


def to_rgb(
    image: AnyImage, max_pixels: int | None = None, *, allow_damaged: bool = False
) -> Pixels:
    """Convert one image to RGB uint8, at its viewing size.

    Parameters
    ----------
    image : str, path, bytes, PIL image, array or tensor
        Arrays are (h, w) or (h, w, c), tensors (h, w) or (c, h, w), with c = 1 (grey), 3 (RGB) or
        4 (RGB and alpha). uint8, uint16, bool, float in [0, 1], or another integer type with values
        in 0..255.
    max_pixels : int or None, default=None
        An image with more pixels is brought to that many. JPEGs are decoded at 1/2, 1/4 or 1/8
        where that is still large enough; colours, orientation and transparency are seen to
        afterwards, on the small image.
    allow_damaged : bool, default=False
        Take what the decoder makes of a damaged file, as long as it makes a picture of it; see
        :func:`damage`.

    Returns
    -------
    pixels : ndarray of shape (h, w, 3), uint8
        C-contiguous and writable. It may share memory with `image`: do not write to it.

    Raises
    ------
    ImageError
        When it cannot be read or decoded, is missing, damaged, or has no pixels.
    ValueError, TypeError
        When an array's values, shape or dtype say nothing about a picture.
    """
    check_form(image)
    if is_missing(image):
        raise ImageError("the value is missing", kind="missing")
    if isinstance(image, str | os.PathLike):
        return _from_file(image, max_pixels, allow_damaged)
    if isinstance(image, bytes | bytearray | memoryview):
        return _from_bytes(image, max_pixels, allow_damaged)
    if isinstance(image, Image.Image):
        return _from_pil(image, max_pixels, allow_damaged)
    return reduce_to(array_to_rgb(image), max_pixels)


def check_file(path: AnyPath) -> None:
    """Raise ImageError unless the path leads to a file that can be read through once.

    Raises
    ------
    ImageError
        Missing, a directory, a pipe or a device (reading those may never end), or empty.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise as_image_error(error) from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError("this is a directory, pass the paths of the files in it")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("this is not a regular file")
    if status.st_size == 0:
        raise ImageError("the file is empty", kind="damaged")


def upright_size(image: AnyImage) -> tuple[int, int]:
    """Return the (height, width) of an encoded photo, as it is shown; nothing is decoded."""
    with _opened(image) as (file, opened):
        if opened is None:
            return raw_size(file)
        sideways = turn_of(opened) in SIDEWAYS
        return (opened.width, opened.height) if sideways else (opened.height, opened.width)


def damage(image: AnyImage) -> str | None:
    """Return what is wrong with the data of an encoded image that decodes all the same, or None.

    Nothing is known, and None returned, of formats without a second look (`_inputs/damage.py`), of
    pixels, and of files that do not even open.
    """
    with contextlib.suppress(Exception), _opened(image) as (file, opened):
        return None if opened is None else find_damage(opened, file)
    return None


def is_animated(image: AnyImage) -> bool:
    """Whether an encoded image holds several frames that are shown one after the other."""

    def moves(opened: Image.Image | None) -> bool:
        # the frames of other formats are pages, or what a camera keeps beside a photo
        known = opened is not None and opened.format in ("AVIF", "GIF", "PNG", "WEBP")
        return known and bool(getattr(opened, "is_animated", False))

    with contextlib.suppress(Exception):
        if isinstance(image, Image.Image) and image.format != "GIF":  # that would have to seek
            return moves(image)
        with _opened(image) as (_, opened):
            return moves(opened)
    return False


def footprint(image: AnyImage, max_pixels: int | None = None) -> int:
    """Return about how many bytes decoding an image takes at its peak, to judge by its header.

    0 where that cannot be told: decoding will say why. Arrays are in memory already.
    """
    if isinstance(image, Image.Image) and not getattr(image, "tile", None):
        return 0
    with contextlib.suppress(Exception), _opened(image) as (file, opened):
        if opened is None:
            return BYTES_OF_RAW * file.seek(0, os.SEEK_END)
        _draft(opened, max_pixels)
        deep = opened.mode[0] in "IF" or "16" in raw_mode(opened)
        plain = BYTES_PER_PIXEL_OF.get(opened.format or "", BYTES_PER_PIXEL)
        each = BYTES_PER_DEEP_PIXEL if deep else plain
        return opened.width * opened.height * each
    return 0


@contextlib.contextmanager
def _opened(image: AnyImage) -> Iterator[tuple[BinaryIO, Image.Image | None]]:
    """Open the encoded file behind an image, for a look at it; whatever goes wrong is raised."""
    if isinstance(image, str | os.PathLike):
        check_file(image)
        with open(image, "rb") as file:
            yield file, open_image(file)
        return
    data = _reopened(image) if isinstance(image, Image.Image) else None
    if isinstance(image, bytes | bytearray | memoryview):
        data = io.BytesIO(image)
    if data is None:
        raise TypeError("there is no file behind this image")
    yield data, open_image(data)


# Encoded images -----------------------------------------------------------------------------------


def _from_file(path: AnyPath, max_pixels: int | None, allow_damaged: bool) -> Pixels:
    check_file(path)
    try:
        with open(path, "rb") as file:
            return _decode(file, max_pixels, allow_damaged)
    except OSError as error:
        raise as_image_error(error) from error


def _from_bytes(
    data: bytes | bytearray | memoryview, max_pixels: int | None, allow_damaged: bool
) -> Pixels:
    if len(data) == 0:
        raise ImageError("there are no bytes", kind="damaged")
    try:
        return _decode(io.BytesIO(data), max_pixels, allow_damaged)
    except ImageError as error:
        if error.kind == "format" and isinstance(error.__cause__, UnidentifiedImageError):
            message = f"{error} (bytes are an encoded file; a path is a str)"
            raise ImageError(message, kind="format") from error.__cause__
        raise


def _decode(file: BinaryIO, max_pixels: int | None, allow_damaged: bool) -> Pixels:
    """Decode the first frame of an open, seekable binary file."""
    try:
        image = open_image(file)
        if image is None:
            return reduce_to(develop(file, max_pixels), max_pixels)
        with image:
            origin = Origin(image, file, raw_mode(image))
            size = _draft(image, max_pixels)
            image.load()
            if not allow_damaged and (problem := find_damage(image, file)):
                raise ImageError(f"the file is damaged ({problem})", kind="damaged")
            return pil_to_rgb(image, size, origin)
    except Warning:  # the caller has made Pillow's warnings errors, and means it
        raise
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever their parsing stumbled over
        raise as_image_error(error) from error


def _draft(image: Image.Image, max_pixels: int | None) -> tuple[int, int] | None:
    """Have a JPEG decoded smaller, if it may; return the viewing (height, width), None: whole."""
    if max_pixels is None:
        return None
    height, width = viewing_size(image.height, image.width, max_pixels)
    if image.format != "HEIF":  # that takes a thumbnail, which another encoder made
        image.draft(None, (DRAFT_GAP * width, DRAFT_GAP * height))  # JPEGs alone know it
    return height, width


def as_image_error(error: Exception) -> ImageError:
    """Say in the user's words why a file cannot be read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ImageError("there is no such file", kind="missing")
    if isinstance(error, PermissionError):
        return ImageError("permission to read the file is denied")
    if isinstance(error, UnidentifiedImageError):
        message = "this is not an image in a format that Pillow can read"
        return ImageError(message, kind="format")
    if isinstance(error, Image.DecompressionBombError):
        message = f"the image is too big to be safe: {error}"
        advice = "(PIL.Image.MAX_IMAGE_PIXELS sets the limit)"
        return ImageError(f"{message} {advice}", kind="too_large")
    if isinstance(error, MemoryError):
        return ImageError("the decoded image does not fit into memory", kind="too_large")
    if isinstance(error, OSError) and error.errno is not None:
        return ImageError(f"the file cannot be read ({error.strerror})")
    text = str(error) or type(error).__name__
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return ImageError(f"the file is truncated ({text})", kind="damaged")
    return ImageError(f"the file is damaged or of an unsupported kind ({text})", kind="damaged")


# PIL images ---------------------------------------------------------------------------------------


def _from_pil(image: Image.Image, max_pixels: int | None, allow_damaged: bool) -> Pixels:
    """Convert an image the caller holds, without changing it."""
    try:
        fresh = _reopened(image)
        if fresh is not None:
            return _decode(fresh, max_pixels, allow_damaged)
        with _LOCK:
            image.load()
            # Converting writes transparency into the palette of the image being converted.
            image = image.copy() if image.mode in ("P", "PA") else image
    except Warning:
        raise
    except ImageError:
        raise
    except Exception as error:
        raise as_image_error(error) from error
    return pil_to_rgb(image, viewing_size(image.height, image.width, max_pixels), Origin(image))


def _reopened(image: Image.Image) -> io.BytesIO | None:
    """Return the encoded bytes behind an image that is opened but not yet decoded, or None.

    Decoding these instead of the caller's object keeps a list of opened photos from filling
    the memory with their pixels, and lets one object stand in X twice.
    """
    if not isinstance(image, ImageFile.ImageFile) or not image.tile or image.fp is None:
        return None
    with _LOCK:
        try:
            place = image.fp.tell()
            image.fp.seek(0)
            data = io.BytesIO(image.fp.read())
            image.fp.seek(place)
            same = Image.open(data, formats=pillow_formats())
            # Another frame, a draft, or EXIF that the caller has looked at and may have edited.
            untouched = image.tell() == 0 and getattr(image, "_exif", None) is None
            if untouched and (same.size, same.mode) == (image.size, image.mode):
                return data
        except Exception:  # whatever it is, loading the image itself will say it better
            pass
    return None
