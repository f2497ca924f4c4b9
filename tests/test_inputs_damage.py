"""Damaged files that decode all the same are found, and whole ones are not called damaged."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.datasets import load_sample_images

from skiqa._inputs.decode import damage, to_rgb
from skiqa._inputs.images import ImageList
from skiqa.cli import main
from skiqa.exceptions import ImageError

END = {"JPEG": b"\xff\xd9", "PNG": b"\0\0\0\0IEND\xaeB`\x82", "GIF": b"\0;"}
LOOKED_AT = [
    ("JPEG", {"quality": 90}),
    ("JPEG", {"quality": 90, "progressive": True}),
    ("JPEG", {"quality": 90, "restart_marker_rows": 1}),
    ("PNG", {}),
    ("WEBP", {"quality": 85}),
    ("AVIF", {"quality": 80, "speed": 9}),
    ("TIFF", {"compression": "jpeg", "quality": 90}),
]
HOW = ["zeroed", "dropped", "cut", "closed"]


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(load_sample_images().images[1][40:290, 100:420])


def encode(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def hurt(data, how, at, format):
    return {
        "zeroed": data[:at] + bytes(512) + data[at + 512 :],
        "dropped": data[:at] + data[at + 512 :],
        "cut": data[:at],
        "closed": data[:at] + END.get(format, b""),
    }[how]


def skip_without(format):
    if format == "AVIF":
        pytest.importorskip("PIL._avif", reason="this Pillow does not read AVIF")


@pytest.mark.filterwarnings("ignore:.*EXIF")  # as Pillow calls the directory of a TIFF
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("format", "options"), LOOKED_AT)
def test_damage_is_found(format, options, how, photo):
    skip_without(format)
    data = encode(photo, format, **options)
    for part in (0.3, 0.5, 0.7):
        with pytest.raises(ImageError) as caught:
            to_rgb(hurt(data, how, int(part * len(data)), format), 20_000)
        assert caught.value.kind == "damaged"


@pytest.mark.parametrize(
    ("format", "options"),
    [
        *LOOKED_AT,
        ("JPEG", {"subsampling": "4:4:4"}),
        ("JPEG", {"subsampling": "4:2:2"}),
        ("JPEG", {"keep_rgb": True}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"quality": 5, "method": 0}),
        ("AVIF", {"quality": 30}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("GIF", {}),
        ("BMP", {}),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA"])
@pytest.mark.parametrize("size", [(320, 250), (200, 129), (17, 3), (1, 1)])
def test_whole_files_are_whole(format, options, mode, size, photo):
    skip_without(format)
    try:
        data = encode(photo.crop((0, 0, *size)).convert(mode), format, **options)
    except (OSError, ValueError, TypeError):
        pytest.skip(f"{format} is not written with {mode} of {size}")
    assert damage(data) is None
    to_rgb(data, 20_000)


@pytest.mark.parametrize("format", ["WEBP", "AVIF", "GIF", "PNG", "MPO"])
def test_several_frames(format, photo):
    """Whole they are whole; of those that are pictures of one photo the first one is looked at."""
    skip_without(format)
    data = encode(photo, format, save_all=True, append_images=[photo.rotate(90), photo.rotate(180)])
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert damage(data) is None
    if format == "MPO":
        with pytest.raises(ImageError, match="damaged"):
            to_rgb(hurt(data, "zeroed", len(data) // 6, format))


def test_bytes_behind_the_end_are_no_damage(photo):
    data = encode(photo, "JPEG") + b"a phone's video"
    assert damage(data) is None


def test_bytes_put_between_the_tables_of_a_jpeg(photo):
    """Warnings about a header are not warnings about pixels to TurboJPEG."""
    data = encode(photo, "JPEG")
    tables = data.index(b"\xff\xc4")
    with pytest.raises(ImageError, match="4 extraneous bytes before marker 0xc4"):
        to_rgb(data[:tables] + b"four" + data[tables:])


@pytest.mark.parametrize("lossless", [False, True])
def test_bytes_put_into_a_webp(photo, lossless):
    data = encode(photo, "WEBP", quality=85, lossless=lossless)
    middle, rng = len(data) // 2, np.random.default_rng(0)
    for length in (16, 64, 512):
        with pytest.raises(ImageError, match="damaged"):
            to_rgb(data[:middle] + rng.bytes(length) + data[middle:])
    assert damage(data + bytes(512)) is None  # the rest of a disk's block


def test_damage_in_front_of_notes(photo):
    """The shorter picture has to be as valid as it was, also where it ends on an odd byte."""
    exif = Image.Exif()
    exif[305] = "test"
    sizes = set()
    for width in range(120, 128):
        small = photo.crop((0, 0, width, 130))
        data = encode(small, "WEBP", lossless=True, exif=exif.tobytes())
        at = data.index(b"VP8L")
        sizes.add(data[at + 4] % 2)
        assert damage(data) is None
        with pytest.raises(ImageError, match="damaged"):
            to_rgb(data[: at + 5000] + bytes(64) + data[at + 5064 :])
    assert sizes == {0, 1}


def test_jpeg_of_a_kind_the_second_look_does_not_know(photo):
    """Sampling that TurboJPEG has no name for: 1 x 1, 2 x 1, 1 x 2."""
    data = bytearray(encode(photo.crop((0, 0, 16, 16)), "JPEG", subsampling="4:4:4"))
    frame = data.index(b"\xff\xc0")
    data[frame + 14] = 0x21
    data[frame + 17] = 0x12
    assert damage(bytes(data)) is None


def test_checksums_of_png():
    """Of the pixels' part one bit is enough; notes about the picture do not matter."""
    data = encode(Image.new("RGB", (9, 9)), "PNG")
    data = data[:-12] + b"\0\0\0\4tEXta\0me" + bytes(4) + data[-12:]
    start = data.index(b"IDAT")
    checksum = start + 4 + int.from_bytes(data[start - 4 : start], "big")
    assert damage(data) is None
    assert not to_rgb(data).any()
    wrong = bytearray(data)
    wrong[checksum] ^= 1
    assert "IDAT" in damage(bytes(wrong))
    with pytest.raises(ImageError, match="damaged"):
        to_rgb(bytes(wrong))


def test_damaged_photos_are_images_where_asked(photo, tmp_path):
    data = encode(photo, "JPEG", quality=90)
    hurt_data = hurt(data, "zeroed", len(data) // 2, "JPEG")
    (tmp_path / "a.jpg").write_bytes(hurt_data)
    pixels = np.asarray(Image.open(io.BytesIO(hurt_data)))
    for form in (hurt_data, tmp_path / "a.jpg", Image.open(io.BytesIO(hurt_data))):
        assert_array_equal(to_rgb(form, allow_damaged=True), pixels)
        with pytest.raises(ImageError, match=r"the file is damaged \(Corrupt JPEG data"):
            to_rgb(form)
        assert "Corrupt JPEG data" in damage(form)
    assert_array_equal(ImageList([hurt_data], allow_damaged=True).load(0), pixels)
    assert "Corrupt JPEG data" in ImageList([hurt_data]).damage(0)
    with pytest.raises(ImageError, match=r"X\[0\] = <\d+ bytes>: the file is damaged") as caught:
        ImageList([hurt_data]).load(0)
    assert caught.value.kind == "damaged"
    assert caught.value.reason.startswith("the file is damaged (Corrupt JPEG data")


def test_no_damage_is_known_of_pixels_and_of_what_does_not_open(photo):
    for image in (np.asarray(photo), photo, b"no image", "missing.jpg"):
        assert damage(image) is None


def test_database_photos_are_whole():
    root = Path(os.environ.get("SKIQA_DATA", Path(__file__).parents[1] / "../shared/data"))
    paths = sorted((root / "biq2021" / "images").glob("*.jpg"))[::200]
    if not paths:
        pytest.skip("SKIQA_DATA does not point to the databases")
    assert [damage(path) for path in paths] == [None] * len(paths)


def test_the_command_line_scores_damaged_photos_where_asked(photo, tmp_path):
    path = tmp_path / "a.jpg"
    data = encode(photo, "JPEG", quality=90)
    path.write_bytes(hurt(data, "zeroed", len(data) // 2, "JPEG"))
    rows = {}
    for options in ((), ("--allow-damaged",)):
        done = CliRunner().invoke(main, ["score", str(path), "--csv", "-", *options])
        rows[options] = done.stdout.splitlines()[1].split(",")
        assert done.exit_code == (not options)
    _, score, error, flags = rows[()]
    assert (score, flags) == ("", "damaged")
    assert "damaged" in error
    _, score, error, flags = rows[("--allow-damaged",)]
    assert np.isfinite(float(score))
    assert error == ""
    assert "damaged" in flags.split("; ")
