"""A strict second look at a file that Pillow has decoded: did its decoder only muddle through?

JPEG: libjpeg decodes damaged files with warnings, and Pillow keeps them to itself. The same
library, called through simplejpeg, raises instead. It decodes at an eighth of the size, which costs
little more than reading the entropy-coded data. PNG: its checksums. WebP and AVIF have none; they
are decoded again without their last bytes, which must fail (`shortened`). JPEG 2000, HEIF, GIF and
uncompressed files are not looked at again.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from skiqa._inputs.headers import png_chunks
from skiqa._inputs.shortened import without_last_bytes

__all__ = ["find_damage"]

TIFF_COMPRESSION, TIFF_JPEG, JPEG_TABLES = 259, 7, 347
OFFSETS = {273: 279, 324: 325}  # of strips and tiles, and their byte counts


def find_damage(image: Image.Image, file: BinaryIO) -> str | None:
    """Return what is wrong with the data behind a picture, or None.

    Parameters
    ----------
    image : PIL.Image.Image
        As opened from `file`; it need not be decoded.
    file : seekable binary file

    Returns
    -------
    str or None
        None also for formats and kinds that cannot be looked at again.
    """
    if image.format in ("JPEG", "MPO"):
        file.seek(0)
        return _jpeg(file.read())
    if image.format == "PNG":
        return _png(file)
    if image.format in ("WEBP", "AVIF") and getattr(image, "n_frames", 1) == 1:
        file.seek(0)
        return _arithmetic(file.read(), image.format, image.height)
    tags = getattr(image, "tag_v2", {})
    if image.format == "TIFF" and tags.get(TIFF_COMPRESSION) == TIFF_JPEG:
        return _tiff_of_jpegs(tags, file)
    return None


def _jpeg(data: bytes) -> str | None:
    import simplejpeg  # here: not every import of skiqa is about JPEGs

    def decode(strict: bool) -> None:
        simplejpeg.decode_jpeg(
            data, "GRAY", fastdct=True, min_height=1, min_width=1, min_factor=8, strict=strict
        )

    def read_header(strict: bool) -> None:
        simplejpeg.decode_jpeg_header(data, strict=strict)

    try:
        decode(strict=True)
    except ValueError as error:
        # of a header `decode` is always strict
        if _only_strictly(read_header) or _only_strictly(decode):
            return str(error)
    return None  # or a kind of JPEG that TurboJPEG does not know, and libjpeg does


def _only_strictly(read: Callable[[bool], None]) -> bool:
    """Whether it is for warnings alone that something cannot be read."""
    try:
        read(False)
    except ValueError:
        return False
    try:
        read(True)
    except ValueError:
        return True
    return False


def _arithmetic(data: bytes, format: str, height: int) -> str | None:
    if format == "WEBP" and _goes_on(data):
        return "there is data behind its end"
    shorter = without_last_bytes(data, format, height)
    if shorter is None:
        return None
    try:
        with Image.open(io.BytesIO(shorter), formats=[format]) as image:
            image.load()
    except Warning:
        raise
    except Exception:  # as it should be
        return None
    return "its decoder did not need the last of its data"


def _goes_on(data: bytes) -> bool:
    """Whether a WebP is longer than it says, which it should not be, by more than padding.

    Then bytes were put in; its end is what the decoder needs no more.
    """
    end = 8 + int.from_bytes(data[4:8], "little")
    return bool(data[end:].strip(b"\0\r\n "))


def _png(file: BinaryIO) -> str | None:
    for name, start, length in png_chunks(file):
        if name[:1].isupper():  # the others are notes about the picture
            file.seek(start)
            data, check = file.read(length), file.read(4)
            if zlib.crc32(data, zlib.crc32(name)) != int.from_bytes(check, "big"):
                return f"the checksum of its part {name.decode('latin-1')} does not match"
    return None


def _tiff_of_jpegs(tags: Mapping[int, Any], file: BinaryIO) -> str | None:
    """Look at each strip or tile, an abbreviated JPEG that lacks the tables kept aside."""
    head = tags.get(JPEG_TABLES, b"")[:-2]  # without its end marker
    for of_offsets, of_counts in OFFSETS.items():
        offsets, counts = (np.atleast_1d(tags.get(t, ())) for t in (of_offsets, of_counts))
        for offset, count in zip(offsets, counts, strict=False):
            file.seek(int(offset))
            strip = file.read(int(count))
            problem = _jpeg(head + strip[2:] if head else strip)
            if problem:
                return problem
    return None
