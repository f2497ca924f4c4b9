"""The boxes of an AVIF (ISO/IEC 14496-12, 23008-12): what is said of its primary picture."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["nclx", "primary_data"]

# Boxes of boxes, and what these hold before the first.
PARENTS = {b"meta": 4, b"iprp": 0}


@dataclass
class _Meta:
    """What the box meta holds."""

    primary: int = 0
    properties: list[bytes] = field(default_factory=list)  # boxes, from their names on
    of_items: bytes = b""  # ipma
    locations: bytes = b""  # iloc


def nclx(data: bytes) -> tuple[int, int] | None:
    """Return (primaries, transfer) of the primary picture, by its box colr of the type nclx."""
    meta = _read_meta(data)
    for number in _properties_of(meta.primary, meta.of_items):
        box = meta.properties[number - 1] if 0 < number <= len(meta.properties) else b""
        if box[:8] == b"colrnclx" and len(box) >= 12:
            primaries, transfer = struct.unpack_from(">HH", box, 8)
            return primaries, transfer
    return None


def primary_data(data: bytes) -> tuple[int, int] | None:
    """Return (start, length) of the primary picture's data, if they lie in one piece."""
    meta = _read_meta(data)
    try:
        return _location(meta.primary, meta.locations)
    except IndexError:
        return None


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start, end) of the boxes in a part of a file."""
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        stop = start + size if size >= 8 else end  # 0: up to the end
        yield name, start + 8, min(stop, end)
        start = stop


def _read_meta(data: bytes) -> _Meta:
    meta = _Meta()
    parts = [(0, len(data))]
    while parts:
        for name, start, end in _boxes(data, *parts.pop()):
            if name in PARENTS:
                parts.append((start + PARENTS[name], end))
            elif name == b"ipco":
                meta.properties = [data[a - 4 : b] for _, a, b in _boxes(data, start, end)]
            elif name == b"pitm":
                meta.primary = int.from_bytes(data[start + 4 : end], "big")
            elif name == b"ipma":
                meta.of_items = data[start:end]
            elif name == b"iloc":
                meta.locations = data[start:end]
    return meta


class _Reader:
    """Numbers, the most significant byte first; IndexError beyond the end."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def number(self, n_bytes: int) -> int:
        self._at += n_bytes
        if self._at > len(self._data):
            raise IndexError("the box is too short")
        return int.from_bytes(self._data[self._at - n_bytes : self._at], "big")


def _properties_of(item: int, ipma: bytes) -> list[int]:
    """Return which properties, counted from 1, the box ipma gives to an item."""
    reader = _Reader(ipma, 4)
    try:
        wide, id_bytes = ipma[3] & 1, 4 if ipma[0] else 2
        for _ in range(reader.number(4)):
            owner = reader.number(id_bytes)
            found = [reader.number(1 + wide) for _ in range(reader.number(1))]
            if owner == item:
                return [number & (0x7FFF if wide else 0x7F) for number in found]
    except IndexError:
        pass
    return []


def _location(item: int, iloc: bytes) -> tuple[int, int] | None:
    """Return where the box iloc says that an item lies in the file."""
    version, reader = iloc[0], _Reader(iloc, 4)
    sizes = reader.number(2)
    offset_bytes, length_bytes, base_bytes = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_bytes = sizes & 15 if version else 0
    id_bytes = 4 if version == 2 else 2
    for _ in range(reader.number(id_bytes)):
        owner = reader.number(id_bytes)
        method = reader.number(2) & 15 if version else 0
        reader.number(2)  # of files elsewhere, there are none
        base = reader.number(base_bytes)
        pieces = []
        for _ in range(reader.number(2)):
            reader.number(index_bytes)
            start = base + reader.number(offset_bytes)
            pieces.append((start, reader.number(length_bytes)))
        if owner == item:
            return pieces[0] if len(pieces) == 1 and method == 0 else None
    return None
