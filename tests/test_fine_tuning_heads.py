"""Linear heads: a ridge within datasets, and ridges that have not seen an image."""

import numpy as np
from conftest import CPU
from sklearn.linear_model import Ridge

from skiqa._fine_tuning.data import TrainingSet
from skiqa._fine_tuning.heads import cross_fitted, ridge_within


def test_a_head_has_not_seen_its_images():
    rng = np.random.default_rng(0)
    rows, groups = rng.normal(size=(60, 5)), np.arange(60) // 2
    y, datasets = rng.normal(size=60), np.arange(60) % 2
    heads = cross_fitted(rows, y, groups, datasets, np.ones(60), 2, 1.0, 0)
    assert heads.coef.shape == (5, 5)
    for k in range(5):
        seen = heads.of_image != k
        assert not set(groups[seen]) & set(groups[~seen])
        coef, intercept = ridge_within(
            rows[seen], y[seen], datasets[seen], np.ones(seen.sum()), 2, 1.0
        )
        np.testing.assert_array_equal(heads.coef[k], coef)
        np.testing.assert_array_equal(heads.intercept[k], intercept)
    training_set = TrainingSet(np.arange(60), y, datasets, heads, None, *[np.ones(60)] * 3)
    targets = training_set.targets(np.array([7, 2]), CPU)
    np.testing.assert_allclose(targets.coef, heads.coef[heads.of_image[[7, 2]]], rtol=1e-6)
    expected = [heads.intercept[heads.of_image[7], 1], heads.intercept[heads.of_image[2], 0]]
    np.testing.assert_allclose(targets.intercept, expected, rtol=1e-6)
    np.testing.assert_allclose(targets.y, y[[7, 2]], rtol=1e-6)
    assert targets.datasets.tolist() == [1, 0]


def test_ridge_within_is_a_ridge_with_indicators_of_the_datasets():
    rng = np.random.default_rng(0)
    rows, y, datasets = rng.normal(size=(40, 3)), rng.normal(size=40), np.arange(40) % 3
    weights = rng.uniform(0.5, 2, 40)
    coef, intercept = ridge_within(rows, y, datasets, weights, 3, 2.0)
    # the indicators are hardly penalised: they are large
    wide = Ridge(2.0, fit_intercept=False)
    wide.fit(np.hstack([rows, 1e5 * np.eye(3)[datasets]]), y, weights)
    np.testing.assert_allclose(coef, wide.coef_[:3], rtol=1e-6)
    np.testing.assert_allclose(intercept, 1e5 * wide.coef_[3:], rtol=1e-6)
    plain = Ridge(2.0).fit(rows, y, weights)
    coef, intercept = ridge_within(rows, y, np.zeros(40, int), weights, 1, 2.0)
    np.testing.assert_allclose(np.append(coef, intercept), np.append(plain.coef_, plain.intercept_))
