"""Spatial degradations: against Pillow and their definitions."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from skiqa.degradations import spatial
from skiqa.degradations.spatial import color_block, non_eccentricity_patch, quantization


def test_quantization_gives_the_values_of_the_definition():
    # five values: with two thresholds the classes {0, .1}, {.5}, {.9, 1} become 0, t_2, 1
    values = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    found = quantization(values.repeat(1, 3, 4, 1), 2)[0, 0, 0]
    assert found[[0, 1, 3, 4]].tolist() == [0, 0, 1, 1]
    assert found[2].item() == pytest.approx(0.5, abs=1 / 255)


def test_blocks_and_patches_are_added_to_those_of_lower_levels(photo_batch):
    one, two = color_block(photo_batch, 1, 9), color_block(photo_batch, 2, 9)
    changed = (one != photo_batch).any(1)
    assert changed.sum((1, 2)).tolist() == [32 * 32] * 2
    assert ((two != photo_batch).any(1) | ~changed).all()
    first = (non_eccentricity_patch(photo_batch, 1, 9) != photo_batch).any(1).sum((1, 2))
    assert (first <= 256).all()


@pytest.mark.parametrize("factor", [2, 3.5, 16])
@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_resizing_goes_down_and_up(photo_batch, factor, kernel):
    height, width = photo_batch.shape[2:]
    small = math.ceil(width / factor), math.ceil(height / factor)
    method = Image.Resampling[kernel.upper()]
    expected = [
        np.asarray(Image.fromarray(c).resize(small, method).resize((width, height), method))
        for c in photo_batch[0].numpy()
    ]
    found = getattr(spatial, f"resize_{kernel}")(photo_batch[:1], factor)[0]
    np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=2e-5)


def test_moire_is_periodic_coloured_and_as_deep_as_asked():
    white = torch.ones(1, 3, 128, 128)
    for seed in range(5):
        found = spatial.moire(white, 0.4, seed)[0]
        assert found.min() == pytest.approx(0.6, abs=0.01)
        assert found.max() == pytest.approx(1, abs=0.01)
        # at each pixel the channels lie a third of a turn apart: they sum to 3 (1 - depth / 2)
        torch.testing.assert_close(found.sum(0), torch.full((128, 128), 2.4), atol=1e-4, rtol=0)
        spectrum = torch.fft.rfft2(found[0] - found[0].mean()).abs()
        rows, columns = np.unravel_index(int(spectrum.argmax()), spectrum.shape)
        cycles = math.hypot(min(rows, 128 - rows), columns)
        assert 128 / 32 - 3 <= cycles <= 128 / 8 + 3
