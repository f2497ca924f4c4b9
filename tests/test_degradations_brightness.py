"""Brightness, and the enhancements and curves of its like: against Pillow and closed forms."""

import math

import numpy as np
import pytest
import torch
from degradation_images import from_pillow, to_pillow
from PIL import ImageEnhance
from scipy.interpolate import CubicSpline

from skiqa.degradations import brightness, color, sharpness
from skiqa.degradations.brightness import brighten, darken, mean_shift
from skiqa.degradations.sharpness import contrast_change


@pytest.mark.parametrize(
    ("curve", "points"),
    [
        (lambda x, a: darken(x, a, clip=False), lambda a: ([0, 0.5, 1], [0, 0.5 - a / 2, 1])),
        (
            lambda x, a: contrast_change(x, a, clip=False),
            lambda a: ([0, 0.3, 0.5, 0.7, 1], [0, 0.25 - a / 4, 0.5, 0.75 + a / 4, 1]),
        ),
    ],
)
@pytest.mark.parametrize("amount", [-0.6, -0.4, -0.2, 0.0, 0.15, 0.3])
def test_curves_are_not_a_knot_splines(curve, points, amount):
    x = torch.linspace(0, 1, 101).expand(1, 3, 1, 101)
    spline = CubicSpline(*points(amount), bc_type="not-a-knot")
    expected = spline(x.double().numpy()).clip(0, 1)
    np.testing.assert_allclose(curve(x, amount), expected, atol=1e-6)


def test_brighten_of_greys_by_hand():
    # L* of 0.5 is 53.389; curved by 0.4 it is 63.344 -> grey 0.6013; curved RGB is 0.7... / 3
    grey = torch.full((1, 3, 2, 2), 0.5)
    lightness = 0.53389 + 2 * 0.2 * 0.53389 * (1 - 0.53389)
    y = ((100 * lightness + 16) / 116) ** 3
    expected = (2 * 0.6 + 1.055 * y ** (1 / 2.4) - 0.055) / 3
    assert brighten(grey, 0.2).mean().item() == pytest.approx(expected, abs=1e-4)


def test_mean_shift_cuts(photo_batch):
    torch.testing.assert_close(mean_shift(photo_batch, 0.15), (photo_batch + 0.15).clamp(max=1))


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.8, 1.25, 1.5])
@pytest.mark.parametrize(
    ("operator", "enhancer"),
    [
        (brightness.brightness, ImageEnhance.Brightness),
        (sharpness.contrast, ImageEnhance.Contrast),
        (color.saturation, ImageEnhance.Color),
    ],
)
def test_enhancements_are_pillows(photo_batch, operator, enhancer, factor):
    for image in photo_batch:
        expected = from_pillow(enhancer(to_pillow(image)).enhance(factor))
        found = operator(image[None], factor)[0]
        assert (found - expected).abs().max() < 2 * max(1, factor) / 255


def test_gamma_is_a_power(photo_batch):
    for exponent in (0.3, 0.85, 1.0, 2.0, 7.0):
        expected = photo_batch.double().pow(exponent).float()
        found = brightness.gamma(photo_batch, exponent)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert brightness.gamma(torch.zeros(1, 3, 2, 2), 0.85).max() < 1e-20


@pytest.mark.parametrize("stops", [-3.0, -1.0, 0.0, 1.0, 2.2])
def test_exposure_multiplies_light(photo_batch, stops):
    def light(coded):
        coded = coded.double().numpy()
        return np.where(coded > 0.04045, ((coded + 0.055) / 1.055) ** 2.4, coded / 12.92)

    found = light(brightness.exposure(photo_batch, stops))
    np.testing.assert_allclose(found, np.minimum(light(photo_batch) * 2**stops, 1), atol=2e-5)


def test_vignetting_darkens_corners_by_the_law():
    found = brightness.vignetting(torch.ones(1, 3, 601, 801), 0.7)[0, 0]
    assert found[300, 400] == pytest.approx(1, abs=1e-5)
    # light in the corner itself is 0.3; pixel centres lie half a pixel inside
    assert found[0, 0] == pytest.approx(0.3 ** (1 / 2.2), abs=2e-3)
    angle = math.atan(math.sqrt(0.3**-0.5 - 1) * 300 / 500)  # half way up: 300 of 500 pixels
    assert found[0, 400] == pytest.approx(math.cos(angle) ** (4 / 2.2), abs=2e-3)
    torch.testing.assert_close(found, found.flip(0))


def test_haze_hides_the_far(photo_batch):
    hazed = brightness.haze(photo_batch, 1.5)
    for row, depth in ((0, 1), (-1, 1 / 3)):
        t = math.exp(-1.5 * depth)
        expected = photo_batch[:, :, row] * t + 0.9 * (1 - t)
        torch.testing.assert_close(hazed[:, :, row], expected)
