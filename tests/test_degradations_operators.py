"""Every operator: contract, strength, and frozen behaviour."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skiqa.degradations import _batching, get_operator, list_operators
from skiqa.degradations.blur import gaussian_blur

QUICK = settings(max_examples=5)


NAMES = tuple(list_operators())  # as this file is read: tests register more


# Mean absolute change, in 255ths, of two crops at levels 1..5 with seeds 1 and 2: this
# implementation's own values, frozen so that a change of behaviour is noticed.
CHANGE = {
    "gaussian_blur": (0.0000, 5.2564, 13.5903, 19.0534, 25.4118),
    "gaussian_blur_qpt": (5.2564, 13.5903, 16.9250, 19.0534, 20.6681),
    "lens_blur": (9.5088, 15.6417, 20.6713, 23.6939, 25.6752),
    "motion_blur": (0.0000, 7.0327, 12.1114, 15.2837, 18.8160),
    "motion_blur_reiqa": (19.2274, 20.6068, 21.8848, 22.7769, 23.6835),
    "anisotropic_blur": (0.3637, 9.5509, 13.8518, 16.4861, 18.3998),
    "defocus_blur": (18.7398, 20.7000, 22.3989, 23.7119, 24.7742),
    "zoom_blur": (7.6274, 12.5176, 15.7246, 17.8487, 19.4807),
    "median_blur": (11.1443, 16.3044, 18.8293, 20.7036, 22.1272),
    "glass_blur": (16.6320, 19.6033, 21.7490, 23.4135, 24.6857),
    "brighten": (9.3870, 18.6250, 36.3698, 61.1836, 83.8916),
    "darken": (4.2152, 8.4304, 16.8607, 33.7214, 63.2122),
    "mean_shift": (36.6299, 20.1971, 0.0000, 18.8259, 34.0538),
    "mean_shift_arniqa": (0.0000, 20.1971, 18.8259, 36.6299, 34.0538),
    "brightness_up": (5.4960, 10.7527, 15.4335, 19.5705, 23.3513),
    "brightness_down": (5.5481, 11.0962, 16.6443, 22.1924, 27.7405),
    "gamma_up": (1.6155, 3.1885, 4.7206, 6.2132, 7.6678),
    "gamma_down": (3.3652, 5.1185, 6.9214, 8.7759, 10.6841),
    "over_exposure": (14.4363, 26.8872, 38.5793, 49.9135, 65.8352),
    "under_exposure": (16.6914, 31.1206, 43.5892, 54.3576, 71.6564),
    "vignetting": (6.4782, 12.6063, 21.8438, 34.0233, 51.8035),
    "haze": (11.1475, 24.2907, 40.8668, 60.1254, 80.6026),
    "color_diffusion": (7.8823, 39.2750, 57.9433, 64.1411, 71.9333),
    "color_shift": (4.7056, 6.8475, 7.4389, 7.4936, 7.9872),
    "color_quantization": (6.0538, 6.7599, 7.8874, 10.3829, 13.5827),
    "color_saturation_hsv": (33.6370, 44.8493, 50.4555, 56.0617, 73.0495),
    "color_saturation_lab": (0.0000, 27.9474, 39.2634, 55.3683, 62.0451),
    "saturation_up": (3.6251, 7.0548, 10.2952, 13.2361, 15.8227),
    "saturation_down": (3.9057, 7.8114, 11.7171, 15.6227, 19.5284),
    "hue_up": (2.0051, 4.0101, 6.0152, 8.0202, 10.0253),
    "hue_down": (2.0051, 4.0101, 6.0152, 8.0202, 10.0253),
    "chromatic_aberration": (1.1661, 2.2899, 4.4221, 7.3858, 10.6572),
    "banding": (1.5970, 2.7049, 4.7623, 7.6007, 12.6263),
    "jpeg2000": (13.0307, 17.5598, 19.8982, 29.2618, 41.8607),
    "jpeg2000_arniqa": (13.0307, 17.5598, 19.8982, 29.2618, 41.8607),
    "jpeg": (10.5952, 11.1518, 12.6605, 18.3707, 22.0744),
    "jpeg_qpt": (5.6078, 8.5240, 10.0869, 11.8101, 16.5996),
    "jpeg_reiqa": (8.5240, 10.5952, 11.1518, 12.6605, 18.3707),
    "webp": (8.3263, 10.5428, 12.4764, 14.2014, 18.1634),
    "ringing": (10.5326, 13.8825, 16.5239, 18.5627, 20.7140),
    "white_noise": (6.2593, 8.7971, 10.7192, 13.7165, 19.0555),
    "white_noise_ycbcr": (3.8276, 8.4444, 11.8160, 16.4442, 19.8796),
    "impulse_noise": (0.1381, 0.6084, 1.1806, 2.3877, 3.6342),
    "multiplicative_noise": (3.0320, 6.7196, 9.3830, 12.9956, 19.7878),
    "multiplicative_noise_qpt": (2.7685, 5.5093, 8.1768, 10.7509, 13.2443),
    "gaussian_noise": (3.1298, 6.2105, 9.2461, 12.2269, 13.6937),
    "gray_noise": (3.1396, 6.2340, 9.2821, 12.2742, 13.7461),
    "iso_noise": (2.6184, 5.6305, 8.7675, 11.8722, 14.9249),
    "poisson_noise": (6.1902, 10.0067, 15.5288, 23.4340, 35.7279),
    "denoise": (13.7370, 19.2150, 22.3125, 27.1663, 30.4528),
    "denoise_reiqa": (20.1522, 20.2714, 20.3828, 20.5930, 21.0746),
    "high_sharpen": (16.9339, 28.5100, 36.9587, 52.6268, 67.3903),
    "contrast_change": (23.3396, 16.6558, 9.5180, 9.5180, 19.0360),
    "contrast_change_arniqa": (9.5180, 16.6558, 9.5180, 23.3396, 19.0360),
    "non_linear_contrast": (12.9062, 25.8124, 38.7187, 51.6249, 58.0780),
    "contrast_up": (2.7569, 5.3117, 7.7325, 9.9867, 12.0493),
    "contrast_down": (3.0535, 6.1069, 9.1603, 12.2138, 15.2673),
    "unsharp_mask": (8.3593, 11.2795, 13.9885, 16.4991, 18.8336),
    "high_sharpen_reiqa": (32.9470, 48.7628, 58.4672, 74.3500, 87.7062),
    "jitter": (2.7742, 5.5766, 10.7048, 19.0909, 24.5483),
    "non_eccentricity_patch": (12.8524, 19.1073, 26.2213, 30.3870, 32.1557),
    "pixelate": (3.9412, 7.7549, 10.2715, 14.2239, 21.8883),
    "quantization": (5.3247, 6.7562, 8.3549, 11.1346, 15.4654),
    "resize_nearest": (15.9714, 18.5244, 19.7169, 22.0542, 24.5192),
    "resize_nearest_reiqa": (15.9714, 19.7169, 24.5192, 25.6762, 27.9903),
    "resize_bilinear": (15.8958, 17.0951, 18.4167, 19.5694, 20.7663),
    "resize_bilinear_reiqa": (15.8958, 18.4167, 20.7663, 25.7200, 29.4555),
    "resize_bicubic": (13.8747, 15.6077, 17.0630, 18.0352, 19.1486),
    "resize_bicubic_reiqa": (13.8747, 17.0630, 19.1486, 24.4397, 28.5891),
    "resize_lanczos": (13.3821, 16.7192, 18.7700, 24.0716, 28.3163),
    "moire": (3.3196, 7.7458, 13.8318, 22.1308, 33.1962),
    "color_block": (11.1184, 24.7481, 32.1674, 42.5432, 45.0530),
}


# What hangs on the versions of libjpeg, OpenJPEG and Pillow.
LOOSE = {"color_quantization", *list_operators("compression")} - {"ringing"}


def noise(height, width, seed=0):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


@st.composite
def batches(draw):
    """Two images of any size, noisy, smooth or constant."""
    height, width = draw(st.integers(8, 513)), draw(st.integers(8, 257))
    kind = draw(st.sampled_from(["noise", "ramp", "black", "white", "grey", "two"]))
    if kind == "noise":
        return noise(height, width, draw(st.integers(0, 99)))
    if kind == "ramp":
        ramp = torch.linspace(0, 1, height)[:, None] * torch.linspace(0.2, 1, width)
        return torch.stack([ramp, 1 - ramp, ramp / 2]).expand(2, 3, height, width).clone()
    images = torch.full((2, 3, height, width), {"white": 1.0, "grey": 0.5}.get(kind, 0.0))
    if kind == "two":
        images[:, :, : height // 2] = 0.7
    return images


def test_every_operator_declares_itself():
    operators = [get_operator(name) for name in NAMES]
    assert len(operators) >= 45
    published = ("KADID-10k type ", "ARNIQA", "Re-IQA", "QualityAwareTransform", "our choice")
    for operator in operators:
        assert any(word in operator.source for word in published), operator.name
        assert operator.family in ("geometric", "color", "texture")
        assert len(set(operator.levels)) == 5
        assert operator.function.__doc__
        if operator.monotone:  # the levels run one way, and the test below says it is the worse
            assert list(operator.levels) in (
                sorted(operator.levels),
                sorted(operator.levels, reverse=True),
            )
    assert len({(o.function, o.levels) for o in operators}) == len(operators)


@pytest.mark.parametrize("name", NAMES)
@QUICK
@example(images=noise(513, 257), level=4, seed=5)
@example(images=noise(8, 8), level=5, seed=5)
@given(images=batches(), level=st.integers(1, 5), seed=st.integers(-(2**63), 2**63 - 1))
def test_contract(name, images, level, seed):
    operator = get_operator(name)
    before = images.clone()
    levels, seeds = torch.tensor([level, 6 - level]), torch.tensor([seed, 7])
    result = operator(images, levels, seeds)
    assert result.shape == images.shape
    assert result.dtype == torch.float32
    assert result.isfinite().all()
    assert result.min() >= 0
    assert result.max() <= 1
    assert torch.equal(images, before)
    assert result.data_ptr() != images.data_ptr()
    assert torch.equal(operator(images, levels, seeds), result)
    for i in range(2):
        alone = operator(images[i : i + 1], levels[i : i + 1], seeds[i : i + 1])
        assert torch.equal(alone, result[i : i + 1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (5, 3)])
def test_tiny_images(name, size):
    generator = torch.Generator().manual_seed(0)
    for images in (torch.rand(1, 3, *size, generator=generator), torch.zeros(1, 3, *size)):
        for level in (1, 5):
            result = get_operator(name)(images, level, 0)
            assert result.shape == images.shape
            assert result.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_empty_batches(name):
    assert get_operator(name)(torch.zeros(0, 3, 8, 8), 3, 0).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("name", NAMES)
def test_memory_layout_does_not_matter(name, photo_batch):
    strided = photo_batch[:, :, ::2, ::2]
    last = strided.to(memory_format=torch.channels_last)
    expected = get_operator(name)(strided.contiguous(), 4, 3)
    torch.testing.assert_close(get_operator(name)(strided, 4, 3), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(get_operator(name)(last, 4, 3), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_equal_level_can_go_together(name, photo_batch, monkeypatch):
    # As on CUDA, where functions see several samples at once.
    operator = get_operator(name)
    images, seeds = photo_batch[[0, 1, 0]], torch.tensor([1, 2, 3])
    expected = operator(images, torch.tensor([2, 5, 2]), seeds)
    monkeypatch.setattr(_batching, "_go_one_by_one", lambda device: False)
    together = operator(images, torch.tensor([2, 5, 2]), seeds)
    torch.testing.assert_close(together, expected, atol=2e-5, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_agrees(name, photo_batch):
    levels, seeds = torch.tensor([2, 5]), torch.tensor([1, 2])
    expected = get_operator(name)(photo_batch, levels, seeds)
    found = get_operator(name)(photo_batch.cuda(), levels, seeds).cpu()
    assert (found - expected).abs().mean() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_frozen_change(name, photo_batch):
    seeds = torch.tensor([1, 2])
    change = [
        255 * float((get_operator(name)(photo_batch, level, seeds) - photo_batch).abs().mean())
        for level in range(1, 6)
    ]
    assert change == pytest.approx(CHANGE[name], rel=0.05 if name in LOOSE else 1e-3, abs=2e-4)


@pytest.mark.parametrize("name", [name for name in NAMES if get_operator(name).monotone])
def test_a_higher_level_changes_more(name, photo_batch):
    images = photo_batch
    if name == "color_block":  # blocks may hide one another: on the mean over seeds
        images = photo_batch.repeat(6, 1, 1, 1)
    if name == "color_shift":  # beyond the size of the texture a shift cannot change more
        images = gaussian_blur(photo_batch, 5.0)
    seeds = torch.arange(len(images))
    errors = [
        float((get_operator(name)(images, level, seeds) - images).square().mean())
        for level in range(1, 6)
    ]
    assert errors == sorted(errors)
    assert len(set(errors)) == 5


@pytest.mark.parametrize("name", NAMES)
def test_only_random_operators_look_at_the_seed(name, photo_batch):
    operator = get_operator(name)
    first = operator(photo_batch, 5, 0)
    same = [torch.equal(operator(photo_batch, 5, seed), first) for seed in range(1, 6)]
    assert all(same) != operator.random


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_strengths_must_be_finite(name, value):
    operator = get_operator(name)
    arguments = (torch.rand(1, 3, 8, 8), value) + ((0,) if operator.random else ())
    with pytest.raises(ValueError, match=f"{operator.function.__name__}: .* at index 0"):
        operator.function(*arguments)
