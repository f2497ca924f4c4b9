"""Noise: its distribution, and what denoising leaves."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from skiqa.degradations import noise
from skiqa.degradations.noise import denoise, impulse_noise, multiplicative_noise, white_noise


def test_noise_has_the_variance_asked_for():
    grey = torch.full((1, 3, 200, 200), 0.5)
    assert white_noise(grey, 0.005, 0).var().item() == pytest.approx(0.005, rel=0.03)
    speckled = multiplicative_noise(grey, 0.05, 0)
    assert speckled.var().item() == pytest.approx(0.05 / 4, rel=0.03)
    assert (speckled - 0.5).abs().max() <= 0.5 * (12 * 0.05) ** 0.5 / 2 + 1e-6
    salted = impulse_noise(grey, 0.1, 0)
    assert (salted == 0).float().mean().item() == pytest.approx(0.05, rel=0.1)
    assert (salted == 1).float().mean().item() == pytest.approx(0.05, rel=0.1)


def test_denoising_removes_most_of_the_noise(photo_batch):
    for variance in (0.01, 0.05):
        noisy = (white_noise(photo_batch, variance, 0) - photo_batch).square().mean()
        left = (denoise(photo_batch, variance, 0) - photo_batch).square().mean()
        assert left < 0.75 * noisy


def test_gaussian_noise_goes_by_the_deviation():
    grey = torch.full((1, 3, 200, 200), 0.5)
    assert noise.gaussian_noise(grey, 0.06, 0).std().item() == pytest.approx(0.06, rel=0.02)
    gray = noise.gray_noise(grey, 0.06, 0)
    assert gray.std().item() == pytest.approx(0.06, rel=0.03)
    assert torch.equal(gray[:, :1].expand_as(gray), gray)
    same = noise.white_noise(grey, 0.06**2, 3)
    torch.testing.assert_close(noise.gaussian_noise(grey, 0.06, 3), same)


@pytest.mark.parametrize("mean", [0.05, 0.7, 1.9, 2.1, 5.0, 30.0])
def test_poisson_noise_counts_as_poisson(mean):
    peak = 100.0
    images = torch.full((1, 3, 100, 100), mean / peak)
    counts = (noise.poisson_noise(images, peak, 5) * peak).double().numpy().ravel()
    np.testing.assert_allclose(counts, counts.round(), atol=1e-3)
    counts = counts.round().astype(int)
    n = len(counts)
    values = np.arange(counts.max() + 40)
    expected = stats.poisson.pmf(values, mean)
    observed = np.bincount(counts, minlength=len(values)) / n
    assert counts.mean() == pytest.approx(mean, rel=0.02, abs=0.01)
    assert counts.var() == pytest.approx(mean, rel=0.07)
    # total variation: chance alone makes about sqrt(values / (2 pi n)); the approximation .01
    assert np.abs(observed - expected).sum() / 2 < 0.01 + 1.5 * math.sqrt(
        6 * math.sqrt(mean) / n + 1 / n
    )


def test_black_stays_black_under_photons_and_white_is_cut():
    assert noise.poisson_noise(torch.zeros(1, 3, 64, 64), 10, 0).max() == 0
    white = noise.poisson_noise(torch.ones(1, 3, 64, 64), 10, 0)
    assert white.max() == 1
    assert white.mean() < 0.95


def test_iso_noise_is_grain_and_colour():
    light = torch.full((1, 3, 128, 128), 0.64)
    change = noise.iso_noise(light, 0.5, 0) - light
    grain = change.mean(1)  # colour noise of three channels averages to 1 / sqrt 3
    colour = 0.0075 + 0.025 * 0.5
    expected = math.hypot(0.12 * 0.5 * 0.8, colour / math.sqrt(3))
    assert grain.std().item() == pytest.approx(expected, rel=0.04)
    difference = (change[:, 0] - change[:, 1])[0]
    assert difference.std().item() == pytest.approx(colour * math.sqrt(2), rel=0.05)
    # the colours are smooth: neighbours are correlated by exp(-1/4) for a Gaussian of sigma 1
    pairs = np.corrcoef(difference[:, :-1].flatten(), difference[:, 1:].flatten())[0, 1]
    assert pairs == pytest.approx(math.exp(-0.25), abs=0.06)
    dark = noise.iso_noise(torch.zeros(1, 3, 64, 64), 0.5, 0)
    assert dark.std() < 0.5 * change.std()


def test_denoise_by_blur_is_a_gaussian_or_a_box(photo_batch):
    kinds = set()
    for seed in range(8):
        noisy = noise.white_noise(photo_batch[:1], 0.002, seed)[0].double().numpy()
        found = noise.denoise_by_blur(photo_batch[:1], 0.002, seed)[0].numpy()
        box = ndimage.uniform_filter(noisy, (0, 5, 5), mode="nearest")
        gaussian = ndimage.gaussian_filter(noisy, (0, 3, 3), mode="nearest", truncate=2)
        fits = np.abs(found - box).max() < 1e-5, np.abs(found - gaussian).max() < 1e-5
        assert any(fits)
        kinds.add(fits)
    assert len(kinds) == 2


def test_multiplicative_noise_of_the_port_stays_within_its_factors():
    grey = torch.full((1, 3, 100, 100), 0.5)
    factors = noise.multiplicative_noise(grey, 0.25**2 / 3, 0) / 0.5
    assert factors.min() == pytest.approx(0.75, abs=1e-3)
    assert factors.max() == pytest.approx(1.25, abs=1e-3)
