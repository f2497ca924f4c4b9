"""Strengths out of range: the error names them."""

import pytest
import torch

from skiqa.degradations import blur, brightness, color, compression, noise, sharpness, spatial


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
