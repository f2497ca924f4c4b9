"""Decoded PIL images to RGB uint8: small, upright, in sRGB, 8 bits, over white."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from skiqa._inputs.arrays import grey_to_rgb, lay_over_white, to_uint8
from skiqa._inputs.colour import apply_coding, apply_profile, changes_colours
from skiqa._inputs.depth import FEW_BITS, to_eight_bits
from skiqa._inputs.formats import PHOTOMETRIC, tags_of
from skiqa._inputs.headers import Coding, coding_of, white_of
from skiqa._inputs.resizing import shrink
from skiqa._types import Pixels
from skiqa.exceptions import ImageError

__all__ = ["SIDEWAYS", "Origin", "pil_to_rgb", "raw_mode", "turn_of"]

# Files in these formats come out of Pillow as mode "I" when they hold 16-bit grey, scaled to
# 0..65535. A mode "I" image from anywhere else (32-bit TIFF, `convert("I")`) has no agreed white.
SIXTEEN_BIT_FORMATS = frozenset({"PPM", "PNG", "JPEG2000"})

# Modes whose values Pillow can average as they are; others are converted at full size.
RESIZED_AS_THEY_ARE = frozenset({"L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})

# Of 16-bit colours Pillow unpacks the upper bytes, to each of these modes; in the other byte order
# the same data gives the lower ones.
OTHER_BYTES = {
    f"{colours};16{order}": f"{colours};16{other}"
    for colours in ("RGB", "RGBA", "RGBX")
    for order, other in ("BL", "LB", "NB" if np.little_endian else "NL")
}

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


@dataclass
class Origin:
    """Where a picture was decoded from, asked only about kinds that need it.

    Parameters
    ----------
    image : PIL.Image.Image
        As it was opened.
    file : seekable binary file or None
        None: the caller holds the picture, decoded.
    raw_mode : str
        What Pillow's decoder made its mode of; see the function of that name.
    """

    image: Image.Image
    file: BinaryIO | None = None
    raw_mode: str = ""

    @cached_property
    def coding(self) -> Coding | None:
        """How colours are coded, if the file says it by numbers."""
        return None if self.file is None else coding_of(self.image, self.file)

    @cached_property
    def white(self) -> int | None:
        """The white of 16-bit values, if it is said to be less than 65535."""
        return None if self.file is None else white_of(self.image, self.file)

    @property
    def name(self) -> str:
        """What 16-bit values are called in a warning."""
        name = getattr(self.file, "name", None)
        return "16-bit values" if name is None else f"16-bit values in {name!r}"


def raw_mode(image: Image.Image) -> str:
    """Return what Pillow's decoder will make the mode of an opened image of, such as "RGB;16B"."""
    for tile in getattr(image, "tile", []):
        args = tile[3]
        return str(args[0] if isinstance(args, tuple) and args else args)
    return ""


def pil_to_rgb(image: Image.Image, size: tuple[int, int] | None, origin: Origin) -> Pixels:
    """Convert a loaded PIL image to an array of (height, width): upright, 8 bits, over white."""
    if 0 in image.size:
        raise ImageError(f"the image has no pixels: its size is {image.size}", kind="damaged")
    kind = image.format  # lost by what follows
    turn = turn_of(image)
    height, width = size or (image.height, image.width)
    if origin.raw_mode in OTHER_BYTES and origin.file is not None:
        image = _from_both_bytes(image, (width, height), origin)
    if (width, height) != image.size and image.mode in RESIZED_AS_THEY_ARE:
        image = shrink(image, (width, height))
    pixels = _eight_bits(image, kind, origin)
    if pixels.shape[:2] != (height, width):
        pixels = np.array(shrink(Image.fromarray(pixels), (width, height)))
    if turn is None:
        return pixels
    return _copy_out(Image.fromarray(pixels).transpose(turn))


def _from_both_bytes(image: Image.Image, size: tuple[int, int], origin: Origin) -> Image.Image:
    """Return 16-bit colours in eight bits, where their upper bytes do not say enough.

    That is where these show that not all bits are used, and in wide codings, whose dark steps they
    are too coarse for; the latter are brought to a (width, height) and to sRGB, too.
    """
    brightest = max(high for _, high in image.getextrema()[:3])  # type: ignore[misc]
    coding = origin.coding
    if coding is not None and changes_colours(coding):
        values = _sixteen_bits(image, origin)
        planes = [Image.fromarray(plane) for plane in np.moveaxis(values.astype(np.float32), 2, 0)]
        if size != image.size:
            planes = [shrink(plane, size) for plane in planes]
        codes = np.dstack([np.asarray(plane) for plane in planes]) / 65535
        pixels = apply_coding(codes.clip(0, 1), coding)
        origin.coding = None
    elif brightest < FEW_BITS >> 8:
        pixels = to_eight_bits(_sixteen_bits(image, origin), origin.white, origin.name)
    else:
        return image
    result = Image.fromarray(pixels)
    if "A" in image.getbands():
        alpha = image.getchannel("A")
        result.putalpha(alpha if alpha.size == result.size else shrink(alpha, result.size))
    result.info = image.info
    return result


def _sixteen_bits(image: Image.Image, origin: Origin) -> npt.NDArray[np.uint16]:
    """Return the colours (h, w, 3) of a picture by decoding it again, for the lower bytes."""
    assert origin.file is not None
    origin.file.seek(0)
    with Image.open(origin.file, formats=[str(image.format)]) as lower:
        lower.seek(image.tell())
        other = OTHER_BYTES[origin.raw_mode]
        lower.tile = [
            tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)
            for tile in lower.tile
        ]
        lower.load()
        low = np.asarray(lower)[..., :3]
    values = np.asarray(image)[..., :3].astype(np.uint16)
    values <<= 8
    values |= low
    return values


def _eight_bits(image: Image.Image, kind: str | None, origin: Origin) -> Pixels:
    """Convert a loaded PIL image of a format to an array: RGB, 8 bits, in sRGB, over white."""
    mode = image.mode
    if mode.startswith("I;16"):
        grey = np.asarray(image)
        if tags_of(origin.image).get(PHOTOMETRIC) == 0:  # white is zero, which Pillow leaves so
            grey = np.uint16(origin.white or 65535) - grey
        pixels = _sixteen_bits_of_grey(grey, image, origin)
        if isinstance(image.info.get("transparency"), int):
            pixels[grey == image.info["transparency"]] = 255
        return pixels
    if mode == "I":
        grey = np.asarray(image)
        if kind in SIXTEEN_BIT_FORMATS and grey.min() >= 0 and grey.max() <= 65535:
            return _sixteen_bits_of_grey(grey, image, origin)
        return grey_to_rgb(to_uint8(grey))
    if mode == "F":
        return grey_to_rgb(to_uint8(np.asarray(image)))
    if mode == "La":  # premultiplied; Pillow knows the way back to LA only
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        colours = _in_srgb(image.convert("L") if mode in ("L", "LA") else rgba, image, origin)
        return lay_over_white(np.dstack([colours, np.asarray(rgba.getchannel("A"))]))
    return _in_srgb(image, image, origin)


def _sixteen_bits_of_grey(grey: npt.NDArray[Any], image: Image.Image, origin: Origin) -> Pixels:
    pixels = to_eight_bits(grey, origin.white, origin.name)
    return _in_srgb(Image.fromarray(pixels), image, origin)


def _in_srgb(colours: Image.Image, image: Image.Image, origin: Origin) -> Pixels:
    """Return the opaque colours of an image as its profile, or its file's coding, means them."""
    profile = image.info.get("icc_profile")
    if origin.coding is not None and changes_colours(origin.coding):
        return apply_coding(np.asarray(colours.convert("RGB")), origin.coding)
    if profile and origin.coding is None:
        colours = colours if colours.mode in ("L", "RGB", "CMYK") else colours.convert("RGB")
        colours = apply_profile(colours, profile)
    return _copy_out(colours if colours.mode == "RGB" else colours.convert("RGB"))


def turn_of(image: Image.Image) -> Image.Transpose | None:
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
