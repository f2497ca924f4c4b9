"""Blur: against SciPy and closed forms."""

import math

import numpy as np
import pytest
import torch
from degradation_images import point
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from skiqa.degradations import blur
from skiqa.degradations._filters import anisotropic_kernel, defocus_kernel

QUICK = settings(max_examples=30)


@QUICK
@given(st.sampled_from([1, 3, 5, 7, 11, 15]), st.integers(1, 30), st.integers(1, 30), st.data())
def test_median_agrees_with_scipy(size, height, width, data):
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    bytes_ = torch.randint(0, 256, (1, 3, height, width), generator=generator)
    expected = ndimage.median_filter(bytes_.numpy(), (1, 1, size, size), mode="nearest")
    found = blur.median_blur(bytes_.float() / 255, size) * 255
    np.testing.assert_array_equal(found.round(), expected)


def _moments(kernel):
    """Variances and covariance (x, y), y upwards, of a centred kernel."""
    reach = len(kernel) // 2
    x = torch.arange(-reach, reach + 1, dtype=torch.float64)[None]
    y = -x.T
    return [float((kernel * product).sum()) for product in (x * x, y * y, x * y)]


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_anisotropic_kernels_have_their_axes(angle):
    kernel = anisotropic_kernel(4.0, 2.0, angle)
    assert kernel.sum() == pytest.approx(1)
    x, y, both = _moments(kernel)
    turned = 0.5 * math.degrees(math.atan2(2 * both, x - y)) % 180
    assert turned == pytest.approx(angle, abs=3)
    values = np.linalg.eigvalsh([[x, both], [both, y]])
    # the kernel is cut at two standard deviations along the long axis
    assert values == pytest.approx([4, 16], rel=0.25)


def test_anisotropic_blur_draws_angle_and_ratio():
    kernels = [blur.anisotropic_blur(point(21), 2.0, seed)[0, 0].double() for seed in range(40)]
    moments = np.array([_moments(kernel) for kernel in kernels])
    values = np.array([np.linalg.eigvalsh([[x, b], [b, y]]) for x, y, b in moments])
    ratios = np.sqrt(values[:, 0] / values[:, 1])
    assert 0.2 < ratios.min() < 0.4 < 0.6 < ratios.max() < 0.85
    angles = np.degrees(0.5 * np.arctan2(2 * moments[:, 2], moments[:, 0] - moments[:, 1])) % 180
    assert np.histogram(angles, 4, (0, 180))[0].min() >= 3


def test_defocus_is_a_smoothed_disk():
    kernel = defocus_kernel(6.0)
    assert kernel.sum() == pytest.approx(1)
    x, y, both = _moments(kernel)
    # variances add: a disk has r^2 / 4, the Gaussian (r / 10)^2, cut at two deviations
    assert x == pytest.approx(6**2 / 4 + 0.6**2, rel=0.01)
    assert (y, both) == pytest.approx((x, 0))
    middle = kernel[len(kernel) // 2]
    assert middle.max() == pytest.approx(1 / (math.pi * 36), rel=0.01)


@pytest.mark.parametrize("length", [1, 4, 5, 12])
def test_box_motion_is_a_mean_across_or_down(photo_batch, length):
    found = [blur.box_motion_blur(photo_batch[:1], length, seed)[0].numpy() for seed in range(8)]
    image = photo_batch[0].double().numpy()
    # an even line reaches one pixel further up and left
    lines = [ndimage.uniform_filter1d(image, length, axis=axis, mode="nearest") for axis in (1, 2)]
    hits = [[np.allclose(f, line, atol=1e-5) for line in lines] for f in found]
    assert all(any(hit) for hit in hits)
    assert all(any(column) for column in zip(*hits, strict=True))


def test_departs_from_reiqas_motion_blur_as_its_bank_says(photo_batch):
    # the reference: SciPy's convolution with a square of even side, whose middle is no pixel
    kernel = np.zeros((12, 12))
    kernel[5] = 1 / 12
    theirs = ndimage.convolve(photo_batch[0, 0].double().numpy(), kernel, mode="nearest")
    across = blur.box_motion_blur(photo_batch[:1], 12, 0)[0, 0].numpy()
    np.testing.assert_allclose(across[8:-8, 9:-7], theirs[7:-9, 8:-8], atol=1e-5)


def test_zoom_is_the_mean_of_enlarged_copies(photo_batch):
    # of one copy more or less a pixel apart, by SciPy's linear interpolation
    factor, image = 1.1, blur.gaussian_blur(photo_batch, 2.0)[0]
    gains = factor ** np.linspace(0, 1, 8)
    center = (np.array(image.shape[1:]) - 1) / 2
    copies = [
        ndimage.affine_transform(c, np.eye(2) / g, center * (1 - 1 / g), order=1, mode="nearest")
        for g in gains
        for c in image.double().numpy()
    ]
    expected = np.reshape(copies, (8, *image.shape)).mean(0)
    found = blur.zoom_blur(image[None], factor)[0]
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert torch.equal(blur.zoom_blur(photo_batch, 1.0), photo_batch)


def test_glass_scatters_within_its_reach():
    # of a vertical edge, what lies beyond reach and both kernels stays as it was
    edge = torch.zeros(1, 3, 40, 40)
    edge[..., 20:] = 1
    for reach in (1, 3):
        kernel = 2 * math.ceil(2 * (0.5 + 0.2 * reach))
        found = blur.glass_blur(edge, reach, 0)
        margin = reach + kernel
        assert torch.allclose(found[..., : 20 - margin], torch.zeros(()), atol=1e-6)
        assert torch.allclose(found[..., 20 + margin :], torch.ones(()), atol=1e-6)
        assert found[0, 0, :, 20].std() > 0.02
    assert torch.equal(found[:, 0], found[:, 2])  # a pixel moves as a whole
