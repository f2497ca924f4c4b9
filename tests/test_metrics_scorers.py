import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_validate

from skiqa.metrics import (
    SCORERS,
    krocc_score,
    krocc_scorer,
    neg_rmse_scorer,
    plcc_score,
    plcc_scorer,
    rmse_error,
    srocc_score,
    srocc_scorer,
)


class _FirstColumn(RegressorMixin, BaseEstimator):
    """Predict the first column, and note how many rows."""

    calls = []

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y):
        self.is_fitted_ = True
        return self

    def predict(self, X):
        self.calls.append(len(X))
        return self.factor * X[:, 0]


def test_scorers_drop_unlabelled_rows_and_refuse_nan_predictions():
    model = _FirstColumn().fit(None, None)
    X = np.array([[1.0], [2.0], [4.0], [3.0], [9.0]])
    y = np.array([1.0, np.nan, 3.0, 4.0, 5.0])
    kept = [0, 2, 3, 4]
    for name, score in (("srocc", srocc_score), ("plcc", plcc_score), ("krocc", krocc_score)):
        assert SCORERS[name](model, X, y) == score(y[kept], X[kept, 0])
    assert SCORERS["neg_rmse"](model, X, y) == -rmse_error(y[kept], X[kept, 0])
    assert srocc_scorer(model, X, pd.Series([1, None, 3, 4, 5], dtype="Float64")) == srocc_scorer(
        model, X, y
    )
    X[3] = np.nan
    for scorer in SCORERS.values():
        with pytest.raises(ValueError, match=r"y_pred holds nan at index 3 .*unreadable images"):
            scorer(model, X, y)
        with pytest.warns(UndefinedMetricWarning):
            assert np.isnan(scorer(model, X, np.full(5, np.nan)))


def test_scorers_pickle():
    for name, scorer in SCORERS.items():
        copy = pickle.loads(pickle.dumps(scorer))
        model = _FirstColumn().fit(None, None)
        X, y = np.array([[1.0], [3.0], [2.0]]), np.array([1.0, 2.0, 3.0])
        assert copy(model, X, y) == scorer(model, X, y), name
    assert {
        "srocc": srocc_scorer,
        "plcc": plcc_scorer,
        "krocc": krocc_scorer,
        "neg_rmse": neg_rmse_scorer,
    } == SCORERS


def test_grid_search_with_all_scorers_ranks_higher_as_better():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 1))
    y = X[:, 0] + 0.1 * rng.normal(size=60)
    grid = {"factor": [-1.0, 0.0, 1.0, 3.0]}
    search = GridSearchCV(_FirstColumn(), grid, scoring=SCORERS, refit="neg_rmse", cv=3)
    results = search.fit(X, y).cv_results_
    assert search.best_params_ == {"factor": 1.0}
    assert (results["mean_test_neg_rmse"] < 0).all()
    assert results["mean_test_srocc"][1] == 0.0  # constant predictions do not spoil the ranking
    assert np.argmin(results["mean_test_srocc"]) == 0
    np.testing.assert_allclose(results["mean_test_plcc"][2], results["mean_test_plcc"][3])


def test_cross_validate_predicts_once_for_all_scorers():
    X = np.random.default_rng(0).normal(size=(30, 2))
    _FirstColumn.calls.clear()
    cross_validate(_FirstColumn(), X, X @ [1, 0.1], scoring=SCORERS, cv=3)
    assert _FirstColumn.calls == [10, 10, 10]
    scores = cross_validate(Ridge(), X, X @ [1, 0.1], scoring=SCORERS, cv=3)
    assert (scores["test_srocc"] > 0.9).all()
