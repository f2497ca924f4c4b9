"""Colour: against colorsys and the conversions."""

import colorsys

import numpy as np
import pytest
import torch

from skiqa.degradations import color
from skiqa.degradations.color import color_saturation_hsv, color_shift, hsv_to_rgb, rgb_to_hsv


@pytest.mark.parametrize("factor", [0.4, 0.0, -0.4])
def test_saturation_is_that_of_hsv(photo_batch, factor):
    hsv = rgb_to_hsv(photo_batch)
    hsv[:, 1] *= factor
    expected = hsv_to_rgb(hsv)
    found = color_saturation_hsv(photo_batch, factor, clip=False)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_color_shift_moves_green_alone(photo_batch):
    shifted = color_shift(photo_batch, 6, 0)
    assert torch.equal(shifted[:, [0, 2]], photo_batch[:, [0, 2]])
    assert not torch.equal(shifted[:, 1], photo_batch[:, 1])


@pytest.mark.parametrize("turns", [-0.05, 0.02, 1 / 3, 1.0])
def test_hue_turns_as_colorsys(turns):
    images = torch.rand(1, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    images[..., 0] = 0.4  # greys have no hue
    found = color.hue(images, turns).permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    for before, after in zip(
        images.permute(0, 2, 3, 1).reshape(-1, 3).tolist(), found, strict=True
    ):
        h, s, v = colorsys.rgb_to_hsv(*before)
        assert after == pytest.approx(colorsys.hsv_to_rgb((h + turns) % 1, s, v), abs=1e-5)


def test_aberration_moves_red_out_and_blue_in():
    ring = torch.zeros(1, 3, 101, 101)
    ring[..., 20] = 1  # a line 30 pixels left of the centre
    profile = color.chromatic_aberration(ring, 0.1)[0].mean(1)
    red, green, blue = (profile * torch.arange(101.0)).sum(1) / profile.sum(1)
    assert green == 20
    assert red == pytest.approx(50 - 30 * 1.1, abs=0.1)
    assert blue == pytest.approx(50 - 30 / 1.1, abs=0.1)


def test_banding_takes_the_nearest_of_even_values(photo_batch):
    found = color.banding(photo_batch, 6)
    np.testing.assert_allclose(found.unique(), np.arange(6) / 5, atol=1e-7)
    assert (found - photo_batch).abs().max() <= 0.1 + 1e-6
