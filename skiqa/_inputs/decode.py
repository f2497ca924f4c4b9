"""One image, in any of its forms, to RGB uint8.

A form is a path, the bytes of an encoded file, a PIL image, an array (h, w[, c]) or a torch
tensor (c, h, w). The functions here know nothing of X or of an index in it: they raise with the
bare reason, and :class:`skiqa._inputs.images.ImageList` says which image it was and what to do.

Colour profiles (ICC) are not applied: neither the databases' raters nor the published methods
had them, and the number would depend on a library's rendering intent.
"""

import io
import os
import stat
import threading

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from skiqa.exceptions import ImageError

__all__ = ["check_form", "describe", "is_missing", "is_tensor", "regular_file", "to_rgb"]

# Floats come out of other libraries' resizing and colour conversion a few ulp outside [0, 1].
FLOAT_TOLERANCE = 1e-5

# Files in these formats come out of Pillow as mode "I" when they hold 16-bit grey, scaled to
# 0..65535. A mode "I" image from anywhere else (32-bit TIFF, `convert("I")`) has no agreed white.
SIXTEEN_BIT_FORMATS = frozenset({"PPM", "PNG", "JPEG2000"})

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

# Guards what is not safe in several threads: registering Pillow's plugins, and loading an image the
# caller holds, which may stand in X twice.
_LOCK = threading.Lock()


def to_rgb(image):
    """Convert one image to RGB uint8.

    Parameters
    ----------
    image : str, path, bytes, PIL image, array or tensor
        Arrays are (h, w) or (h, w, c), tensors (h, w) or (c, h, w), with c = 1 (grey), 3 (RGB) or
        4 (RGB and alpha). uint8, uint16, bool, float in [0, 1], or another integer type with values
        in 0..255.

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
        return _from_file(image)
    if isinstance(image, bytes | bytearray | memoryview):
        return _from_bytes(image)
    if isinstance(image, Image.Image):
        return _from_pil(image)
    return _from_array(image)


def check_form(image):
    """Raise TypeError or ValueError when `image` cannot be an image; opens and copies nothing."""
    if isinstance(image, str | os.PathLike | bytes | bytearray | memoryview | Image.Image):
        return
    if is_missing(image) or isinstance(image, list | tuple):
        return
    if is_tensor(image):
        kind = "b" if "bool" in str(image.dtype) else "c" if image.is_complex() else "f"
        _check_shape(tuple(image.shape), kind, "a torch tensor is (h, w) or (c, h, w)", channel=0)
        return
    if hasattr(image, "shape") and hasattr(image, "dtype"):
        kind = getattr(image.dtype, "kind", "f")
        _check_shape(tuple(image.shape), kind, "an array is (h, w) or (h, w, c)", channel=-1)
        return
    if hasattr(image, "__array__") or hasattr(image, "__array_interface__"):
        return
    hint = ", pass its .read()" if hasattr(image, "read") else ""
    raise TypeError(
        "an image is a path, the bytes of an encoded file, a PIL image, an array or a torch "
        f"tensor, not {type(image).__name__}{hint}"
    )


def _check_shape(shape, kind, layout, channel):
    if kind not in "buifO":
        raise TypeError("the values are not real numbers")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[channel] not in (1, 3, 4)):
        raise ValueError(f"{layout} with c = 1, 3 or 4, not {shape}")


def describe(image):
    """What stands in X, in a few words: the path, or what kind of object it is."""
    if isinstance(image, str | os.PathLike):
        return repr(os.fspath(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return f"<{len(image)} bytes>"
    if isinstance(image, Image.Image):
        return f"<PIL image {image.mode} {image.size[0]}x{image.size[1]}>"
    if hasattr(image, "shape") and hasattr(image, "dtype"):
        name = "tensor" if is_tensor(image) else "array"
        return f"<{name} {tuple(image.shape)} {str(image.dtype).removeprefix('torch.')}>"
    if is_missing(image):
        return repr(image)
    return f"<{type(image).__name__}>"


def is_tensor(value):
    """Is it a torch tensor? Asked without importing torch, which takes seconds."""
    classes = type(value).__mro__
    return any(c.__name__ == "Tensor" and c.__module__.startswith("torch") for c in classes)


def is_missing(value):
    """Is it None, NaN or pandas' NA: a gap in a column of paths?"""
    if isinstance(value, float | np.floating):
        return bool(value != value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def regular_file(path):
    """Return os.stat of a file that can be read through once; ImageError for anything else.

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
    return status


# Encoded images -----------------------------------------------------------------------------------


def _from_file(path):
    regular_file(path)
    try:
        with open(path, "rb") as file:
            return _decode(file)
    except OSError as error:
        raise ImageError(_reason(error)) from error


def _from_bytes(data):
    if len(data) == 0:
        raise ImageError("there are no bytes")
    try:
        return _decode(io.BytesIO(data))
    except ImageError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            raise ImageError(
                f"{error} (bytes are an encoded file; a path is a str)"
            ) from error.__cause__
        raise


def _decode(file):
    """Decode the first frame of an open, seekable binary file."""
    with _LOCK:
        # Image.open registers plugins as it goes and, in several threads, may miss those that
        # another thread is registering. After the first time this costs nothing.
        Image.init()
    try:
        with Image.open(file, formats=_formats()) as image:
            image.load()
            return _pil_to_rgb(image)
    except Warning:  # the caller has made Pillow's warnings errors, and means it
        raise
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever their parsing stumbled over
        raise ImageError(_reason(error)) from error


def _formats():
    """Pillow's formats but EPS: reading that starts Ghostscript on the program in the file."""
    return [name for name in Image.ID if name != "EPS"]


def _reason(error):
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


def _from_pil(image):
    """Convert an image the caller holds, without changing it."""
    try:
        fresh = _reopened(image)
        if fresh is not None:
            return _decode(fresh)
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
    return _pil_to_rgb(image)


def _reopened(image):
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


def _pil_to_rgb(image):
    """Convert a loaded PIL image to an array: upright, 8 bits, over white."""
    if 0 in image.size:
        raise ImageError(f"the image has no pixels: its size is {image.size}")
    kind = image.format  # lost by transpose
    image = _upright(image)
    mode = image.mode
    if mode.startswith("I;16"):
        grey = np.asarray(image)
        pixels = _grey_to_rgb(_sixteen_to_eight(grey))
        if isinstance(image.info.get("transparency"), int):
            pixels[grey == image.info["transparency"]] = 255
        return pixels
    if mode == "I":
        grey = np.asarray(image)
        if kind in SIXTEEN_BIT_FORMATS and grey.min() >= 0 and grey.max() <= 65535:
            return _grey_to_rgb(_sixteen_to_eight(grey))
        return _grey_to_rgb(_to_uint8(grey))
    if mode == "F":
        return _grey_to_rgb(_to_uint8(np.asarray(image)))
    if mode == "La":  # premultiplied; Pillow knows the way back to LA only
        image = image.convert("LA")
    if image.has_transparency_data:
        return _over_white(np.asarray(image.convert("RGBA")))
    return _copy_out(image if mode == "RGB" else image.convert("RGB"))


def _upright(image):
    """Turn the image as its EXIF (or XMP) orientation says."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Warning:
        raise
    except Exception:  # damaged metadata: the pixels are fine, and viewers show them as stored
        orientation = 1
    method = TRANSPOSE.get(orientation)
    return image if method is None else image.transpose(method)


def _copy_out(image):
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


# Arrays -------------------------------------------------------------------------------------------


def _from_array(image):
    if is_tensor(image):
        image = image.detach().cpu()
        # numpy has no bfloat16, and float16 has too few digits for what follows.
        image = (image.float() if image.is_floating_point() else image).numpy()
        image = image.transpose(1, 2, 0) if image.ndim == 3 else image
    else:
        image = np.asarray(image)
        if image.dtype == object:  # numpy.array([a, b], dtype=object) of equal sizes
            image = np.asarray(image.tolist())
    _check_shape(image.shape, image.dtype.kind, "an array is (h, w) or (h, w, c)", channel=-1)
    if image.size == 0:
        raise ImageError(f"the image has no pixels: its shape is {image.shape}")
    pixels = _to_uint8(image)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return _grey_to_rgb(pixels.reshape(pixels.shape[:2]))
    if pixels.shape[2] == 4:
        return _over_white(pixels)
    pixels = np.ascontiguousarray(pixels)
    return pixels if pixels.flags.writeable else pixels.copy()


def _to_uint8(values):
    """Values of any dtype to 0..255; ValueError when what they mean is not certain."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:  # of either byte order
        return _sixteen_to_eight(values)
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "uif":
        raise TypeError(f"the values are not real numbers but {values.dtype}")
    low, high = values.min(), values.max()
    if values.dtype.kind in "ui":
        if low < 0 or high > 255:
            raise ValueError(
                f"integer values must lie in 0..255, found {low}..{high}; "
                "pass 16-bit values as uint16"
            )
        return values.astype(np.uint8)
    if not np.isfinite(low + high):
        raise ValueError("the values contain NaN or infinity")
    if low < -FLOAT_TOLERANCE or high > 1 + FLOAT_TOLERANCE:
        remedy = "; divide by 255" if low >= 0 and high <= 255 else ""
        raise ValueError(f"float values must lie in [0, 1], found {low:g}..{high:g}{remedy}")
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _sixteen_to_eight(values):
    """0..65535 to the nearest of 0..255: 65535 = 257 * 255."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _grey_to_rgb(grey):
    return np.repeat(grey[:, :, None], 3, axis=2)


def _over_white(rgba):
    """Lay RGB with alpha over white: round((c a + 255 (255 - a)) / 255), exactly, in uint8."""
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return np.array(colour, order="C")
    # c a + 255 (255 - a) = 255² - (255 - c) a, whose second term fits into 16 bits.
    cover = (255 - colour).astype(np.uint16) * alpha + np.uint16(127)
    return (255 - cover // 255).astype(np.uint8)
