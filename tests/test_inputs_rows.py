import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skiqa._inputs.containers import as_image_list
from skiqa._inputs.rows import rows_as_images


def test_plain_rows_span_the_range():
    rows = np.array([[-3, 102, 49.5], [7, 7, 7], [1e-30, 3e-30, 2e-30]], np.float32)
    images = rows_as_images(rows)
    expected = [[0, 255, 128], [0, 0, 0], [0, 255, 128]]
    for i in range(3):
        assert images.load(i).shape == (1, 3, 3)
        assert_array_equal(images.load(i)[0, :, 0], expected[i])
    assert_array_equal(as_image_list(rows).load(0), images.load(0))
    wide = np.array([[-1.7e308, 1.7e308, 0]])
    assert_array_equal(rows_as_images(wide).load(0)[0, :, 0], [0, 255, 128])


def test_rows_must_be_finite():
    with pytest.raises(ValueError, match=r"X\[1\] contains NaN or infinity"):
        rows_as_images(np.array([[1.0, 2.0], [np.nan, 1.0]]))
    with pytest.raises(ValueError, match=r"0 feature\(s\) \(shape=\(2, 0\)\)"):
        rows_as_images(np.zeros((2, 0)))
    with pytest.raises(ValueError, match="2-D array of numbers, not 2-D of object"):
        rows_as_images(np.array([[1, {}]], object))


def test_rows_are_pixels_with_a_shape(small_photos):
    small = small_photos[0][:6, :5]
    for rows in (
        small.reshape(1, -1),
        small.reshape(1, -1) / 255,
        small.reshape(1, -1).astype(int),
    ):
        assert_array_equal(rows_as_images(rows, (6, 5, 3)).load(0), small)
    grey = rows_as_images(small[..., 0].reshape(1, -1), image_shape=(6, 5)).load(0)
    assert_array_equal(grey, np.dstack([small[..., 0]] * 3))
    with pytest.raises(
        ValueError, match=r"image_shape=\(8, 8\) takes 64 values, but X has 90 features"
    ):
        rows_as_images(small.reshape(1, -1), (8, 8))
    with pytest.raises(ValueError, match="c = 1, 3 or 4"):
        rows_as_images(small.reshape(1, -1), (9, 5, 2))
    with pytest.raises(ValueError, match=r"found 0\.\.16; divide by"):
        rows_as_images(np.array([[0.0, 16.0]]), (1, 2)).load(0)
