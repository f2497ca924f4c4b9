import io

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.datasets import load_sample_images

from skiqa._inputs.decode import to_rgb
from skiqa.exceptions import ImageError


@pytest.fixture(scope="module")
def photo():
    return load_sample_images().images[0][::4, ::4].copy()


def test_layouts_agree(photo):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(photo.copy())
    opaque = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    chw = tensor.permute(2, 0, 1)
    for form in (
        photo,
        photo[:, ::-1][:, ::-1],
        opaque,
        photo.tolist(),
        photo.astype(object),
        chw,
        chw.contiguous(),
        torch.from_numpy(opaque).permute(2, 0, 1),
        chw.double().div(255).requires_grad_(),
    ):
        assert_array_equal(to_rgb(form), photo)
    grey = photo[..., 0]
    for form in (grey, grey[..., None], tensor[..., 0], tensor[None, ..., 0]):
        assert_array_equal(to_rgb(form), np.dstack([grey] * 3))


def test_dtypes_agree():
    torch = pytest.importorskip("torch")
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = np.dstack([levels] * 3)
    for dtype in ("f2", "f4", "f8", "g"):
        assert_array_equal(to_rgb((levels / 255).astype(dtype)), expected)
    for dtype in ("i2", "u4", "i8", "u8", ">i4"):
        assert_array_equal(to_rgb(levels.astype(dtype)), expected)
    assert_array_equal(to_rgb(levels.astype(np.uint16) * 257), expected)
    assert_array_equal(to_rgb((levels.astype(">u2") * 257).astype(">u2")), expected)
    assert_array_equal(to_rgb(levels > 100), 255 * (expected > 100))
    assert_array_equal(to_rgb(torch.from_numpy(levels > 100)), 255 * (expected > 100))
    assert_array_equal(to_rgb(torch.from_numpy(levels / 255)), expected)
    half = to_rgb(torch.tensor([[0.0, 0.5], [1.0, 0.25]]).to(torch.bfloat16))
    assert_array_equal(half[..., 0], [[0, 128], [255, 64]])


def test_rounding_noise_about_the_unit_interval_is_forgiven():
    pixels = to_rgb(np.array([[np.float32(-1e-7), np.nextafter(np.float32(1), np.float32(2))]]))
    assert_array_equal(pixels[..., 0], [[0, 255]])


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.array([[0.0, 255.0]]), ValueError, r"found 0\.\.255; divide by 255"),
        (np.array([[-0.2, 1.0]]), ValueError, r"found -0\.2\.\.1$"),
        (np.array([[np.nan, 1.0]]), ValueError, "NaN or infinity"),
        (np.array([[np.inf, 1.0]]), ValueError, "NaN or infinity"),
        (np.array([[0, 256]]), ValueError, r"found 0\.\.256; pass 16-bit values as uint16"),
        (np.array([[-1, 3]], np.int8), ValueError, r"found -1\.\.3"),
        (np.array([[1j]]), TypeError, "real numbers"),
        (np.array([["a"]]), TypeError, "real numbers"),
        (np.array([["a"]], object), TypeError, "real numbers"),
        (np.zeros((3, 8, 8)), ValueError, r"\(h, w, c\) with c = 1, 3 or 4, not \(3, 8, 8\)"),
        (np.zeros(5), ValueError, r"not \(5,\)"),
        (np.zeros((2, 2, 2, 3)), ValueError, r"not \(2, 2, 2, 3\)"),
        (np.zeros((0, 4)), ImageError, "no pixels"),
        (np.zeros((4, 0, 3)), ImageError, "no pixels"),
        (Image.new("RGB", (0, 4)), ImageError, "no pixels"),
        (Image.new("RGBA", (4, 0)), ImageError, "no pixels"),
        (None, ImageError, "missing"),
        (float("nan"), ImageError, "missing"),
        (5, TypeError, "not int"),
        (io.BytesIO(b"abc"), TypeError, r"not BytesIO, pass its \.read\(\)"),
    ],
)
def test_what_is_no_image(array, error, message):
    with pytest.raises(error, match=message) as caught:
        to_rgb(array)
    assert type(caught.value) is error


def test_tensors_are_channels_first():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"a torch tensor is \(h, w\) or \(c, h, w\)"):
        to_rgb(torch.zeros(8, 8, 3))
    with pytest.raises(TypeError, match="real numbers"):
        to_rgb(torch.zeros(8, 8, dtype=torch.complex64))
