"""Sharpness: against the definition."""

import numpy as np
import torch

from skiqa.degradations import color, sharpness


def test_laplacian_sharpening_of_an_edge():
    # of greys, L* alone changes: by the Laplacian, here +- the step beside the edge
    lightness = torch.tensor([40.0, 40.0, 60.0, 60.0])
    grey = color.lab_to_rgb(torch.stack([lightness, 0 * lightness, 0 * lightness])[None, :, None])
    found = color.rgb_to_lab(sharpness.laplacian_sharpen(grey, 0.5))[0, 0, 0]
    np.testing.assert_allclose(found, [40, 30, 70, 60], atol=0.05)
