"""One image or many, by name, and back as they came."""

import numpy as np
import pytest
import torch
from PIL import Image

from skiqa.degradations import degrade


def test_degrade_gives_back_what_it_got(photo_batch):
    array = (photo_batch[0].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)
    image = Image.fromarray(array)
    for name in ("white_noise", "jpeg", "gaussian_blur"):
        from_array = degrade(array, name, level=4, seed=3)
        assert from_array.shape == array.shape
        assert from_array.dtype == np.uint8
        from_image = degrade(image, name, level=4, seed=3)
        assert isinstance(from_image, Image.Image)
        np.testing.assert_array_equal(np.asarray(from_image), from_array)
        from_tensor = degrade(photo_batch[0], name, level=4, seed=3)
        assert from_tensor.shape == photo_batch[0].shape
        assert (
            from_tensor * 255 - torch.from_numpy(from_array).permute(2, 0, 1)
        ).abs().max() < 0.51
        pair = degrade([image, array], name, level=4, seed=2)
        np.testing.assert_array_equal(pair[1], from_array)
        floats = degrade(array / 255, name, level=4, seed=3)
        assert floats.dtype == np.float64
        np.testing.assert_allclose(floats, from_tensor.permute(1, 2, 0), atol=1e-6)


def test_degrade_takes_batches_and_grey_images(photo_batch):
    batch = degrade(photo_batch, "white_noise", seed=5)
    assert torch.equal(batch[1], degrade(photo_batch[1], "white_noise", seed=6))
    grey = degrade(Image.new("L", (20, 10), 90), "gaussian_blur")
    assert grey.mode == "RGB"
    assert grey.size == (20, 10)


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ("photo.jpg", TypeError),
        (np.zeros((8, 8), np.uint8), ValueError),
        (np.zeros((8, 8, 3), np.int32), TypeError),
        (np.full((8, 8, 3), 200.0), ValueError),
        (torch.full((3, 8, 8), -0.1), ValueError),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), TypeError),
    ],
)
def test_degrade_refuses_what_is_no_image(image, error):
    with pytest.raises(error):
        degrade(image, "jpeg")
