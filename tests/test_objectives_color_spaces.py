import colorsys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

from skiqa.objectives._color_spaces import COLOR_SPACES, to_color_space


@pytest.fixture(scope="module")
def windows():
    """Six windows of real photographs, (6, 3, 32, 32)."""
    china, flower = load_sample_images().images
    cuts = [image[y : y + 32, y : y + 32] for image in (china, flower) for y in (50, 150, 300)]
    return torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("which", COLOR_SPACES)
def test_colour_spaces_stay_in_range(windows, which):
    shown = to_color_space(windows, which)
    assert shown.shape == windows.shape
    assert shown.min() >= 0
    assert shown.max() <= 1
    corners = torch.tensor([[r, g, b] for r in (0.0, 1.0) for g in (0.0, 1.0) for b in (0.0, 1.0)])
    shown = to_color_space(corners[:, :, None, None].expand(-1, -1, 8, 8).contiguous(), which)
    assert torch.isfinite(shown).all()
    assert shown.min() >= 0
    assert shown.max() <= 1


def test_hsv_against_colorsys(windows):
    shown = to_color_space(windows[:, :, ::4, ::4], "hsv").permute(0, 2, 3, 1).reshape(-1, 3)
    pixels = windows[:, :, ::4, ::4].permute(0, 2, 3, 1).reshape(-1, 3)
    expected = np.array([colorsys.rgb_to_hsv(*map(float, pixel)) for pixel in pixels])
    np.testing.assert_allclose(shown, expected, atol=1e-5)


def test_lab_against_known_values():
    """SRGB primaries in CIE Lab (D65), as tabulated by Lindbloom to one decimal."""
    known = {
        (1.0, 1.0, 1.0): (100.0, 0.0, 0.0),
        (1.0, 0.0, 0.0): (53.2, 80.1, 67.2),
        (0.0, 1.0, 0.0): (87.7, -86.2, 83.2),
        (0.0, 0.0, 1.0): (32.3, 79.2, -107.9),
    }
    rgb = torch.tensor(list(known))[:, :, None, None]
    shown = to_color_space(rgb, "lab")[:, :, 0, 0]
    expected = [(light / 100, (a + 128) / 255, (b + 128) / 255) for light, a, b in known.values()]
    np.testing.assert_allclose(shown, expected, atol=1e-3)


def test_mean_subtraction(windows):
    shown = to_color_space(windows, "ms")
    assert torch.allclose(shown.amin((1, 2, 3)), torch.zeros(6))
    assert torch.allclose(shown.amax((1, 2, 3)), torch.ones(6), atol=1e-3)
    brighter = to_color_space(windows * 0.5 + 0.25, "ms")  # a linear change of light is not seen
    torch.testing.assert_close(brighter, shown, atol=1e-3, rtol=0)


def test_unknown_colour_space():
    with pytest.raises(ValueError, match="'xyz' is no colour space"):
        to_color_space(torch.zeros(1, 3, 8, 8), "xyz")
