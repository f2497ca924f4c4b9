import io
import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image, ImageFile, ImageOps, PngImagePlugin
from sklearn.datasets import load_sample_images

from skiqa._inputs import decode as module
from skiqa._inputs import pil
from skiqa._inputs.decode import to_rgb
from skiqa.exceptions import ImageError


@pytest.fixture(scope="module")
def photo():
    return load_sample_images().images[0][::4, ::4].copy()


@pytest.fixture
def smooth():
    """A colour ramp, which lossy codecs keep well."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([4 * x, 5 * y, 2 * (x + y)], axis=2).clip(0, 255).astype(np.uint8)


def encode(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def forms(image, format, path, **options):
    """One image as bytes, as a file, as an opened and as a loaded PIL image."""
    data = encode(image, format, **options)
    path.write_bytes(data)
    loaded = Image.open(io.BytesIO(data))
    loaded.load()
    return data, str(path), path, Image.open(io.BytesIO(data)), loaded


LOSSLESS = ["PNG", "BMP", "TIFF", "PPM", "TGA", "SGI", "PCX"]
LOSSY = {"JPEG": 6, "WEBP": 12, "JPEG2000": 6, "AVIF": 12}


@pytest.mark.parametrize("format", LOSSLESS)
def test_lossless_formats_give_their_pixels(format, photo, tmp_path):
    for form in forms(Image.fromarray(photo), format, tmp_path / "a"):
        assert_array_equal(to_rgb(form), photo)


@pytest.mark.parametrize("format", LOSSY)
def test_lossy_formats_come_close(format, smooth, tmp_path):
    if format not in Image.SAVE and not (Image.init() or format in Image.SAVE):
        pytest.skip(f"this Pillow does not write {format}")
    first, *others = [
        to_rgb(f) for f in forms(Image.fromarray(smooth), format, tmp_path / "a", quality=95)
    ]
    assert first.shape == smooth.shape
    assert first.dtype == np.uint8
    assert np.abs(first.astype(int) - smooth).mean() < LOSSY[format]
    for other in others:
        assert_array_equal(other, first)


def test_progressive_jpeg_is_whole(photo):
    data = encode(Image.fromarray(photo), "JPEG", progressive=True, quality=90)
    plain = encode(Image.fromarray(photo), "JPEG", progressive=False, quality=90)
    assert_array_equal(to_rgb(data), to_rgb(plain))


def test_result_can_be_written_to_and_is_contiguous(photo):
    for form in (encode(Image.fromarray(photo), "PNG"), Image.fromarray(photo), photo.copy()):
        pixels = to_rgb(form)
        assert pixels.flags.writeable
        assert pixels.flags.c_contiguous
    frozen = photo.copy()
    frozen.setflags(write=False)
    assert to_rgb(frozen).flags.writeable


def test_copy_in_strips_is_exact(monkeypatch, photo):
    monkeypatch.setattr(pil, "STRIP_BYTES", 3 * photo.shape[1] * 7)
    assert len(photo) % 7 != 0
    assert_array_equal(to_rgb(Image.fromarray(photo)), photo)


# Colour modes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "LAB", "RGBX"])
def test_opaque_modes_follow_pillow(mode, photo):
    image = Image.fromarray(photo).convert(mode)
    assert_array_equal(to_rgb(image), np.asarray(image.convert("RGB")))


def test_cmyk_jpeg_is_not_inverted(smooth):
    """Adobe writes CMYK inverted; Pillow does as Adobe does, and undoes it when reading."""
    data = encode(Image.fromarray(smooth).convert("CMYK"), "JPEG", quality=95)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(to_rgb(data).astype(int) - smooth).mean() < 6


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bit_grey_is_rounded_and_not_clipped(format):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(ramp / 257).astype(np.uint8)
    for image in (to_rgb(encode(Image.fromarray(ramp), format)), to_rgb(Image.fromarray(ramp))):
        for channel in range(3):
            assert_array_equal(image[..., channel], expected)


@pytest.mark.parametrize("mode", ["I;16B", "I;16L"])
def test_sixteen_bit_byte_orders(mode):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    raw = ramp.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    image = Image.frombytes(mode, (256, 256), raw)
    expected = np.rint(ramp / 257).astype(np.uint8)
    assert_array_equal(to_rgb(image)[..., 0], expected)
    if mode == "I;16B":
        assert_array_equal(to_rgb(encode(image, "TIFF"))[..., 0], expected)


def test_transparent_sixteen_bit_grey_is_white():
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pixels = to_rgb(encode(Image.fromarray(ramp), "PNG", transparency=500))
    expected = np.rint(ramp / 257).astype(np.uint8)
    expected[ramp == 500] = 255
    assert_array_equal(pixels[..., 0], expected)


def test_integers_without_an_agreed_white_must_be_bytes():
    values = np.array([[0, 200], [255, 3]], np.int32)
    for form in (Image.fromarray(values), encode(Image.fromarray(values), "TIFF")):
        assert_array_equal(to_rgb(form)[..., 0], values)
    wide = Image.fromarray(values * 100)
    with pytest.raises(
        ValueError, match=r"0\.\.255, found 0\.\.25500; pass 16-bit values as uint16"
    ):
        to_rgb(wide)
    with pytest.raises(ImageError, match=r"found 0\.\.25500"):
        to_rgb(encode(wide, "TIFF"))


def test_float_images():
    values = np.array([[0, 0.5], [1, 0.25]], np.float32)
    for form in (Image.fromarray(values), encode(Image.fromarray(values), "TIFF")):
        assert_array_equal(to_rgb(form)[..., 0], [[0, 128], [255, 64]])
    with pytest.raises(ImageError, match="divide by 255"):
        to_rgb(encode(Image.fromarray(values * 255), "TIFF"))


@given(st.integers(0, 255), st.integers(0, 255))
@settings(max_examples=50)
def test_alpha_over_white_is_exact(colour, alpha):
    expected = round((colour * alpha + 255 * (255 - alpha)) / 255)
    rgba = np.full((2, 3, 4), [colour, colour, colour, alpha], np.uint8)
    rgba[0, 0] = 255  # one opaque pixel beside them
    pixels = to_rgb(rgba)
    assert_array_equal(pixels[1], expected)
    assert_array_equal(to_rgb(Image.fromarray(rgba)), pixels)
    assert_array_equal(to_rgb(encode(Image.fromarray(rgba), "PNG")), pixels)


def test_every_kind_of_transparency(photo):
    """Fully transparent turns white, opaque stays."""
    alpha = np.zeros(photo.shape[:2], np.uint8)
    alpha[:, 30:] = 255
    rgba = Image.fromarray(np.dstack([photo, alpha]))
    grey = rgba.convert("LA")
    palette = Image.fromarray(photo).quantize(200)
    palette_alpha = palette.convert("PA")
    palette_alpha.putalpha(Image.fromarray(alpha))
    for image, opaque in [
        (rgba, photo),
        (grey, np.asarray(grey.convert("RGBA"))[..., :3]),
        (rgba.convert("RGBa"), photo),
        (palette_alpha, np.asarray(palette.convert("RGB"))),
    ]:
        pixels = to_rgb(image)
        assert (pixels[:, :30] == 255).all(), image.mode
        assert_array_equal(pixels[:, 30:], opaque[:, 30:], err_msg=image.mode)
    premultiplied = Image.merge("LA", [Image.new("L", (4, 4), 50), Image.new("L", (4, 4), 100)])
    assert_array_equal(to_rgb(premultiplied.convert("La")), to_rgb(premultiplied))


@pytest.mark.parametrize("transparency", [7, bytes([0] * 7 + [0] + [255] * 248)])
def test_palette_transparency(transparency):
    indices = Image.fromarray(np.array([[7, 9]], np.uint8)).convert("P")
    indices.putpalette([v for i in range(256) for v in (i, 2 * i % 256, 3 * i % 256)])
    pixels = to_rgb(encode(indices, "PNG", transparency=transparency))
    assert_array_equal(pixels, [[[255, 255, 255], [9, 18, 27]]])


@pytest.mark.parametrize(
    ("mode", "colour", "key"), [("L", 7, 7), ("RGB", (1, 2, 3), (1, 2, 3)), ("L", 7, 8)]
)
def test_transparent_colour(mode, colour, key):
    pixels = to_rgb(encode(Image.new(mode, (2, 2), colour), "PNG", transparency=key))
    assert_array_equal(pixels[0, 0], 255 if colour == key else colour)


# Orientation, frames ------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(format, orientation, tmp_path):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255, 0, 0  # red in the top left corner
    upright[8:, 24:] = 0, 0, 255  # blue in the bottom right
    undo = {  # how the camera stored it
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a[::-1, ::-1].swapaxes(0, 1), 0),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    stored = Image.fromarray(np.ascontiguousarray(undo(upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif} | (
        {"quality": 95, "subsampling": 0} if format in ("JPEG", "MPO") else {}
    )
    options |= {"lossless": True} if format == "WEBP" else {}
    for form in forms(stored, format, tmp_path / "a", **options):
        pixels = to_rgb(form)
        assert pixels.shape == upright.shape
        assert np.abs(pixels.astype(int) - upright).max() < 30


def test_damaged_exif_leaves_the_pixels(photo, monkeypatch):
    data = encode(Image.fromarray(photo), "PNG", exif=b"Exif\x00\x00this is no TIFF header")
    assert_array_equal(to_rgb(data), photo)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_first_frame_of_several(format, tmp_path):
    frames = [Image.new("RGB", (40, 24), colour) for colour in ("red", "lime", "blue")]
    options = {"save_all": True, "append_images": frames[1:]}
    data, *others = forms(frames[0], format, tmp_path / "a", **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    for form in (data, *others):
        assert np.abs(to_rgb(form).astype(int) - [255, 0, 0]).max() < 5


def test_frame_the_caller_chose_is_kept():
    frames = [Image.new("RGB", (40, 24), colour) for colour in ("red", "lime")]
    image = Image.open(
        io.BytesIO(encode(frames[0], "TIFF", save_all=True, append_images=frames[1:]))
    )
    image.seek(1)
    assert_array_equal(to_rgb(image)[0, 0], [0, 255, 0])


# PIL images the caller holds ----------------------------------------------------------------------


def test_opened_image_stays_undecoded(photo):
    image = Image.open(io.BytesIO(encode(Image.fromarray(photo), "PNG")))
    assert_array_equal(to_rgb(image), photo)
    assert image.tile  # not loaded
    assert_array_equal(to_rgb(image), photo)
    assert_array_equal(np.asarray(image), photo)  # and still loadable


def test_palette_and_info_of_the_caller_stay():
    image = Image.fromarray(np.array([[7, 9]], np.uint8)).convert("P")
    image.info["transparency"] = bytes([255] * 7 + [0])
    before = image.getpalette("RGBA")
    assert_array_equal(to_rgb(image)[0, 0], 255)
    assert image.getpalette("RGBA") == before
    assert image.info["transparency"] == bytes([255] * 7 + [0])
    assert image.mode == "P"


def test_draft_and_edited_exif_are_respected(smooth):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.fromarray(smooth), "JPEG", exif=exif)
    drafted = Image.open(io.BytesIO(data))
    drafted.draft("RGB", (32, 24))
    assert to_rgb(drafted).shape == (32, 24, 3)
    edited = Image.open(io.BytesIO(data))
    edited.getexif()[0x0112] = 1
    assert to_rgb(edited).shape == smooth.shape


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "GIF"])
def test_one_object_in_many_threads(format, smooth):
    data = encode(Image.fromarray(smooth), format)
    expected = to_rgb(data)
    image, results = Image.open(io.BytesIO(data)), []
    threads = [threading.Thread(target=lambda: results.append(to_rgb(image))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for result in results:
        assert_array_equal(result, expected)


def test_closed_image_is_an_image_error(photo):
    image = Image.open(io.BytesIO(encode(Image.fromarray(photo), "PNG")))
    image.close()
    with pytest.raises(ImageError):
        to_rgb(image)


# Damage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "format", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF"]
)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.7, 0.95])
def test_truncated_files_are_image_errors(format, kept, photo, tmp_path):
    data = encode(Image.fromarray(photo), format)
    path = tmp_path / "a"
    path.write_bytes(data[: max(1, int(kept * len(data)))])
    for form in (path, path.read_bytes()):
        with pytest.raises(ImageError) as caught:
            to_rgb(form)
        assert isinstance(caught.value.__cause__, Exception)


def test_truncated_says_so(photo):
    data = encode(Image.fromarray(photo), "JPEG")
    with pytest.raises(ImageError, match="the file is truncated"):
        to_rgb(data[: len(data) // 2])
    with pytest.raises(ImageError, match="the file is truncated"):
        to_rgb(Image.open(io.BytesIO(data[: len(data) // 2])))
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@given(st.data())
@settings(max_examples=60)
def test_noise_in_a_file_is_pixels_or_an_image_error(data):
    image = Image.fromarray(np.arange(768, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3))
    format = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM"]))
    raw = bytearray(encode(image, format))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(2, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # its warning is not the matter here
        patch.setattr(Image, "_decompression_bomb_check", _small)
        try:
            pixels = to_rgb(bytes(raw))
        except (ImageError, Warning):  # Pillow's warnings are errors in this suite
            return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3


def _small(size):
    if size[0] * size[1] > 1_000_000:
        raise Image.DecompressionBombError("too big for this test")


def test_unreadable_files_say_why(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("this is a letter, not a photograph\n" * 20)
    for name, message in [
        ("missing.jpg", "there is no such file"),
        ("empty.jpg", "the file is empty"),
        ("text.jpg", "not an image in a format that Pillow can read"),
        ("text.jpg/x.jpg", "there is no such file"),
        (".", "this is a directory"),
        ("null\0byte", "null"),
    ]:
        with pytest.raises(ImageError, match=message):
            to_rgb(str(tmp_path / name))
    with pytest.raises(ImageError, match="there are no bytes"):
        to_rgb(b"")
    with pytest.raises(ImageError, match="bytes are an encoded file; a path is a str"):
        to_rgb(b"photos/a.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="not a regular file"):
        to_rgb(tmp_path / "pipe")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything"
)
def test_permission_denied(tmp_path, photo):
    path = tmp_path / "a.png"
    path.write_bytes(encode(Image.fromarray(photo), "PNG"))
    path.chmod(0)
    with pytest.raises(ImageError, match="permission"):
        to_rgb(path)


def test_permission_denied_whoever_runs_the_test(tmp_path, photo, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encode(Image.fromarray(photo), "PNG"))

    def denied(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "open", denied, raising=False)
    with pytest.raises(ImageError, match="permission to read the file is denied"):
        to_rgb(path)


def test_postscript_is_not_run():
    with pytest.raises(ImageError, match="not an image"):
        to_rgb(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")


def test_pillows_limits_stand(photo, monkeypatch):
    data = encode(Image.fromarray(photo), "PNG")
    pixels = photo.shape[0] * photo.shape[1]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        assert_array_equal(to_rgb(data), photo)
    with pytest.raises(Image.DecompressionBombWarning):  # a warning made an error stays itself
        to_rgb(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels // 2 - 1)
    with pytest.raises(ImageError, match="MAX_IMAGE_PIXELS") as caught:
        to_rgb(data)
    assert isinstance(caught.value.__cause__, Image.DecompressionBombError)


def test_decoder_out_of_memory(photo, monkeypatch):
    def exhausted(self):
        raise MemoryError

    data = encode(Image.fromarray(photo), "PNG")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", exhausted)
    with pytest.raises(ImageError, match="memory"):
        to_rgb(data)


def test_exif_transpose_of_pillow_agrees(photo):
    """The table of transpositions is Pillow's own."""
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.open(io.BytesIO(encode(Image.fromarray(photo), "PNG", exif=exif)))
        assert_array_equal(to_rgb(image), np.asarray(ImageOps.exif_transpose(image)))
