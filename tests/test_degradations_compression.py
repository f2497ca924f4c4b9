"""Compression: against Pillow, and the ripples of a cut spectrum."""

import io
import math

import pytest
import torch
from degradation_images import from_pillow, to_pillow
from PIL import Image

from skiqa.degradations import compression
from skiqa.degradations._filters import sinc_kernel
from skiqa.degradations.compression import jpeg2000


def test_jpeg2000_keeps_to_the_ratio(photo_batch):
    # at 400 the two crops of 36,864 bytes shrink to 92 bytes: hardly more than their mean
    change = (jpeg2000(photo_batch, 400.0) - photo_batch).abs().mean()
    assert change > 2 * (jpeg2000(photo_batch, 16.0) - photo_batch).abs().mean()
    assert (jpeg2000(photo_batch, 1.0) - photo_batch).abs().max() < 0.03


@pytest.mark.parametrize("quality", [0, 30, 90])
def test_webp_is_pillows(photo_batch, quality):
    for image in photo_batch:
        buffer = io.BytesIO()
        to_pillow(image).save(buffer, "WEBP", quality=quality, method=2)
        expected = from_pillow(Image.open(buffer).convert("RGB"))
        assert torch.equal(compression.webp(image[None], quality)[0], expected)


def test_jpeg_is_pillows(photo_batch):
    buffer = io.BytesIO()
    to_pillow(photo_batch[0]).save(buffer, "JPEG", quality=30)
    expected = from_pillow(Image.open(buffer))
    assert torch.equal(compression.jpeg(photo_batch[:1], 30)[0], expected)


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
