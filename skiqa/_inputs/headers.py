"""What a file says of itself and Pillow does not pass on. Nothing is decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from skiqa._inputs import boxes

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["coding_of", "coding_of_profile", "png_chunks", "white_of"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 258, 281  # tags of TIFF 6.0

# (colour primaries, transfer characteristics), numbered as in ITU-T H.273
Coding = tuple[int, int]


def png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, where its data begin, their length) of a PNG's chunks, as far as they go."""
    file.seek(0)
    at = len(PNG_SIGNATURE) if file.read(len(PNG_SIGNATURE)) == PNG_SIGNATURE else None
    while at is not None:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        length, name = struct.unpack(">I4s", head)
        yield name, at + 8, length
        at = None if name == b"IEND" else at + 12 + length


def coding_of(image: Image.Image, file: BinaryIO) -> Coding | None:
    """Return how an opened picture's colours are coded, where its file says it by numbers.

    By the chunks cICP of a PNG, or gAMA if that says linear light, and by the box colr of an AVIF
    or HEIC. None: it does not.
    """
    if image.format == "PNG":
        data = _png_chunk(file, b"cICP")
        if len(data) == 4:
            return data[0], data[1]
        linear = image.info.get("gamma") == 1 and not {"icc_profile", "srgb"} & image.info.keys()
        return (1, 8) if linear else None
    if image.format == "HEIF":
        nclx: dict[str, Any] = image.info.get("nclx_profile") or {}
        if {"color_primaries", "transfer_characteristics"} <= nclx.keys():
            return int(nclx["color_primaries"]), int(nclx["transfer_characteristics"])
    if image.format == "AVIF":
        file.seek(0)
        return boxes.nclx(file.read(2**16))
    return None


def coding_of_profile(profile: bytes) -> Coding | None:
    """Return how colours are coded, where an ICC profile says it by numbers: its tag cicp."""
    for at in range(132, min(len(profile), 132 + 12 * 100), 12):
        name, offset, size = struct.unpack(">4sII", profile[at : at + 12].ljust(12, b"\0"))
        data = profile[offset : offset + size]
        if name == b"cicp" and len(data) >= 10:
            return data[8], data[9]
    return None


def white_of(image: Image.Image, file: BinaryIO) -> int | None:
    """Return the white of a file of 16-bit values, where it says that fewer bits are used.

    A TIFF says it by BitsPerSample, or by a MaxSampleValue that is one less than a power of two
    (any other is a statistic). A PNG by sBIT, though its values should have been scaled to 16 bits:
    `depth.to_eight_bits` looks whether they were.
    """
    bits = [16]
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        bits = [*tags.get(BITS_PER_SAMPLE, (16,))]
        largest = max([*_as_tuple(tags.get(MAX_SAMPLE_VALUE, 65535))])
        if largest > 255 and (largest + 1) & largest == 0:
            bits.append(largest.bit_length())
            return 2 ** min(bits) - 1 if min(bits) < 16 else None
    elif image.format == "PNG":
        bits = [*_png_chunk(file, b"sBIT")[:3]] or bits
    return 2 ** max(bits) - 1 if 8 < max(bits) < 16 else None


def _as_tuple(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (int(value),)


def _png_chunk(file: BinaryIO, wanted: bytes) -> bytes:
    """Return the data of a chunk that stands before the pixels; empty: there is none."""
    for name, start, length in png_chunks(file):
        if name == wanted:
            file.seek(start)
            return file.read(min(length, 64))
        if name == b"IDAT":
            break
    return b""
