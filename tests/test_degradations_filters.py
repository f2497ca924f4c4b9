"""Kernels against closed forms, filters against SciPy."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from skiqa.degradations._filters import (
    disk_kernel,
    filter2d,
    gaussian_filter,
    gaussian_kernel,
    gradient_magnitude,
    motion_kernel,
)


@pytest.fixture
def images():
    return torch.rand(2, 3, 37, 29, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("sigma", "taps"), [(0.1, 3), (0.5, 3), (1, 5), (2, 9), (5, 21), (20, 81)])
def test_gaussian_kernel_is_a_normalised_gaussian(sigma, taps):
    kernel = np.array(gaussian_kernel(sigma))
    assert len(kernel) == taps
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    assert kernel[taps // 2 + 1] / kernel[taps // 2] == pytest.approx(math.exp(-0.5 / sigma**2))


def test_gaussian_of_sigma_zero_changes_nothing(images):
    assert torch.equal(gaussian_filter(images, 0.0), images)


@pytest.mark.parametrize("sigma", [0.5, 2.0, 5.0, 20.0])
def test_gaussian_filter_agrees_with_scipy(images, sigma):
    kernel = gaussian_kernel(sigma)
    expected = ndimage.correlate1d(images.double().numpy(), kernel, axis=2, mode="nearest")
    expected = ndimage.correlate1d(expected, kernel, axis=3, mode="nearest")
    np.testing.assert_allclose(gaussian_filter(images, sigma), expected, atol=2e-6)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (1, 9), (13, 11)])
def test_filter2d_agrees_with_scipy_both_ways(images, shape):
    kernel = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kernel /= kernel.sum()
    expected = ndimage.correlate(
        images.double().numpy(), kernel.numpy()[None, None], mode="nearest"
    )
    np.testing.assert_allclose(filter2d(images, kernel), expected, atol=3e-6)


def test_disk_of_radius_one_has_the_closed_form():
    # A corner pixel holds the area between its edges and the circle,
    # the integral of sqrt(1 - x^2) - 1/2 from 1/2 to sqrt(3)/2.
    corner = math.pi / 12 + 1 / 4 - math.sqrt(3) / 4
    edge = (math.pi - 1 - 4 * corner) / 4
    expected = [[corner, edge, corner], [edge, 1, edge], [corner, edge, corner]]
    np.testing.assert_allclose(disk_kernel(1.0), np.array(expected) / math.pi, atol=1e-12)


@pytest.mark.parametrize("radius", [0.3, 0.5, 1.7, 2.0, 4.0, 6.5, 8.0])
def test_disk_holds_the_area_of_the_circle(radius):
    kernel = disk_kernel(radius)
    size = len(kernel)
    assert size == 2 * math.ceil(radius - 0.5) + 1
    assert kernel.sum() == pytest.approx(1)
    torch.testing.assert_close(kernel, kernel.T, atol=1e-12, rtol=0)
    torch.testing.assert_close(kernel, kernel.flip(0), atol=1e-12, rtol=0)
    # shares of the pixels by counting 64 x 64 points in each
    points = (torch.arange(size * 64) + 0.5) / 64 - size / 2
    inside = (points[:, None] ** 2 + points[None] ** 2 <= radius**2).double()
    counted = inside.view(size, 64, size, 64).mean((1, 3))
    torch.testing.assert_close(kernel, counted / counted.sum(), atol=2e-3 / radius**2, rtol=0)


@pytest.mark.parametrize("length", [1, 3, 5, 9])
def test_motion_along_the_axes_is_a_mean(length):
    row = torch.full((1, length), 1 / length, dtype=torch.float64)
    torch.testing.assert_close(motion_kernel(length, 0), row)
    torch.testing.assert_close(motion_kernel(length, 90), row.T)
    torch.testing.assert_close(motion_kernel(length, 180), row)


def test_motion_of_length_three_at_45_degrees_by_hand():
    # half length 1; the corner (1, 1) lies sqrt 2 - 1 beyond the end; the neighbour (1, 0) is
    # at radius 1, so measured to the end too: hypot(sqrt(1/2), 1 - sqrt(1/2))
    corner = 2 - math.sqrt(2)
    side = 1 - math.hypot(math.sqrt(0.5), 1 - math.sqrt(0.5))
    expected = np.array([[0, side, corner], [side, 1, side], [corner, side, 0]])
    np.testing.assert_allclose(motion_kernel(3, 45), expected / expected.sum(), atol=1e-12)


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 133])
@pytest.mark.parametrize("length", [2, 4, 6, 10])
def test_motion_kernels_are_symmetric_and_turn(length, angle):
    kernel = motion_kernel(length, angle)
    assert kernel.sum() == pytest.approx(1)
    assert (kernel >= 0).all()
    assert all(side % 2 for side in kernel.shape)
    torch.testing.assert_close(kernel, kernel.rot90(2))
    torch.testing.assert_close(kernel.rot90(1), motion_kernel(length, angle + 90))


def test_gradient_of_a_ramp_is_sobels():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    torch.testing.assert_close(gradient_magnitude(ramp)[0, 0, :, 1:-1], torch.full((8, 6), 8.0))
    torch.testing.assert_close(gradient_magnitude(ramp.mT)[0, 0, 1:-1], torch.full((6, 8), 8.0))
