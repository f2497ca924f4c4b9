import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

from skiqa._inputs.resizing import pad_for_network, pad_to, resize


def test_resize_is_pillows(small_photos):
    height, width = small_photos[0].shape[:2]
    expected = Image.fromarray(small_photos[0]).resize((width // 2, height // 2), Image.BICUBIC)
    resized = resize(small_photos[0], 0.5)
    assert_array_equal(resized, np.asarray(expected))
    assert resized.flags.writeable
    assert resize(small_photos[0], 1) is small_photos[0]
    assert resize(small_photos[0], 1.0) is small_photos[0]
    assert resize(small_photos[0][:1, :3], 0.5).shape == (1, 1, 3)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 30))
@settings(max_examples=50)
def test_pad_reflects_on_both_sides(height, width, minimum):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    padded = pad_to(image, minimum)
    assert padded.shape == (max(height, minimum), max(width, minimum), 3)
    top, left = (max(0, minimum - side) // 2 for side in (height, width))
    assert_array_equal(padded[top : top + height, left : left + width], image)
    if width > 1 and left > 0:
        assert_array_equal(padded[top, left - 1], image[0, 1])
    if width == 1:
        assert (padded == padded[:, :1]).all()
    if height >= minimum and width >= minimum:
        assert padded is image


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30))
@settings(max_examples=50)
def test_pad_for_network_reflects_behind_the_image(height, width, multiple):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    padded = pad_for_network(image, multiple, "stages")
    assert [side % multiple for side in padded.shape[:2]] == [0, 0]
    assert max(padded.shape[0] - height, padded.shape[1] - width) < multiple
    assert_array_equal(padded[:height, :width], image)
    if height % multiple == width % multiple == 0:
        assert padded is image
    elif height % multiple and height > 1:
        assert_array_equal(padded[height, :width], image[height - 2])


def test_the_papers_pad_only_what_is_shorter_than_the_stride(small_photos):
    photo = small_photos[0]
    assert pad_for_network(photo, 32, "avg") is photo
    assert pad_for_network(photo[:20], 32, "avg").shape == (32, *photo.shape[1:])
