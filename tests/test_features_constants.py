import numpy as np
import pytest
from conftest import CPU, TINY
from sklearn.datasets import load_sample_images

from skiqa._features.constants import standardising_constants
from skiqa._features.extract import Extraction, extract
from skiqa._inputs.containers import as_image_list
from skiqa._network.build import random_state_of
from skiqa._network.state import EncoderState


@pytest.fixture(scope="module")
def photos():
    china, flower = load_sample_images().images
    return [china[:97, :131], flower[100:240, 60:160], china[50:120, 300:420]]


def stage_features(images, state):
    extraction = Extraction(state, (1.0, 0.5), "stages", "cpu", "auto")
    rows = extract(images, extraction, n_jobs=None, on_error="raise")
    return np.stack([row for _, row in rows])


def test_standardising(photos):
    state = random_state_of(TINY, 0)
    images = as_image_list(photos)
    center, scale = standardising_constants(images, [0, 1, 2], state, device=CPU, n_jobs=None)
    assert center.shape == scale.shape == (1, 2, 800)
    raw = stage_features(images, state) * np.sqrt(1600)
    np.testing.assert_allclose(center.ravel(), raw.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert (scale > 0).all()
    fields = {"backbone": TINY, "networks": state.networks, "mean": state.mean, "std": state.std}
    whole = EncoderState(**fields, center=center, scale=scale)
    rows = stage_features(images, whole)
    expected = (raw - center.ravel()) / scale.ravel() / np.sqrt(1600)
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-5)
    assert rows.dtype == np.float32


def test_constant_features_stay_finite():
    grey = [np.full((40, 40), 128, np.uint8)] * 3
    state = random_state_of(TINY, 0)
    _, scale = standardising_constants(
        as_image_list(grey), [0, 1, 2], state, device=CPU, n_jobs=None
    )
    assert (scale == 1).all()
