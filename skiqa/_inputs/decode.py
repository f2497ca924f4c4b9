"""One image, in any of its forms, to RGB uint8.

The functions here know nothing of X or of an index in it: they raise with the bare reason, and
:class:`skiqa._inputs.images.ImageList` says which image it was and what to do.

Colour profiles (ICC) are not applied: neither the databases' raters nor the published methods
had them, and the number would depend on a library's rendering intent.
"""

from __future__ import annotations

import io
import os
import stat
import threading
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from skiqa._inputs.arrays import (
    array_to_rgb,
    grey_to_rgb,
    lay_over_white,
    sixteen_to_eight_bits,
    to_uint8,
)
from skiqa._inputs.forms import check_form, is_missing
from skiqa._inputs.resizing import reduce_to, shrink, viewing_size
from skiqa._types import Image as AnyImage
from skiqa._types import Path as AnyPath
from skiqa._types import Pixels
from skiqa.exceptions import ImageError

__all__ = ["check_file", "to_rgb", "upright_size"]

# Files in these formats come out of Pillow as mode "I" when they hold 16-bit grey, scaled to
# 0..65535. A mode "I" image from anywhere else (32-bit TIFF, `convert("I")`) has no agreed white.
SIXTEEN_BIT_FORMATS = frozenset({"PPM", "PNG", "JPEG2000"})

# Modes whose values Pillow can average as they are; others are converted at full size.
RESIZED_AS_THEY_ARE = frozenset({"L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})

# How much larger than the viewing size a JPEG is decoded, at least. With 1 the scores of 14 photos
# of 5 to 24 megapixels moved by 1.0 on the mean and 2.0 at most, with 2 by 0.13 and 0.48.
DRAFT_GAP = 2

# The bytes of one strip when pixels are copied out of Pillow: it fits the processor's cache.
STRIP_BYTES = 2**18

# EXIF 2.32, 4.6.4.A, tag 274.
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = frozenset(TRANSPOSE[orientation] for orientation in (5, 6, 7, 8))

# Guards what is not safe in several threads: registering Pillow's plugins, and loading an image the
# caller holds, which may stand in X twice.
_LOCK = threading.Lock()


def to_rgb(image: AnyImage, max_pixels: int | None = None) -> Pixels:
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

    Returns
    -------
    pixels : ndarray of shape (h, w, 3), uint8
        C-contiguous and writable. It may share memory with `image`: do not write to it.

    Raises
    ------
    ImageError
        When it cannot be read or decoded, is missing, or has no pixels.
    ValueError, TypeError
        When an array's values, shape or dtype say nothing about a picture.
    """
    check_form(image)
    if is_missing(image):
        raise ImageError("the value is missing")
    if isinstance(image, str | os.PathLike):
        return _from_file(image, max_pixels)
    if isinstance(image, bytes | bytearray | memoryview):
        return _from_bytes(image, max_pixels)
    if isinstance(image, Image.Image):
        return _from_pil(image, max_pixels)
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
        raise ImageError(_reason(error)) from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError("this is a directory, pass the paths of the files in it")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("this is not a regular file")
    if status.st_size == 0:
        raise ImageError("the file is empty")


def upright_size(path: AnyPath) -> tuple[int, int]:
    """Return the (height, width) of a photo in a file, as it is shown; nothing is decoded."""
    with Image.open(path, formats=_formats()) as image:
        sideways = _turn(image) in SIDEWAYS
        return (image.width, image.height) if sideways else (image.height, image.width)


# Encoded images -----------------------------------------------------------------------------------


def _from_file(path: AnyPath, max_pixels: int | None) -> Pixels:
    check_file(path)
    try:
        with open(path, "rb") as file:
            return _decode(file, max_pixels)
    except OSError as error:
        raise ImageError(_reason(error)) from error


def _from_bytes(data: bytes | bytearray | memoryview, max_pixels: int | None) -> Pixels:
    if len(data) == 0:
        raise ImageError("there are no bytes")
    try:
        return _decode(io.BytesIO(data), max_pixels)
    except ImageError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            raise ImageError(
                f"{error} (bytes are an encoded file; a path is a str)"
            ) from error.__cause__
        raise


def _decode(file: BinaryIO, max_pixels: int | None) -> Pixels:
    """Decode the first frame of an open, seekable binary file."""
    with _LOCK:
        # Image.open registers plugins as it goes and, in several threads, may miss those that
        # another thread is registering. After the first time this costs nothing.
        Image.init()
    try:
        with Image.open(file, formats=_formats()) as image:
            if max_pixels is not None:
                height, width = viewing_size(image.height, image.width, max_pixels)
                image.draft(None, (DRAFT_GAP * width, DRAFT_GAP * height))  # JPEGs alone know it
            image.load()
            return _pil_to_rgb(image, (height, width) if max_pixels is not None else None)
    except Warning:  # the caller has made Pillow's warnings errors, and means it
        raise
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever their parsing stumbled over
        raise ImageError(_reason(error)) from error


def _formats() -> list[str]:
    """Pillow's formats but EPS: reading that starts Ghostscript on the program in the file."""
    return [name for name in Image.ID if name != "EPS"]


def _reason(error: Exception) -> str:
    """Say in the user's words why a file cannot be read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "permission to read the file is denied"
    if isinstance(error, UnidentifiedImageError):
        return "this is not an image in a format that Pillow can read"
    if isinstance(error, Image.DecompressionBombError):
        return (
            f"the image is too big to be safe: {error} (PIL.Image.MAX_IMAGE_PIXELS sets the limit)"
        )
    if isinstance(error, MemoryError):
        return "the decoded image does not fit into memory"
    text = str(error) or type(error).__name__
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return f"the file is truncated ({text})"
    return f"the file is damaged or of an unsupported kind ({text})"


# PIL images ---------------------------------------------------------------------------------------


def _from_pil(image: Image.Image, max_pixels: int | None) -> Pixels:
    """Convert an image the caller holds, without changing it."""
    try:
        fresh = _reopened(image)
        if fresh is not None:
            return _decode(fresh, max_pixels)
        with _LOCK:
            image.load()
            # Converting writes transparency into the palette of the image being converted.
            image = image.copy() if image.mode in ("P", "PA") else image
    except Warning:
        raise
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(_reason(error)) from error
    return _pil_to_rgb(image, viewing_size(image.height, image.width, max_pixels))


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
            same = Image.open(data, formats=_formats())
            # Another frame, a draft, or EXIF that the caller has looked at and may have edited.
            untouched = image.tell() == 0 and getattr(image, "_exif", None) is None
            if untouched and (same.size, same.mode) == (image.size, image.mode):
                return data
        except Exception:  # whatever it is, loading the image itself will say it better
            pass
    return None


def _pil_to_rgb(image: Image.Image, size: tuple[int, int] | None) -> Pixels:
    """Convert a loaded PIL image to an array of (height, width): upright, 8 bits, over white."""
    if 0 in image.size:
        raise ImageError(f"the image has no pixels: its size is {image.size}")
    kind = image.format  # lost by what follows
    turn = _turn(image)
    height, width = size or (image.height, image.width)
    if (width, height) != image.size and image.mode in RESIZED_AS_THEY_ARE:
        image = shrink(image, (width, height))
    pixels = _eight_bits(image, kind)
    if pixels.shape[:2] != (height, width):
        pixels = np.array(shrink(Image.fromarray(pixels), (width, height)))
    if turn is None:
        return pixels
    return _copy_out(Image.fromarray(pixels).transpose(turn))


def _eight_bits(image: Image.Image, kind: str | None) -> Pixels:
    """Convert a loaded PIL image of a format to an array: RGB, 8 bits, over white."""
    mode = image.mode
    if mode.startswith("I;16"):
        grey = np.asarray(image)
        pixels = grey_to_rgb(sixteen_to_eight_bits(grey))
        if isinstance(image.info.get("transparency"), int):
            pixels[grey == image.info["transparency"]] = 255
        return pixels
    if mode == "I":
        grey = np.asarray(image)
        if kind in SIXTEEN_BIT_FORMATS and grey.min() >= 0 and grey.max() <= 65535:
            return grey_to_rgb(sixteen_to_eight_bits(grey))
        return grey_to_rgb(to_uint8(grey))
    if mode == "F":
        return grey_to_rgb(to_uint8(np.asarray(image)))
    if mode == "La":  # premultiplied; Pillow knows the way back to LA only
        image = image.convert("LA")
    if image.has_transparency_data:
        return lay_over_white(np.asarray(image.convert("RGBA")))
    return _copy_out(image if mode == "RGB" else image.convert("RGB"))


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return how to turn an image, as its EXIF (or XMP) orientation says."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Warning:
        raise
    except Exception:  # damaged metadata: the pixels are fine, and viewers show them as stored
        orientation = 1
    return TRANSPOSE.get(orientation)


def _copy_out(image: Image.Image) -> Pixels:
    """Copy an RGB image into a writable array, strip by strip.

    numpy.array(image) holds the picture three times and walks memory as often: at 12 MP this takes
    a third of its time, at 0.25 MP the same.
    """
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, STRIP_BYTES // (3 * width))
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels
