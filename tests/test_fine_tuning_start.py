"""Where a fine-tuning starts: an encoder, frozen or not, a file, or a name."""

import numpy as np
import pytest
from fine_tuning_parts import rated_crops, tiny
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectFromModel
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge

from skiqa import ContrastiveQualityEncoder, FineTunedQualityRegressor
from skiqa._fine_tuning.start import starting_encoder
from skiqa._inputs.containers import as_image_list
from skiqa._network.build import random_state_of
from skiqa._network.weight_files import BUNDLED, load_state, state_to_tensors, write_file


@pytest.fixture
def rated(photo_paths):
    return rated_crops(photo_paths)


def start(encoder, images):
    return starting_encoder(encoder, images, image_shape=None, device="auto", n_jobs=None)


def test_an_encoder_is_cloned_and_fitted_unless_it_is_frozen(rated):
    images = as_image_list(rated[0])
    state = random_state_of("test_efficientnet", 0)
    encoder = ContrastiveQualityEncoder(scales=(0.5,), on_error="nan").with_state(state)
    frozen, fitted = start(FrozenEstimator(encoder), images), start(encoder, images)
    assert frozen.state_ is encoder.state_ is state
    assert fitted.state_.digest == load_state(BUNDLED).digest  # what its parameters name
    assert frozen.scales == fitted.scales == (0.5,)
    assert encoder.on_error == "nan"  # what was given stays as it is


def test_what_is_no_encoder_is_refused(rated):
    images = as_image_list(rated[0])
    with pytest.raises(TypeError, match="Ridge"):
        start(FrozenEstimator(Ridge()), images)
    with pytest.raises(TypeError, match="SelectFromModel"):  # it has an encoder, but is none
        start(SelectFromModel(ContrastiveQualityEncoder()), images)
    with pytest.raises(NotFittedError):
        start(FrozenEstimator(ContrastiveQualityEncoder()), images)


def test_a_file_is_an_encoder(rated, tmp_path):
    images, y, groups = rated
    tensors, header = state_to_tensors(random_state_of("test_efficientnet", 0))
    write_file(
        tmp_path / "start.skiqa",
        {f"encoder.{k}": v for k, v in tensors.items()},
        {"encoder": header},
    )
    model = FineTunedQualityRegressor(tmp_path / "start.skiqa", epochs=0, alpha=1e-3)
    expected = tiny(epochs=0).fit(images, y, groups=groups).predict(images)
    np.testing.assert_allclose(model.fit(images, y, groups=groups).predict(images), expected)


def test_a_name_of_timm_is_an_encoder_with_its_own_weights(rated, monkeypatch):
    images, y, groups = rated
    state = random_state_of("test_efficientnet", 7)
    monkeypatch.setattr("skiqa._network.build.timm_state", {"test_efficientnet": state}.__getitem__)
    model = FineTunedQualityRegressor("test_efficientnet", epochs=0, alpha=1e-3)
    model.fit(images, y, groups=groups)
    assert model.pipeline_[0].state_.backbone == "test_efficientnet"
    np.testing.assert_array_equal(
        model.pipeline_[0].state_.networks[0]["conv_stem.weight"],
        state.networks[0]["conv_stem.weight"],
    )
