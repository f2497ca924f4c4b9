"""FeatureMatchingQualityRegressor: tokens, panel, matched noise, students, and its manners."""

import pickle

import numpy as np
import pytest
from fine_tuning_parts import rated_crops
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks

from skiqa import ContrastiveQualityEncoder, FeatureMatchingQualityRegressor, persistence
from skiqa._fine_tuning.held_out import HeldOut
from skiqa._network.build import random_state_of

ALL = {"matching": 1.0, "consistency": 1.0, "selection": 0.01, "ranking": 0.5, "memory": 8}


def matcher(backbone="test_efficientnet", scales=(1.0,), **parameters):
    encoder = ContrastiveQualityEncoder(scales=scales).with_state(random_state_of(backbone, 0))
    defaults = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "alpha": 1e-3, "width": 16}
    defaults |= {"token_grid": 2, "random_state": 0}
    return FeatureMatchingQualityRegressor(FrozenEstimator(encoder), **defaults | parameters)


@pytest.fixture
def rated(photo_paths):
    return rated_crops(photo_paths)


@pytest.fixture
def every_epoch_is_kept(monkeypatch):
    monkeypatch.setattr(HeldOut, "is_as_good", lambda self, scores: True)


@parametrize_with_checks([matcher(batch_size=32, matching=1.0, consistency=1.0)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.usefixtures("every_epoch_is_kept")
@pytest.mark.parametrize(
    ("backbone", "parameters"),
    [
        ("test_efficientnet", ALL | {"token_stages": 2}),
        ("test_efficientnet", {"maps_dir": "maps", "n_queries": 0, "trained_last_stages": 0}),
        ("test_vit", {"window_size": 48, "residual": False, "noise": "tokens", "n_queries": 1}),
    ],
)
def test_same_seed_same_scores_and_files(rated, backbone, parameters, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, y, groups = rated
    model = matcher(backbone, **parameters)
    first, spread = model.fit(images, y, groups=groups).predict(images, return_std=True)
    assert model.best_epoch_ == 1
    again = clone(model).set_params(n_jobs=2).fit(images, y, groups=groups)
    np.testing.assert_array_equal(again.predict(images), first)
    assert (spread > 0).all() == (model.n_queries > 1)
    assert b"torch._utils" not in pickle.dumps(model)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(images), first)
    persistence.save(model, tmp_path / "model.skops")
    loaded = persistence.load(tmp_path / "model.skops")
    np.testing.assert_array_equal(loaded.predict(images), first)
