import colorsys

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image, ImageCms
from sklearn.datasets import load_sample_images

from skiqa.objectives import Contrique
from skiqa.objectives._color_spaces import ALL_COLOR_SPACES, COLOR_SPACES, to_color_space


@pytest.fixture(scope="module")
def windows():
    """Six windows of real photographs, (6, 3, 32, 32)."""
    china, flower = load_sample_images().images
    cuts = [image[y : y + 32, y : y + 32] for image in (china, flower) for y in (50, 150, 300)]
    return torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("which", ALL_COLOR_SPACES)
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
    shown = to_color_space(rgb, "lab_offset")[:, :, 0, 0]
    expected = [(light / 100, (a + 128) / 255, (b + 128) / 255) for light, a, b in known.values()]
    np.testing.assert_allclose(shown, expected, atol=1e-3)


def test_lab_is_what_pillow_gives_the_reference():
    """Bytes of an ICC transform to Lab; grey is (137, 0, 0), and blue's b* is -112 = 144."""
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransformFromOpenProfiles(srgb, lab, "RGB", "LAB")
    photo = np.ascontiguousarray(load_sample_images().images[1][100:164, 200:264])
    photo[0, :4] = [[128] * 3, [0, 0, 255], [0] * 3, [255] * 3]
    expected = np.asarray(ImageCms.applyTransform(Image.fromarray(photo), transform))
    assert expected[0, :2].tolist() == [[137, 0, 0], [75, 68, 144]]
    images = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255
    shown = to_color_space(images, "lab")[0].permute(1, 2, 0).numpy() * 255
    off = (np.rint(shown).astype(int) - expected + 128) % 256 - 128  # 0 and 255 are neighbours
    assert np.abs(off).max() <= 1
    assert (off != 0).mean() < 0.08
    assert tuple(Contrique().color_spaces) == COLOR_SPACES


def test_mean_subtraction_is_the_references(windows):
    """Each channel by itself, by SciPy: its "reflect" repeats the rim."""
    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    for image, shown in zip(windows.double() * 255, to_color_space(windows, "ms"), strict=True):
        for channel, found in zip(image.numpy(), shown.numpy(), strict=True):
            mean = scipy.ndimage.correlate1d(channel, taps / taps.sum(), 0, mode="reflect")
            mean = scipy.ndimage.correlate1d(mean, taps / taps.sum(), 1, mode="reflect")
            centred = channel - mean
            expected = (centred - centred.min()) / (np.ptp(centred) + 1e-3)
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_unknown_colour_space():
    with pytest.raises(ValueError, match="'xyz' is no colour space"):
        to_color_space(torch.zeros(1, 3, 8, 8), "xyz")
