import io
import warnings

import numpy as np
import pytest
from made_files import png, tiff
from numpy.testing import assert_array_equal
from PIL import Image

from skiqa._inputs.decode import to_rgb

MAX_SAMPLE_VALUE = 281


@pytest.fixture
def picture():
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([4 * x, 5 * y, 2 * (x + y)], axis=2).clip(0, 255).astype(np.uint8)


def in_bits(picture, bits):
    return np.rint(picture / 255 * (2**bits - 1)).astype(np.uint16)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_files_that_say_how_many_bits_they_hold(bits, picture):
    values = in_bits(picture, bits)
    said = bytes([bits] * 3)
    assert_array_equal(to_rgb(png(values, sBIT=said)), picture)
    white = {MAX_SAMPLE_VALUE: [2**bits - 1] * 3}
    assert_array_equal(to_rgb(tiff(values, white)), picture)
    # what the PNG specification asks for: scaled to 16 bits, by zeros or by repetition
    for scaled in (values << (16 - bits), values << (16 - bits) | values >> (2 * bits - 16)):
        assert np.abs(to_rgb(png(scaled, sBIT=said)).astype(int) - picture).max() <= 1
    dark = values // 64 << (16 - bits)  # scaled, of a dark scene: not to be brightened
    assert_array_equal(to_rgb(png(dark, sBIT=said)), (dark.astype(int) + 128) // 257)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_where_nothing_says_it_there_is_a_warning(bits, picture, tmp_path):
    values = in_bits(picture, bits)
    grey = io.BytesIO()
    Image.fromarray(values[..., 1]).save(grey, "PNG")
    for form, largest in [
        (png(values), values.max()),
        (tiff(values), values.max()),
        (values, values.max()),
        (values[..., 1], values[..., 1].max()),
        (grey.getvalue(), values[..., 1].max()),
    ]:
        with pytest.warns(UserWarning, match=f"reach {largest}, and 65535 was taken for white"):
            assert to_rgb(form).max() == np.rint(largest / 257)
    (tmp_path / "a.png").write_bytes(png(values))
    with pytest.warns(UserWarning, match=r"16-bit values in '.*a\.png' reach"):
        to_rgb(tmp_path / "a.png")


def test_sixteen_bits_black_and_statistics_are_no_matter(picture):
    values = in_bits(picture, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for form in (png(values), tiff(values), tiff(values, {MAX_SAMPLE_VALUE: [65000] * 3})):
            assert_array_equal(to_rgb(form), picture)
        assert_array_equal(to_rgb(values), picture)
        assert to_rgb(np.zeros((4, 4), np.uint16)).max() == 0
        assert to_rgb(png(np.zeros((4, 4, 3), np.uint16))).max() == 0


def test_white_that_is_zero(picture):
    buffer = io.BytesIO()
    values = in_bits(picture[..., 0], 16)
    Image.fromarray(65535 - values).save(buffer, "TIFF", tiffinfo={262: 0})
    with Image.open(buffer) as image:
        if image.mode != "I;16" or image.tag_v2[262] != 0:
            pytest.skip("Pillow wrote it otherwise")
    assert_array_equal(to_rgb(buffer.getvalue())[..., 0], picture[..., 0])
