"""Files that Pillow does not write, as small as they can be: raw, 16-bit colour, profiles."""

import struct
import zlib

import numpy as np

BYTE, ASCII, SHORT, LONG, RATIONAL, SIGNED_RATIONAL = 1, 2, 3, 4, 5, 10

# From CIE XYZ to linear sRGB, in ten thousandths: this camera sees with sRGB's primaries.
XYZ_TO_CAMERA = [32406, -15372, -4986, -9689, 18758, 415, 557, -2040, 10570]


BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))


def dng(linear, *, thumbnail=None):
    """Return a DNG of linear light (h, w, 3) in [0, 1], seen through a Bayer filter.

    With a thumbnail (h, w, 3), uint8, that is the first directory, as in the files of cameras.
    """
    sensor = linear[..., 1].copy()
    sensor[::2, ::2], sensor[1::2, 1::2] = linear[::2, ::2, 0], linear[1::2, 1::2, 2]
    height, width = sensor.shape
    data = np.rint(sensor * 65535).astype("<u2").tobytes()
    entries = {
        254: (LONG, [0]),
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [16]),
        259: (SHORT, [1]),
        262: (SHORT, [32803]),
        277: (SHORT, [1]),
        278: (LONG, [height]),
        279: (LONG, [len(data)]),
        33421: (SHORT, [2, 2]),
        33422: (BYTE, [0, 1, 1, 2]),
    }
    camera = {
        271: (ASCII, b"skiqa\0"),
        272: (ASCII, b"test\0"),
        50706: (BYTE, [1, 4, 0, 0]),
        50708: (ASCII, b"skiqa test\0"),
        50721: (SIGNED_RATIONAL, [v for n in XYZ_TO_CAMERA for v in (n, 10000)]),
        50728: (RATIONAL, [1, 1] * 3),
        50778: (SHORT, [21]),
    }
    parts = [b"II*\0", struct.pack("<I", 8 + len(data)), data]
    at = 8 + len(data)
    if thumbnail is None:
        return b"".join([*parts, _directory(entries | camera | {273: (LONG, [8])}, at)])
    small = {
        254: (LONG, [1]),
        256: (LONG, [thumbnail.shape[1]]),
        257: (LONG, [thumbnail.shape[0]]),
        258: (SHORT, [8, 8, 8]),
        259: (SHORT, [1]),
        262: (SHORT, [2]),
        273: (LONG, [0]),
        277: (SHORT, [3]),
        278: (LONG, [thumbnail.shape[0]]),
        279: (LONG, [thumbnail.size]),
        330: (LONG, [0]),
    }
    first = len(_directory(small | camera, at))
    small[330] = (LONG, [at + first])
    inner = _directory(entries | {273: (LONG, [8])}, at + first)
    small[273] = (LONG, [at + first + len(inner)])
    return b"".join([*parts, _directory(small | camera, at), inner, thumbnail.tobytes()])


def tiff(values, entries=None):
    """Return a TIFF of uint16 colours (h, w, 3), with more entries: tag -> numbers (LONG)."""
    height, width, channels = values.shape
    data = values.astype("<u2").tobytes()
    known = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [16] * channels),
        259: (SHORT, [1]),
        262: (SHORT, [2]),
        273: (LONG, [8]),
        277: (SHORT, [channels]),
        278: (LONG, [height]),
        279: (LONG, [len(data)]),
    }
    more = {tag: (LONG, value) for tag, value in (entries or {}).items()}
    at = 8 + len(data)
    return b"II*\0" + struct.pack("<I", at) + data + _directory(known | more, at)


def png(values, **chunks):
    """Return a PNG of colours (h, w, 3), uint8 or uint16, with more chunks before its pixels."""
    height, width, _ = values.shape
    big = values.astype(f">u{values.itemsize}")
    rows = b"".join(b"\0" + row.tobytes() for row in big)
    head = struct.pack(">IIBBBBB", width, height, 8 * values.itemsize, 2, 0, 0, 0)
    parts = {"IHDR": head, **chunks, "IDAT": zlib.compress(rows), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts.items())


def _chunk(name, data):
    body = name.encode() + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


# Profiles -----------------------------------------------------------------------------------------

D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def rgb_to_xyz(corners, white=(0.3127, 0.3290)):
    """Return the matrix from linear RGB with these chromaticities to CIE XYZ."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in (*corners, white)]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


def pq(nits):
    """SMPTE ST 2084, the inverse EOTF."""
    power = (nits / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def hlg(nits):
    """ITU-R BT.2100: the inverse OOTF of a display of 1,000 cd/m², then the OETF."""
    luminance = (nits / 1000 @ rgb_to_xyz(BT2020)[1])[..., None]
    scene = nits / 1000 * np.maximum(luminance, 1e-9) ** (-0.2 / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    upper = a * np.log(np.maximum(12 * scene - b, 1e-9)) + c
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), upper)


def rgb_profile(corners, gamma):
    """Return an ICC profile (v2) of RGB with these chromaticities, D65, and a power curve."""
    to_xyz = rgb_to_xyz(corners)
    there, here = BRADFORD @ D50, BRADFORD @ to_xyz.sum(axis=1)
    adapted = np.linalg.inv(BRADFORD) @ np.diag(there / here) @ BRADFORD @ to_xyz
    tags = {f"{c}XYZ": _xyz(adapted[:, n]) for n, c in enumerate("rgb")}
    return _profile("RGB ", "mntr", "XYZ ", tags | {f"{c}TRC": _curve(gamma) for c in "rgb"})


def grey_profile(gamma):
    """Return an ICC profile (v2) of grey with a power curve."""
    return _profile("GRAY", "mntr", "XYZ ", {"kTRC": _curve(gamma)})


def cmyk_profile(paper):
    """Return an ICC profile (v2) of CMYK, of which all inks make black, on paper of a CIE Lab."""
    inks = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(16, 4)
    left = np.clip(1 - inks[:, :3].mean(axis=1) - inks[:, 3], 0, 1)
    lab = left[:, None] * np.array(paper)
    table = np.rint(lab * [255 / 100, 1, 1] + [0, 128, 128]).clip(0, 255).astype(np.uint8)
    identity = struct.pack(">9i", *[v * 65536 for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)])
    line = bytes(range(256))
    lut = b"mft1" + bytes([0, 0, 0, 0, 4, 3, 2, 0]) + identity
    lut += line * 4 + table.tobytes() + line * 3
    return _profile("CMYK", "prtr", "Lab ", {"A2B0": lut})


def _xyz(values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *np.rint(np.asarray(values) * 65536).astype(int))


def _curve(gamma):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def _profile(space, kind, connection, tags):
    name = b"made for a test\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(80)
    tags = tags | {"desc": text, "wtpt": _xyz(D50)}
    table, data, at = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        value += bytes(-len(value) % 4)
        table += tag.encode() + struct.pack(">II", at + len(data), len(value))
        data += value
    size = 128 + len(table) + len(data)
    head = struct.pack(">I4xI", size, 0x02400000) + f"{kind}{space}{connection}".encode()
    head += bytes(12) + b"acsp" + bytes(28) + _xyz(D50)[8:]
    return head.ljust(128, b"\0") + table + data


# Directories --------------------------------------------------------------------------------------


def _directory(entries, at):
    """Return a directory of TIFF that begins at a byte of the file, its values behind it."""
    codes = {BYTE: "B", SHORT: "H", LONG: "I", RATIONAL: "I", SIGNED_RATIONAL: "i"}
    head = struct.pack("<H", len(entries))
    values, where = b"", at + 2 + 12 * len(entries) + 4
    for tag, (kind, value) in sorted(entries.items()):
        data = value if kind == ASCII else struct.pack(f"<{len(value)}{codes[kind]}", *value)
        count = len(value) // 2 if kind in (RATIONAL, SIGNED_RATIONAL) else len(value)
        if len(data) > 4:
            field = struct.pack("<I", where + len(values))
            values += data + b"\0" * (len(data) % 2)
        else:
            field = data.ljust(4, b"\0")
        head += struct.pack("<HHI", tag, kind, count) + field
    return head + struct.pack("<I", 0) + values
