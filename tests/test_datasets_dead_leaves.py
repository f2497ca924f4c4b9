import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from skiqa import ContrastiveQualityEncoder
from skiqa.datasets import make_dead_leaves
from skiqa.datasets._dead_leaves import front_leaf, leaf_map, noise_textures


@pytest.mark.parametrize("textured", [False, True])
def test_determined_by_the_seed(textured):
    def make(n_samples=3, random_state=0):
        return make_dead_leaves(
            n_samples, image_shape=(33, 48), textured=textured, random_state=random_state
        )

    images = make()
    assert images.shape == (3, 33, 48, 3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(make(), images)
    np.testing.assert_array_equal(make(2), images[:2])  # an image knows nothing of the others
    assert (make(random_state=1) != images).mean() > 0.9
    assert (images[0] != images[1]).mean() > 0.9
    generator = np.random.RandomState(0)
    np.testing.assert_array_equal(make(random_state=generator), images)
    assert (make(random_state=generator) != images).mean() > 0.9  # it has moved on


def test_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make_dead_leaves(1, image_shape=(16, 16), textured=True, random_state=0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# Geometry ----------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_front_leaf_by_brute_force(height, width, n, seed):
    rng = np.random.default_rng(seed)
    y, x = rng.uniform(-5, height + 5, n), rng.uniform(-5, width + 5, n)
    r = rng.uniform(0.1, 8, n)
    expected = np.full((height, width), -1)
    rows, columns = np.mgrid[:height, :width] + 0.5
    for k in range(n):
        expected[(rows - y[k]) ** 2 + (columns - x[k]) ** 2 <= r[k] ** 2] = k
    np.testing.assert_array_equal(front_leaf(height, width, y, x, r), expected)


def together(distance, least, largest):
    """Probability that two points see the same leaf: Lee, Mumford and Huang, 2001.

    With g(d) the mean area of two leaves' overlap at that distance it is g(d) / (2 g(0) - g(d)):
    of all leaves that cover either point, those that cover both.
    """
    r = np.geomspace(least, largest, 4000)

    def overlap(d):
        k = np.clip(d / (2 * r), 0, 1)
        return trapezoid(r**-3 * 2 * r**2 * (np.arccos(k) - k * np.sqrt(1 - k**2)), r)

    return overlap(distance) / (2 * overlap(0) - overlap(distance))


@pytest.mark.parametrize(("side", "least", "largest"), [(48, 2.0, 12.0), (96, 1.0, 96.0)])
def test_correlation_is_that_of_the_model(side, least, largest):
    maps = [
        leaf_map(side, side, least, largest, np.random.default_rng(seed))[0] for seed in range(200)
    ]
    for d in (1, 2, 4, 8, 16):
        pairs = [((m[d:] == m[:-d]).mean() + (m[:, d:] == m[:, :-d]).mean()) / 2 for m in maps]
        error = np.std(pairs) / np.sqrt(len(pairs))
        assert abs(np.mean(pairs) - together(d, least, largest)) < 4 * error
    # borders are like the middle: the model is stationary
    rows = np.mean([(m[:, 4:] == m[:, :-4]).mean(axis=1) for m in maps], axis=0)
    assert abs(rows[[0, -1]].mean() - rows.mean()) < 0.06


# Statistics of the images ------------------------------------------------------------------------


def spectral_slope(images):
    """Slope of the mean power spectrum over frequency, both as logarithms."""
    grey = images.mean(axis=3)
    grey -= grey.mean(axis=(1, 2), keepdims=True)
    side = grey.shape[1]
    window = np.outer(np.hanning(side), np.hanning(side))
    power = (np.abs(np.fft.fft2(grey * window)) ** 2).mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    band = (frequency > 0.03) & (frequency < 0.2)  # cycles a pixel
    return np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]


@pytest.mark.parametrize("textured", [False, True])
def test_power_falls_as_in_photographs(textured):
    images = make_dead_leaves(40, image_shape=(128, 128), textured=textured, random_state=0)
    assert spectral_slope(images) == pytest.approx(-2, abs=0.25)
    coarse = make_dead_leaves(
        40, image_shape=(128, 128), textured=textured, min_radius=12, random_state=0
    )
    assert spectral_slope(coarse) < -2.4  # no small leaves: the measure tells the difference


def test_all_values_occur_alike():
    options = {"image_shape": (96, 96), "min_radius": 4, "max_radius": 12}
    images = make_dead_leaves(40, **options, random_state=0)
    for channel in range(3):
        values = images[..., channel].reshape(40, -1)
        parts = np.stack([np.bincount(row // 32, minlength=8) / row.size for row in values])
        error = parts.std(axis=0) / np.sqrt(len(parts))
        # edges, averaged over 2 x 2, draw a few values to the middle
        assert (np.abs(parts.mean(axis=0) - 1 / 8) < 4 * error + 0.01).all()
    means = images.mean(axis=(1, 2))
    assert np.abs(np.corrcoef(means.T)[np.triu_indices(3, 1)]).max() < 0.5  # channels are free


def test_texture_is_in_the_leaves():
    options = {"image_shape": (128, 128), "min_radius": 8, "random_state": 0}
    flat, textured = (make_dead_leaves(4, textured=t, **options).astype(int) for t in (False, True))
    same = [(np.diff(images, axis=2) == 0).all(axis=3).mean() for images in (flat, textured)]
    assert same[0] > 0.8  # inside a flat disc
    assert same[1] < 0.3
    difference = textured - flat  # the same leaves, in the same colors
    assert np.abs(difference).mean() < 40
    assert abs(difference.mean()) < 8


def test_textures_are_standard_noise():
    tiles = noise_textures(np.random.default_rng(0))
    np.testing.assert_allclose(tiles.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(tiles.std(axis=(1, 2)), 1, rtol=1e-4)
    # periodic: the step over the border is like any other
    step = np.abs(tiles[:, 0] - tiles[:, -1]).mean(axis=1)
    assert (step < 2 * np.abs(np.diff(tiles, axis=1)).mean(axis=(1, 2))).all()


def test_radii_are_kept():
    leaves, count = leaf_map(64, 64, 3.0, 9.0, np.random.default_rng(0))
    assert leaves.min() >= 0
    assert leaves.max() < count
    areas = np.bincount(leaves.ravel())
    assert areas.max() <= np.pi * 10**2
    front = leaves.ravel()[np.argmax(areas[leaves.ravel()])]
    rows, columns = np.nonzero(leaves == front)
    assert max(np.ptp(rows), np.ptp(columns)) < 2 * 9


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples": 0}, "'n_samples'"),
        ({"image_shape": (64,)}, r"image_shape=\(64,\): give the height and the width"),
        ({"image_shape": (64, 0)}, "give the height"),
        ({"image_shape": (64.0, 64)}, "give the height"),
        ({"min_radius": 0.1}, "'min_radius'"),
        ({"min_radius": 300}, "largest radius, 256, must be above min_radius=300"),
        ({"max_radius": 1.0}, "largest radius, 1.0, must be above"),
        ({"random_state": "x"}, "'random_state'"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_dead_leaves(**{"n_samples": 1} | parameters)


def test_an_encoder_takes_them():
    images = make_dead_leaves(8, image_shape=(64, 96), textured=True, random_state=0)
    encoder = ContrastiveQualityEncoder(
        "test_resnet.r160_in1k", weights=None, epochs=1, batch_size=4, view_size=64, random_state=0
    )
    assert np.isfinite(encoder.fit(images).loss_curve_).all()
    assert len(encoder.transform(images)) == 8
