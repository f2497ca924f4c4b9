"""Sharpness: against the definition."""

import numpy as np
import torch

from skiqa.degradations import color, get_operator, sharpness


def test_laplacian_sharpening_of_an_edge():
    # of greys, L* alone changes: by the Laplacian, here +- the step beside the edge
    lightness = torch.tensor([40.0, 40.0, 60.0, 60.0])
    grey = color.lab_to_rgb(torch.stack([lightness, 0 * lightness, 0 * lightness])[None, :, None])
    found = color.rgb_to_lab(sharpness.laplacian_sharpen(grey, 0.5))[0, 0, 0]
    np.testing.assert_allclose(found, [40, 30, 70, 60], atol=0.05)


def test_departs_from_reiqas_sharpening_as_its_bank_says(photo_batch):
    # the reference: L - amount * (gradient of the gradient of L), on a lightness in its range
    lab = color.rgb_to_lab(photo_batch)
    lightness = lab[:, 0].double().numpy()
    twice = [np.gradient(np.gradient(lightness, axis=axis), axis=axis) for axis in (1, 2)]

    def change(sharp):
        return (sharp - photo_batch).square().mean().sqrt()

    for level, amount in enumerate(get_operator("high_sharpen_reiqa").levels, 1):
        sharp = np.clip(lightness - amount * sum(twice), 0, 100)
        lab[:, 0] = torch.from_numpy(sharp)
        theirs = color.lab_to_rgb(lab).clamp(0, 1)
        ours = get_operator("high_sharpen_reiqa")(photo_batch, level)
        assert 2 < 20 * torch.log10(change(ours) / change(theirs)) < 7
