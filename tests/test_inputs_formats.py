"""Phone and camera files, and pages that are no photo."""

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
from made_files import dng
from numpy.testing import assert_array_equal
from PIL import Image, TiffImagePlugin

from skiqa._inputs.decode import footprint, to_rgb, upright_size
from skiqa._inputs.formats import EXTENSIONS
from skiqa.exceptions import ImageError


@pytest.fixture(scope="module")
def smooth():
    y, x = np.mgrid[0:96, 0:128]
    return np.stack([2 * x, 2.5 * y, x + y], axis=2).clip(0, 255).astype(np.uint8)


def refusal(data):
    with pytest.raises(ImageError) as caught:
        to_rgb(data)
    return caught.value


def heic(pixels, **options):
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(buffer, quality=95, **options)
    return buffer.getvalue()


def linear(pixels):
    code = pixels / 255
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def test_heic(smooth, tmp_path):
    data = heic(smooth)
    (tmp_path / "a.HEIC").write_bytes(data)
    for form in (data, tmp_path / "a.HEIC"):
        assert np.abs(to_rgb(form).astype(int) - smooth).mean() < 3
    assert to_rgb(data, 3072).shape == (48, 64, 3)
    assert upright_size(tmp_path / "a.HEIC") == (96, 128)
    assert 96 * 128 * 4 <= footprint(data) <= 96 * 128 * 10
    assert refusal(data[: len(data) // 2]).kind == "damaged"


# A process begins with the peak of the one that it was split from: LAUNCHER stands between. The
# small file loads what decoding needs.
LAUNCHER = """
import subprocess, sys
subprocess.run([sys.executable, "-c", *sys.argv[1:]], check=True)
"""
PEAK = """
import resource, sys
from skiqa._inputs.decode import to_rgb

peaks = []
for path in sys.argv[1:]:
    to_rgb(path, 65_536)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((peaks[1] - peaks[0]) * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource is of POSIX")
@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {}),
        ("PNG", {"compress_level": 1}),
        ("TIFF", {}),
        ("AVIF", {"speed": 10}),
        ("WEBP", {"method": 0}),
        ("WEBP", {"method": 0, "lossless": True, "quality": 0}),
    ],
)
def test_bytes_in_flight_are_no_fewer_than_decoding_takes(smooth, tmp_path, format, options):
    """8 a pixel were counted of every format; lossless WebPs take 25."""
    paths = [tmp_path / "small", tmp_path / "large"]
    for path, size in zip(paths, [(128, 96), (2048, 1536)], strict=True):
        Image.fromarray(smooth).resize(size).save(path, format, **options)
    command = [sys.executable, "-c", LAUNCHER, PEAK, *map(str, paths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) <= footprint(paths[1], 65_536) <= 2048 * 1536 * 25


def test_heic_without_the_extra_names_it(smooth, monkeypatch):
    data = heic(smooth)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    error = refusal(data)
    assert error.kind == "format"
    assert error.reason == "HEIC and HEIF files need an extra: pip install 'skiqa[heif]'"


def test_reading_heic_registers_nothing(smooth):
    to_rgb(heic(smooth))
    assert not {"HEIF", "HEIC"} & set(Image.ID)


@pytest.mark.parametrize("thumbnail", [None, np.full((12, 16, 3), 200, np.uint8)])
def test_raw(thumbnail, smooth, tmp_path):
    pytest.importorskip("rawpy")
    data = dng(linear(smooth), thumbnail=thumbnail)
    (tmp_path / "a.dng").write_bytes(data)
    for form in (data, tmp_path / "a.dng"):
        pixels = to_rgb(form)
        inner = np.s_[8:-8, 8:-8]  # LibRaw guesses at the borders, and lets one percent be white
        assert np.abs(pixels[inner].astype(int) - smooth[inner]).mean() < 4
    assert to_rgb(data, 192).shape == (12, 16, 3)
    assert upright_size(tmp_path / "a.dng") == (96, 128)
    assert footprint(data) > 96 * 128 * 8


def test_a_camera_without_colours(smooth):
    """As LibRaw develops it, a picture of one channel."""
    pytest.importorskip("rawpy")
    filtered, linear_raw = (struct.pack("<HHII", 262, 3, 1, kind) for kind in (32803, 34892))
    data = dng(linear(smooth))
    assert filtered in data
    pixels = to_rgb(data.replace(filtered, linear_raw))
    assert pixels.shape == smooth.shape
    assert (pixels == pixels[..., :1]).all()
    assert pixels.std() > 10


@pytest.mark.parametrize("thumbnail", [None, np.full((12, 16, 3), 200, np.uint8)])
def test_raw_without_the_extra_names_it(thumbnail, smooth, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    error = refusal(dng(linear(smooth), thumbnail=thumbnail))
    assert error.kind == "format"
    assert error.reason == "a camera's raw files need an extra: pip install 'skiqa[raw]'"


@pytest.mark.parametrize(
    "head",
    [
        b"II*\0\x10\0\0\0CR\x02\0",
        b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom",
        b"FUJIFILMCCD-RAW 0201",
        b"IIU\0\x18\0\0\0",
        b"IIRO\x08\0\0\0",
        b"\0MRM\0\0\0\0",
    ],
    ids=["CR2", "CR3", "RAF", "RW2", "ORF", "MRW"],
)
def test_cameras_are_known_by_the_first_bytes(head, monkeypatch):
    pytest.importorskip("rawpy")
    assert refusal(head.ljust(2000, b"\0")).kind in ("format", "damaged")
    monkeypatch.setitem(sys.modules, "rawpy", None)
    assert "skiqa[raw]" in refusal(head.ljust(2000, b"\0")).reason


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"v/1\x01", "OpenEXR"),
        (b"#?RADIANCE\n", "Radiance HDR"),
    ],
)
def test_kinds_that_nothing_reads_say_so(head, name):
    error = refusal(head.ljust(500, b"\1"))
    assert error.kind == "format"
    assert error.reason == f"this is {name}, which is not read: convert it to PNG or JPEG"


def test_avif_where_pillow_lacks_it(smooth, monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    error = refusal(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(100))
    assert (error.kind, "pip install" in error.reason) == ("format", True)


# Pages of TIFFs -----------------------------------------------------------------------------------


def pages(*images):
    """A TIFF of (image, tags) each."""
    buffer = io.BytesIO()
    with TiffImagePlugin.AppendingTiffWriter(buffer, True) as writer:
        for image, tags in images:
            image.save(writer, format="TIFF", tiffinfo=tags)
            writer.newFrame()
    return buffer.getvalue()


def test_thumbnail_before_the_photo(smooth, tmp_path):
    photo = Image.fromarray(smooth)
    data = pages((photo.resize((16, 12)), {254: 1}), (photo, {254: 0}))
    with Image.open(io.BytesIO(data)) as image:
        assert (image.size, image.n_frames) == ((16, 12), 2)
    (tmp_path / "a.tif").write_bytes(data)
    for form in (data, tmp_path / "a.tif", Image.open(io.BytesIO(data))):
        assert_array_equal(to_rgb(form), smooth)
    assert upright_size(tmp_path / "a.tif") == (96, 128)


def test_thumbnail_alone_is_no_photo(smooth):
    error = refusal(pages((Image.fromarray(smooth), {254: 1})))
    assert (error.kind, error.reason) == ("format", "the file holds only a thumbnail of the photo")


def test_first_of_pages_stays(smooth):
    data = pages((Image.fromarray(smooth), {254: 2}), (Image.new("RGB", (9, 9)), {254: 2}))
    assert_array_equal(to_rgb(data), smooth)


# Errors -------------------------------------------------------------------------------------------


def test_errors_say_their_kind(tmp_path, smooth):
    buffer = io.BytesIO()
    Image.fromarray(smooth).save(buffer, "JPEG")
    data = buffer.getvalue()
    (tmp_path / "empty.jpg").touch()
    for form, kind, reason in [
        (None, "missing", "the value is missing"),
        (tmp_path / "no.jpg", "missing", "there is no such file"),
        (tmp_path, "unreadable", "this is a directory, pass the paths of the files in it"),
        (tmp_path / "empty.jpg", "damaged", "the file is empty"),
        (b"hello", "format", "this is not an image in a format that Pillow can read"),
        (data[: len(data) // 2], "damaged", "the file is truncated"),
        (data[:3] + b"no JPEG", "damaged", "the file is damaged"),
        (np.zeros((0, 4)), "damaged", "the image has no pixels"),
    ]:
        error = refusal(form)
        assert error.kind == kind, form
        assert error.reason.startswith(reason)


def test_all_kinds_of_picture_files_are_found():
    phones, cameras = {".heic", ".heif", ".avif"}, {".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf"}
    assert phones | cameras | {".jxl", ".jpg", ".png", ".tif", ".orf", ".rw2"} <= EXTENSIONS
