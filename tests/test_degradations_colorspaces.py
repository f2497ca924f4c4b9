"""Colour spaces, against published values."""

import colorsys

import numpy as np
import pytest
import torch

from skiqa.degradations import color


def pixel(*values):
    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)


def random_images(n=2, height=17, width=23):
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        # sRGB primaries under D65: B. Lindbloom's CIE colour calculator (brucelindbloom.com)
        ((1, 0, 0), (53.2408, 80.0925, 67.2032)),
        ((0, 1, 0), (87.7347, -86.1827, 83.1793)),
        ((0, 0, 1), (32.2970, 79.1875, -107.8602)),
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        # the linear foot of both curves: Y = 0.01 / 12.92, L = Y * (29 / 3)^3
        ((0.01, 0.01, 0.01), (0.699129, 0, 0)),
    ],
)
def test_lab_of_known_colours(rgb, lab):
    np.testing.assert_allclose(color.rgb_to_lab(pixel(*rgb)).flatten(), lab, atol=2e-3)
    np.testing.assert_allclose(color.lab_to_rgb(pixel(*lab)).flatten(), rgb, atol=2e-5)


def test_lab_agrees_with_the_defining_formulas():
    images = random_images()
    rgb = images.double().numpy()
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = np.einsum("cd,ndhw->nchw", matrix / matrix.sum(1, keepdims=True), linear)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.swapaxes(0, 1)
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
    np.testing.assert_allclose(color.rgb_to_lab(images), lab, atol=1e-3)


def test_hsv_agrees_with_colorsys():
    images = random_images().mul(8).round().div(8)  # with many ties and greys
    hsv = color.rgb_to_hsv(images)
    for rgb, found in zip(
        images.permute(0, 2, 3, 1).reshape(-1, 3).tolist(),
        hsv.permute(0, 2, 3, 1).reshape(-1, 3).tolist(),
        strict=True,
    ):
        assert found == pytest.approx(colorsys.rgb_to_hsv(*rgb), abs=1e-6)


def test_hsv_inverse_agrees_with_colorsys():
    images = random_images()
    rgb = color.hsv_to_rgb(images)
    for hsv, found in zip(
        images.permute(0, 2, 3, 1).reshape(-1, 3).tolist(),
        rgb.permute(0, 2, 3, 1).reshape(-1, 3).tolist(),
        strict=True,
    ):
        assert found == pytest.approx(colorsys.hsv_to_rgb(*hsv), abs=1e-5)


@pytest.mark.parametrize(
    ("rgb", "ycbcr"),
    [
        # 100 % colour bars of ITU-R BT.601 in 8 bits
        ((0, 0, 0), (16, 128, 128)),
        ((1, 1, 1), (235, 128, 128)),
        ((1, 0, 0), (81, 90, 240)),
        ((0, 1, 0), (145, 54, 34)),
        ((0, 0, 1), (41, 240, 110)),
        ((1, 1, 0), (210, 16, 146)),
    ],
)
def test_ycbcr_of_the_colour_bars(rgb, ycbcr):
    found = color.rgb_to_ycbcr(pixel(*rgb)).flatten() * 255
    np.testing.assert_array_equal(found.round(), ycbcr)


@pytest.mark.parametrize(
    ("there", "back"),
    [
        (color.rgb_to_lab, color.lab_to_rgb),
        (color.rgb_to_hsv, color.hsv_to_rgb),
        (color.rgb_to_ycbcr, color.ycbcr_to_rgb),
    ],
)
def test_there_and_back_and_one_by_one(there, back):
    images = random_images(3)
    before = images.clone()
    converted = there(images)
    torch.testing.assert_close(back(converted), images, atol=5e-5, rtol=0)
    assert torch.equal(images, before)
    assert torch.equal(converted[1:2], there(images[1:2]))
    assert torch.equal(back(converted)[2:], back(converted[2:]))


def test_gray_is_luma():
    expected = 0.2 * 0.299 + 0.4 * 0.587 + 0.8 * 0.114
    found = color.rgb_to_gray(pixel(0.2, 0.4, 0.8)).item()
    assert found == pytest.approx(expected, abs=1e-4)
    assert color.rgb_to_gray(torch.ones(2, 3, 4, 5)).max().item() == pytest.approx(1)
