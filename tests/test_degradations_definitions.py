"""What the operators beyond KADIS's promise: against Pillow, SciPy, colorsys and closed forms."""

import colorsys
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy import ndimage, stats
from sklearn.datasets import load_sample_images

from skiqa.degradations import blur, brightness, color, compression, noise, sharpness, spatial
from skiqa.degradations._filters import anisotropic_kernel, defocus_kernel, sinc_kernel
from skiqa.degradations._resampling import resample

QUICK = settings(max_examples=30, deadline=None, database=None)


@pytest.fixture(scope="module")
def photos():
    crops = [photo[150:246, 200:328] for photo in load_sample_images().images]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


def to_pillow(image):
    return Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy())


def from_pillow(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def point(size):
    image = torch.zeros(1, 3, size, size)
    image[:, :, size // 2, size // 2] = 1
    return image


# ---------------------------------------------------------------- blur


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
def test_box_motion_is_a_mean_across_or_down(photos, length):
    found = [blur.box_motion_blur(photos[:1], length, seed)[0].numpy() for seed in range(8)]
    image = photos[0].double().numpy()
    # an even line reaches one pixel further up and left
    lines = [ndimage.uniform_filter1d(image, length, axis=axis, mode="nearest") for axis in (1, 2)]
    hits = [[np.allclose(f, line, atol=1e-5) for line in lines] for f in found]
    assert all(any(hit) for hit in hits)
    assert all(any(column) for column in zip(*hits, strict=True))


def test_zoom_is_the_mean_of_enlarged_copies(photos):
    # of one copy more or less a pixel apart, by SciPy's linear interpolation
    factor, image = 1.1, blur.gaussian_blur(photos, 2.0)[0]
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
    assert torch.equal(blur.zoom_blur(photos, 1.0), photos)


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


# ---------------------------------------------------------------- noise


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


def test_denoise_by_blur_is_a_gaussian_or_a_box(photos):
    kinds = set()
    for seed in range(8):
        noisy = noise.white_noise(photos[:1], 0.002, seed)[0].double().numpy()
        found = noise.denoise_by_blur(photos[:1], 0.002, seed)[0].numpy()
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


# ---------------------------------------------------------------- brightness, colour, contrast


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.8, 1.25, 1.5])
@pytest.mark.parametrize(
    ("operator", "enhancer"),
    [
        (brightness.brightness, ImageEnhance.Brightness),
        (sharpness.contrast, ImageEnhance.Contrast),
        (color.saturation, ImageEnhance.Color),
    ],
)
def test_enhancements_are_pillows(photos, operator, enhancer, factor):
    for image in photos:
        expected = from_pillow(enhancer(to_pillow(image)).enhance(factor))
        found = operator(image[None], factor)[0]
        assert (found - expected).abs().max() < 2 * max(1, factor) / 255


def test_gamma_is_a_power(photos):
    for exponent in (0.3, 0.85, 1.0, 2.0, 7.0):
        torch.testing.assert_close(
            brightness.gamma(photos, exponent), photos.double().pow(exponent).float(),
            atol=1e-6, rtol=1e-5,
        )  # fmt: skip
    assert brightness.gamma(torch.zeros(1, 3, 2, 2), 0.85).max() < 1e-20


@pytest.mark.parametrize("stops", [-3.0, -1.0, 0.0, 1.0, 2.2])
def test_exposure_multiplies_light(photos, stops):
    def light(coded):
        coded = coded.double().numpy()
        return np.where(coded > 0.04045, ((coded + 0.055) / 1.055) ** 2.4, coded / 12.92)

    found = light(brightness.exposure(photos, stops))
    np.testing.assert_allclose(found, np.minimum(light(photos) * 2**stops, 1), atol=2e-5)


def test_vignetting_darkens_corners_by_the_law():
    found = brightness.vignetting(torch.ones(1, 3, 601, 801), 0.7)[0, 0]
    assert found[300, 400] == pytest.approx(1, abs=1e-5)
    # light in the corner itself is 0.3; pixel centres lie half a pixel inside
    assert found[0, 0] == pytest.approx(0.3 ** (1 / 2.2), abs=2e-3)
    angle = math.atan(math.sqrt(0.3**-0.5 - 1) * 300 / 500)  # half way up: 300 of 500 pixels
    assert found[0, 400] == pytest.approx(math.cos(angle) ** (4 / 2.2), abs=2e-3)
    torch.testing.assert_close(found, found.flip(0))


def test_haze_hides_the_far(photos):
    hazed = brightness.haze(photos, 1.5)
    for row, depth in ((0, 1), (-1, 1 / 3)):
        t = math.exp(-1.5 * depth)
        expected = photos[:, :, row] * t + 0.9 * (1 - t)
        torch.testing.assert_close(hazed[:, :, row], expected)


@pytest.mark.parametrize("turns", [-0.05, 0.02, 1 / 3, 1.0])
def test_hue_turns_as_colorsys(turns):
    images = torch.rand(1, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    images[..., 0] = 0.4  # greys have no hue
    found = color.hue(images, turns).permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    for before, after in zip(
        images.permute(0, 2, 3, 1).reshape(-1, 3).tolist(), found, strict=True
    ):
        h, s, v = colorsys.rgb_to_hsv(*before)
        assert after == pytest.approx(colorsys.hsv_to_rgb((h + turns) % 1, s, v), abs=1e-5)


def test_aberration_moves_red_out_and_blue_in():
    ring = torch.zeros(1, 3, 101, 101)
    ring[..., 20] = 1  # a line 30 pixels left of the centre
    profile = color.chromatic_aberration(ring, 0.1)[0].mean(1)
    red, green, blue = (profile * torch.arange(101.0)).sum(1) / profile.sum(1)
    assert green == 20
    assert red == pytest.approx(50 - 30 * 1.1, abs=0.1)
    assert blue == pytest.approx(50 - 30 / 1.1, abs=0.1)


def test_banding_takes_the_nearest_of_even_values(photos):
    found = color.banding(photos, 6)
    np.testing.assert_allclose(found.unique(), np.arange(6) / 5, atol=1e-7)
    assert (found - photos).abs().max() <= 0.1 + 1e-6


def test_laplacian_sharpening_of_an_edge():
    # of greys, L* alone changes: by the Laplacian, here +- the step beside the edge
    lightness = torch.tensor([40.0, 40.0, 60.0, 60.0])
    grey = color.lab_to_rgb(torch.stack([lightness, 0 * lightness, 0 * lightness])[None, :, None])
    found = color.rgb_to_lab(sharpness.laplacian_sharpen(grey, 0.5))[0, 0, 0]
    np.testing.assert_allclose(found, [40, 30, 70, 60], atol=0.05)


# ---------------------------------------------------------------- codecs and ringing


@pytest.mark.parametrize("quality", [0, 30, 90])
def test_webp_is_pillows(photos, quality):
    for image in photos:
        buffer = io.BytesIO()
        to_pillow(image).save(buffer, "WEBP", quality=quality, method=2)
        expected = from_pillow(Image.open(buffer).convert("RGB"))
        assert torch.equal(compression.webp(image[None], quality)[0], expected)


def test_jpeg_is_pillows(photos):
    buffer = io.BytesIO()
    to_pillow(photos[0]).save(buffer, "JPEG", quality=30)
    expected = from_pillow(Image.open(buffer))
    assert torch.equal(compression.jpeg(photos[:1], 30)[0], expected)


@pytest.mark.parametrize("cutoff", [0.6, 1.1, 2.0])
def test_ringing_passes_low_frequencies_alone(cutoff):
    response = torch.fft.fft2(sinc_kernel(cutoff), s=(256, 256)).abs()
    frequency = 2 * math.pi * torch.fft.fftfreq(256, dtype=torch.float64)
    radius = torch.hypot(frequency[:, None], frequency[None])
    assert (response[radius < 0.7 * cutoff] - 1).abs().max() < 0.2
    assert response[radius > 1.3 * cutoff].max() < 0.15


def test_ringing_overshoots_beside_an_edge():
    edge = torch.full((1, 3, 32, 64), 0.2)
    edge[..., 32:] = 0.8
    found = compression.ringing(edge, 1.0)[0, 0, 16]
    assert found.max() > 0.83
    assert found.min() < 0.17
    assert (found[:20].diff().sign().diff() != 0).sum() >= 2  # ripples, not one bump


# ---------------------------------------------------------------- resizing and moire


@QUICK
@given(
    st.sampled_from(["bilinear", "bicubic", "lanczos"]),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_resampling_is_pillows(kernel, old, new):
    image = torch.rand(1, 3, *old, generator=torch.Generator().manual_seed(0))
    method = Image.Resampling[kernel.upper()]
    expected = [np.asarray(Image.fromarray(c).resize(new[::-1], method)) for c in image[0].numpy()]
    np.testing.assert_allclose(resample(image, new, kernel)[0], expected, atol=2e-5)


@pytest.mark.parametrize("factor", [2, 3.5, 16])
@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_resizing_goes_down_and_up(photos, factor, kernel):
    height, width = photos.shape[2:]
    small = math.ceil(width / factor), math.ceil(height / factor)
    method = Image.Resampling[kernel.upper()]
    expected = [
        np.asarray(Image.fromarray(c).resize(small, method).resize((width, height), method))
        for c in photos[0].numpy()
    ]
    found = getattr(spatial, f"resize_{kernel}")(photos[:1], factor)[0]
    np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=2e-5)


def test_wide_images_are_resized_block_by_block():
    wide = torch.rand(1, 3, 2, 2100, generator=torch.Generator().manual_seed(0))
    expected = [
        np.asarray(Image.fromarray(c).resize((700, 2), Image.Resampling.LANCZOS))
        for c in wide[0].numpy()
    ]
    np.testing.assert_allclose(resample(wide, (2, 700), "lanczos")[0], expected, atol=2e-5)


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


# ---------------------------------------------------------------- wrong values


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: blur.median_blur(x, 4), r"size must be odd and in 1\.\.15, not 4"),
        (lambda x: blur.glass_blur(x, 0, 0), "reach must be a whole number above 0"),
        (lambda x: blur.box_motion_blur(x, 2.5, 0), "length must be a whole number"),
        (lambda x: blur.anisotropic_blur(x, 0, 0), "sigma must be above 0"),
        (lambda x: blur.defocus_blur(x, 0), "radius must be above 0"),
        (lambda x: blur.zoom_blur(x, 0.9), r"factor 0\.9 is not in 1\.\.10"),
        (lambda x: noise.gaussian_noise(x, -1, 0), "std must be 0 or more"),
        (lambda x: noise.gray_noise(x, -1, 0), "std must be 0 or more"),
        (lambda x: noise.iso_noise(x, -1, 0), "intensity must be 0 or more"),
        (lambda x: noise.poisson_noise(x, 0, 0), "peak must be above 0"),
        (lambda x: brightness.brightness(x, -1), "factor must be 0 or more"),
        (lambda x: brightness.gamma(x, 0), "exponent must be above 0"),
        (lambda x: brightness.exposure(x, 21), r"stops 21.* is not in -20\.\.20"),
        (lambda x: brightness.vignetting(x, 1), "is not in"),
        (lambda x: brightness.haze(x, -1), "density must be 0 or more"),
        (lambda x: color.saturation(x, -1), "factor must be 0 or more"),
        (lambda x: color.chromatic_aberration(x, 0.6), r"amount 0\.6 is not in"),
        (lambda x: color.banding(x, 1), "n_values must be a whole number above 1"),
        (lambda x: sharpness.contrast(x, -1), "factor must be 0 or more"),
        (lambda x: sharpness.non_linear_contrast(x, 0.6), r"offset 0\.6 is not in"),
        (lambda x: compression.webp(x, 101), r"webp: quality 101.* at index 0"),
        (lambda x: compression.jpeg(x, 0), "jpeg: quality 0.* at index 0"),
        (lambda x: compression.ringing(x, 4), "cutoff 4.* is not in"),
        (lambda x: spatial.resize_nearest(x, 0.5), r"resize_nearest: factor must be 1 or more"),
        (lambda x: spatial.resize_lanczos(x, 0.5), r"resize_lanczos: factor must be 1 or more"),
        (lambda x: spatial.moire(x, 2, 0), "depth 2.* is not in"),
    ],
)
def test_values_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.rand(1, 3, 8, 8))
