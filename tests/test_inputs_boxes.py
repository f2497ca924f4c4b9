"""What an AVIF's boxes say, made by hand after ISO/IEC 14496-12 and 23008-12; also what lies."""

import struct

import pytest

from skiqa._inputs.boxes import nclx, primary_data

ALL = 2**32 - 1
IPMA = bytes(4) + struct.pack(">IHBB", 1, 1, 1, 1)  # one item, 1: one property, the first
ILOC = bytes(4) + struct.pack(">HHHHHII", 0x4400, 1, 1, 0, 1, 100, 50)  # one piece


def box(name, *parts, size=None):
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body) if size is None else size, name) + body


def file(ipma=IPMA, iloc=ILOC, **size):
    color = box(b"colr", b"nclx", struct.pack(">HHHB", 9, 16, 9, 128))
    properties = box(b"iprp", box(b"ipco", color), box(b"ipma", ipma, **size))
    primary = box(b"pitm", bytes(4), struct.pack(">H", 1))
    return box(b"ftyp", b"avif") + box(b"meta", bytes(4), primary, box(b"iloc", iloc), properties)


def test_what_is_said():
    assert nclx(file()) == (9, 16)
    assert primary_data(file()) == (100, 50)


@pytest.mark.parametrize("size", [0, 1, 7, ALL])
def test_a_box_that_ends_nowhere_reaches_to_the_end(size):
    assert nclx(file(size=size)) == (9, 16)


@pytest.mark.parametrize(
    "ipma",
    [
        b"",
        IPMA[:-1],
        bytes(4) + struct.pack(">I", ALL),  # so many items: not to be counted through
        bytes(4) + struct.pack(">IHB", ALL, 2, 255),
        bytes(4) + struct.pack(">IHBB", 1, 1, 1, 0),  # no property
        bytes(4) + struct.pack(">IHBB", 1, 1, 1, 2),  # there is none of this number
        bytes(4) + struct.pack(">IHBB", 1, 2, 1, 1),  # of another item
    ],
)
def test_properties_that_are_not_there(ipma):
    assert nclx(file(ipma)) is None


@pytest.mark.parametrize(
    "iloc",
    [
        b"",
        ILOC[:-1],
        b"\2" + bytes(3) + struct.pack(">HI", 0x4400, ALL),
        bytes(4) + struct.pack(">HHHHH", 0x4400, 1, 1, 0, 65535),
        bytes(4) + struct.pack(">HHHHHIIII", 0x4400, 1, 1, 0, 2, 100, 25, 125, 25),  # two pieces
        b"\1" + bytes(3) + struct.pack(">HHHHHHII", 0x4400, 1, 1, 1, 0, 1, 0, 50),  # in "idat"
        bytes(4) + struct.pack(">HHHHHII", 0x4400, 1, 2, 0, 1, 100, 50),  # of another item
    ],
)
def test_data_that_lie_elsewhere(iloc):
    assert primary_data(file(iloc=iloc)) is None
