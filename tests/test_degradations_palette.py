"""Palettes, against exhaustive search."""

import numpy as np
import pytest

from skiqa.degradations._palette import minimum_variance_palette


def test_palette_of_few_colours_is_exact():
    colors = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [9, 9, 250]], np.uint8)
    pixels = colors[np.random.default_rng(0).integers(0, 4, 500)]
    palette = minimum_variance_palette(pixels, 16)
    assert sorted(palette.tolist()) == sorted(colors.tolist())
    assert minimum_variance_palette(colors[:1], 8).tolist() == [[0, 0, 0]]


def test_first_cut_of_the_palette_is_the_best_one():
    pixels = np.random.default_rng(1).integers(0, 256, (400, 3)).astype(np.uint8)
    pixels[:, 1] //= 2
    palette = minimum_variance_palette(pixels, 2).astype(float)

    def error(colors):
        return ((pixels[:, None] - colors[None]) ** 2).sum(-1)

    best = np.inf
    for axis in range(3):
        for cut in range(8, 256, 8):
            low = pixels[:, axis] < cut
            if 0 < low.sum() < len(pixels):
                means = [pixels[low].mean(0), pixels[~low].mean(0)]
                best = min(best, np.where(low, *error(np.array(means)).T).sum())
    # each pixel takes its nearer colour, so the palette may only be better than its boxes
    assert error(palette).min(1).sum() <= best * 1.001


@pytest.mark.parametrize("n_colors", [8, 16, 64])
def test_palette_beats_uniform_cells(n_colors):
    pixels = np.random.default_rng(2).normal(128, 30, (2000, 3)).clip(0, 255).astype(np.uint8)
    palette = minimum_variance_palette(pixels, n_colors)
    assert len(palette) == n_colors
    error = ((pixels[:, None].astype(float) - palette[None]) ** 2).sum(-1).min(1).mean()
    assert error < 3 * 30**2 * (8 / n_colors) ** (2 / 3) * 0.45
