"""Which kinds of picture files there are, what reads each, and what to do where nothing does.

Kinds are told by a file's first bytes, never by its name. Imports nothing heavy.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Any, BinaryIO

from skiqa._inputs.headers import PNG_SIGNATURE
from skiqa.exceptions import ImageError

if TYPE_CHECKING:
    from PIL import Image

    from skiqa._types import Pixels

__all__ = ["EXTENSIONS", "camera_format", "check_readable", "develop", "open_image"]

_LOCK = threading.Lock()

_PILLOW = """.apng .avif .bmp .dib .gif .j2k .jfif .jp2 .jpe .jpeg .jpg .jpx .mpo .pbm .pgm .png
    .pnm .ppm .psd .qoi .tga .tif .tiff .webp"""
_CAMERA = """.3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .kdc .mef .mrw .nef .nrw .orf .pef .raf
    .rw2 .rwl .sr2 .srf .srw .x3f"""

# What a folder is searched for: all kinds of pictures. Those that cannot be read as things are
# become errors with a remedy. Files named one by one may have any extension.
READ_BY_PILLOW = frozenset(_PILLOW.split())  # which may be built without some of them
READ_BY_EXTRAS = frozenset({".heic", ".heif", ".hif", *_CAMERA.split()})
NOT_READ = frozenset({".exr", ".hdr", ".jxl", ".jxr", ".psb"})
EXTENSIONS = READ_BY_PILLOW | READ_BY_EXTRAS | NOT_READ

# By their first bytes: what says which camera format, and kinds that nothing here reads.
CAMERA_HEADS = {
    b"FUJIFILMCCD-RAW": "RAF",
    b"IIU\0": "RW2",
    b"IIRO": "ORF",
    b"IIRS": "ORF",
    b"MMOR": "ORF",
    b"\0MRM": "MRW",
    b"FOVb": "X3F",
    b"II\x1a\0\0\0HEAPCCDR": "CRW",
}
READ_HEADS = (b"\xff\xd8\xff", PNG_SIGNATURE, b"GIF8", b"RIFF")
OTHER_HEADS = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"II\xbc": "JPEG XR",
}
HEIF_BRANDS = frozenset(["heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs"])
HEAD_BYTES = 64

# Tags of TIFF 6.0, TIFF/EP and DNG
SUBFILE, PHOTOMETRIC, SUB_DIRECTORIES, DNG_VERSION = 254, 262, 330, 50706
REDUCED = 1  # the bit of NewSubfileType for a smaller copy of another picture
SRGB_CURVE = (2.4, 12.92)  # its power, and the slope at black
SENSOR = frozenset((32803, 34892))  # colour filter array, linear raw


def _brands(head: bytes) -> list[str]:
    """Return the brands of a file in the ISO base media format, the major one first."""
    if head[4:8] != b"ftyp":
        return []
    end = min(len(head), int.from_bytes(head[:4], "big"))
    names = [head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))]
    return [name.decode("latin-1") for name in names]


def camera_format(head: bytes) -> str | None:
    """Return the name of a camera's raw format by a file's first bytes; None: it is no such.

    Those that begin as any TIFF does are told in `open_image`.
    """
    if head[8:10] == b"CR" and head[:2] in (b"II", b"MM"):
        return "CR2"
    if "crx " in _brands(head)[:1]:
        return "CR3"
    return next((name for magic, name in CAMERA_HEADS.items() if head.startswith(magic)), None)


def check_readable(head: bytes) -> None:
    """Raise ImageError, kind "format", for a kind of picture that nothing here reads."""
    for magic, name in OTHER_HEADS.items():
        if head.startswith(magic):
            raise ImageError(
                f"this is {name}, which is not read: convert it to PNG or JPEG", kind="format"
            )


def open_image(file: BinaryIO) -> Image.Image | None:
    """Open a seekable file as a PIL image, undecoded; None: a camera's raw file, see `develop`.

    Raises
    ------
    ImageError
        Of the kind "format": a picture that is not read, or needs an extra.
    Exception
        Whatever Pillow raises.
    """
    from PIL import Image, UnidentifiedImageError, features

    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if camera_format(head):
        return None
    check_readable(head)
    brands = _brands(head)
    if HEIF_BRANDS.intersection(brands) and "avif" not in brands:
        return _open_heif(file)
    avif = "avif" in brands or "avis" in brands
    if avif and not features.check("avif"):
        message = "this Pillow does not read AVIF: pip install --upgrade pillow"
        raise ImageError(message, kind="format")
    try:
        image = Image.open(file, formats=pillow_formats())
    except UnidentifiedImageError as error:
        damaged = avif or head.startswith(READ_HEADS)
        if head.startswith((b"II*\0", b"MM\0*")):
            tags = _first_directory(file)
            if {DNG_VERSION, SUB_DIRECTORIES} & tags.keys() or tags.get(PHOTOMETRIC) in SENSOR:
                return None
            damaged = not tags
        if damaged:
            raise ImageError("the file is damaged where it begins", kind="damaged") from error
        raise
    return image if image.format != "TIFF" or _find_whole_page(image) else None


def pillow_formats() -> list[str]:
    """Pillow's formats but EPS: reading that starts Ghostscript on the program in the file."""
    from PIL import Image

    with _LOCK:
        # Pillow registers its plugins as it goes: in several threads one may miss those that
        # another is registering. After the first time this costs nothing.
        Image.init()
    return [name for name in Image.ID if name != "EPS"]


def _open_heif(file: BinaryIO) -> Image.Image:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise ImageError(
            "HEIC and HEIF files need an extra: pip install 'skiqa[heif]'", kind="format"
        ) from None
    return HeifImageFile(file)


def _find_whole_page(image: Image.Image) -> bool:
    """Turn a TIFF to its first page that is no reduced copy; False: it is a camera's raw file."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    if DNG_VERSION in tags:
        return False
    while tags_of(image).get(SUBFILE, 0) & REDUCED:
        try:
            image.seek(image.tell() + 1)
        except EOFError:
            break
    else:
        return True
    image.seek(0)
    if SUB_DIRECTORIES in tags:  # where NEF and its like keep what the sensor saw
        return False
    raise ImageError("the file holds only a thumbnail of the photo", kind="format")


def tags_of(image: Image.Image) -> dict[int, int]:
    """Return the tags of a TIFF's current page."""
    return getattr(image, "tag_v2", {})


def _first_directory(file: BinaryIO) -> dict[int, int]:
    """Return the tags of a TIFF's first directory, of each the first number or a place in the file.

    For TIFFs that Pillow cannot read. Empty where the file ends before.
    """
    file.seek(0)
    order = "<" if file.read(4)[:2] == b"II" else ">"
    file.seek(*struct.unpack(order + "I", file.read(4).ljust(4, b"\0")))
    (count,) = struct.unpack(order + "H", file.read(2).ljust(2, b"\0"))
    entries = file.read(12 * count)
    tags = {}
    for at in range(0, len(entries) - 11, 12):
        tag, kind = struct.unpack_from(order + "HH", entries, at)
        (tags[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), entries, at + 8)
    return tags


def _rawpy() -> Any:
    try:
        import rawpy
    except ImportError:
        raise ImageError(
            "a camera's raw files need an extra: pip install 'skiqa[raw]'", kind="format"
        ) from None
    return rawpy


def raw_size(file: BinaryIO) -> tuple[int, int]:
    """Return the (height, width) of a camera's raw file as `develop` makes it."""
    file.seek(0)
    with _rawpy().imread(file) as raw:
        sizes = raw.sizes
    sideways = sizes.flip in (5, 6)  # LibRaw's numbers for a quarter of a turn
    height, width = sizes.iheight, sizes.iwidth
    return (width, height) if sideways else (height, width)


def develop(file: BinaryIO, max_pixels: int | None) -> Pixels:
    """Develop a camera's raw file to RGB uint8 in sRGB, upright, by LibRaw with its own choices.

    White balance is the camera's. At half size, where that leaves twice `max_pixels`' sides.

    Raises
    ------
    ImageError
        Of the kind "format" without the extra, or for a camera that LibRaw does not know.
    """
    rawpy = _rawpy()
    file.seek(0)
    try:
        with rawpy.imread(file) as raw:
            size = raw.sizes.height * raw.sizes.width
            half = max_pixels is not None and size >= 16 * max_pixels
            pixels = raw.postprocess(use_camera_wb=True, half_size=half, gamma=SRGB_CURVE)
            return pixels if pixels.shape[2] == 3 else pixels[..., :1].repeat(3, axis=2)  # grey
    except rawpy.LibRawFileUnsupportedError as error:
        raise ImageError("LibRaw does not know this raw file", kind="format") from error
    except rawpy.LibRawError as error:
        raise ImageError(f"the raw file cannot be developed ({error})", kind="damaged") from error
