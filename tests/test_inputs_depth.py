import io
import tracemalloc
import warnings

import numpy as np
import pytest
from made_files import png, tiff
from numpy.testing import assert_array_equal
from PIL import Image

from skiqa._inputs.decode import to_rgb
from skiqa._inputs.depth import STRIP, to_eight_bits

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


def test_twelve_bits_in_a_byte_and_a_half(picture):
    values = in_bits(picture[..., 0], 12).reshape(-1, 2)
    first, second = values.T.astype(np.uint16)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
    data = packed.astype(np.uint8).reshape(48, 96).view("<u2")[..., None]
    grey = tiff(data, {256: [64], 258: [12], 262: [1]})
    assert_array_equal(to_rgb(grey), np.dstack([picture[..., 0]] * 3))


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_where_nothing_says_it_there_is_a_warning(bits, picture, tmp_path):
    values = in_bits(picture, bits)
    grey = io.BytesIO()
    Image.fromarray(values[..., 1]).save(grey, "PNG")
    dim = values - values // 50  # the largest is a statistic, and no white
    for form, largest in [
        (png(values), values.max()),
        (tiff(values), values.max()),
        (values, values.max()),
        (tiff(dim, {MAX_SAMPLE_VALUE: [int(dim.max())] * 3}), dim.max()),
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


def test_no_wide_copies_of_all_values(picture):
    """A photo of 108 megapixels and 12 bits took six gigabytes."""
    values = np.tile(in_bits(picture, 12), (16, 16, 1))
    expected = np.tile(picture, (16, 16, 1))
    tracemalloc.start()
    try:
        pixels = to_eight_bits(values, 4095)
        assert tracemalloc.get_traced_memory()[1] < 2 * expected.nbytes + 8 * STRIP + 2**21
        assert_array_equal(pixels, expected)
    finally:
        tracemalloc.stop()


def test_white_that_is_zero(picture):
    buffer = io.BytesIO()
    values = in_bits(picture[..., 0], 16)
    Image.fromarray(65535 - values).save(buffer, "TIFF", tiffinfo={262: 0})
    with Image.open(buffer) as image:
        if image.mode != "I;16" or image.tag_v2[262] != 0:
            pytest.skip("Pillow wrote it otherwise")
    assert_array_equal(to_rgb(buffer.getvalue())[..., 0], picture[..., 0])
