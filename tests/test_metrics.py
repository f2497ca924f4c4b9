import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_validate

from skiqa.metrics import (
    SCORERS,
    fit_logistic,
    krocc_score,
    krocc_scorer,
    neg_rmse_scorer,
    plcc_score,
    plcc_scorer,
    rmse_error,
    srocc_score,
    srocc_scorer,
)

CORRELATIONS = {
    srocc_score: lambda a, b: stats.spearmanr(a, b).statistic,
    plcc_score: lambda a, b: stats.pearsonr(a, b).statistic,
    krocc_score: lambda a, b: stats.kendalltau(a, b).statistic,
}
SCORES = [*CORRELATIONS, rmse_error]
MAPPINGS = ["logistic4", "logistic5"]
each_score = pytest.mark.parametrize("score", SCORES, ids=lambda f: f.__name__)
each_correlation = pytest.mark.parametrize("score", CORRELATIONS, ids=lambda f: f.__name__)
each_mapping = pytest.mark.parametrize("mapping", MAPPINGS)
quick = settings(database=None, deadline=None, max_examples=60)


# ---------------------------------------------------------------- values


def test_golden_values_by_hand():
    y, p = [1, 2, 3, 4, 5], [2, 1, 4, 3, 5]
    assert srocc_score(y, p) == pytest.approx(1 - 6 * 4 / (5 * 24))  # 1 - 6 Σd² / n(n² - 1)
    assert krocc_score(y, p) == pytest.approx((8 - 2) / 10)  # 8 of 10 pairs concordant
    assert plcc_score(y, p) == pytest.approx(0.8)  # Σxy / Σx² = 8 / 10 about the mean 3
    assert rmse_error(y, p) == pytest.approx(np.sqrt(4 / 5))


def test_golden_values_with_ties_by_hand():
    # ranks 1.5 1.5 3 and 1 2.5 2.5: about 2, (-.5 -.5 1)(-1 .5 .5) = .75 over 1.5
    assert srocc_score([0, 0, 7], [1, 2, 2]) == pytest.approx(0.5)
    # pairs: tie in y; (0,7)/(1,2) concordant; tie in p -> tau-b = 1 / sqrt(2 * 2)
    assert krocc_score([0, 0, 7], [1, 2, 2]) == pytest.approx(0.5)


@each_correlation
@given(
    pairs=st.lists(
        st.tuples(st.integers(-4, 4), st.floats(-1e3, 1e3).map(lambda v: round(v, 1))),
        min_size=2,
        max_size=40,
    )
)
@quick
def test_equals_scipy_with_ties(score, pairs):
    y, p = np.array(pairs, dtype=float).T
    if np.ptp(y) == 0 or np.ptp(p) == 0:
        assert score(y, p) == 0.0
    else:
        with warnings.catch_warnings():  # scipy's p-value for two samples
            warnings.simplefilter("ignore")
            expected = CORRELATIONS[score](y, p)
        assert score(y, p) == pytest.approx(expected, abs=1e-12)


@each_correlation
def test_equals_scipy_on_a_million_rows(score):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 500, 1_000_000).astype(np.float64)  # ties
    p = (y + 100 * rng.normal(size=len(y))).round()
    assert score(y, p) == pytest.approx(CORRELATIONS[score](y, p), abs=1e-12)


@each_correlation
def test_is_symmetric_bounded_and_odd(score):
    rng = np.random.default_rng(1)
    y = rng.normal(size=50)
    p = y + rng.normal(size=50)
    assert score(y, p) == pytest.approx(score(p, y), abs=1e-15)
    assert score(y, -p) == pytest.approx(-score(y, p), abs=1e-15)
    assert score(y, y) == pytest.approx(1.0, abs=1e-15)
    assert score(y, y) <= 1.0
    assert isinstance(score(y, p), float)


@each_correlation
def test_constant_input_scores_zero(score):
    assert score([1, 1, 1], [1, 2, 3]) == 0.0
    assert score([1, 2, 3], [0.1, 0.1, 0.1]) == 0.0
    assert score([1, 1], [2, 2]) == 0.0


@each_score
@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1e-160, 1e160, 1e307])
def test_any_magnitude(score, scale):
    y = np.array([1.0, 2, 3, 4, 6])
    p = np.array([2.0, 1, 4, 3, 5])
    expected = score(y, p) * (scale if score is rmse_error else 1)
    assert score(y * scale, p * scale) == pytest.approx(
        expected, rel=1e-3 if scale < 1e-310 else 1e-12
    )


def test_plcc_keeps_its_digits_far_from_zero():
    y = np.array([1.0, 2, 3, 4, 6])
    p = np.array([2.0, 1, 4, 3, 5])
    assert plcc_score(y, 1e12 + p / 1024) == pytest.approx(plcc_score(y, p), abs=1e-12)


# ---------------------------------------------------------------- input


@each_score
def test_fewer_than_two_samples(score):
    for n in range(2):
        if score is rmse_error and n == 1:
            assert rmse_error([3], [1]) == 2.0  # an error of one sample is defined
        else:
            with pytest.warns(UndefinedMetricWarning, match=f"for {n} samples"):
                assert np.isnan(score([1.0] * n, [1.0] * n))


@each_mapping
def test_fewer_than_two_samples_with_a_mapping(mapping):
    for score in (plcc_score, rmse_error):
        with pytest.warns(UndefinedMetricWarning):
            assert np.isnan(score([1.0], [1.0], mapping=mapping))
    with pytest.raises(ValueError, match="at least two samples"):
        fit_logistic([1.0], [1.0], mapping)


@each_score
def test_refuses_bad_input(score):
    with pytest.raises(ValueError, match="y_true has 3 samples and y_pred 2"):
        score([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match=r"y_true holds nan at index 1 \(2 in all\)"):
        score([1, np.nan, np.nan], [1, 2, 3])
    with pytest.raises(ValueError, match="y_pred holds -inf at index 2"):
        score([1, 2, 3], [1, 2, -np.inf])
    with pytest.raises(ValueError, match=r"y_pred must have shape \(n_samples,\), got \(3, 2\)"):
        score([1, 2, 3], np.ones((3, 2)))
    with pytest.raises(TypeError, match="y_true must hold real numbers"):
        score(["a", "b", "c"], [1, 2, 3])
    with pytest.raises(TypeError, match="y_pred must hold real numbers"):
        score([1, 2, 3], [1j, 2, 3])


@each_score
def test_accepts_what_holds_numbers(score):
    y, p = [1, 2, 3, 5], [1.0, 3.0, 2.0, 4.0]
    expected = score(np.array(y), np.array(p))
    assert score(tuple(y), np.array(p)[:, None]) == expected
    assert score(pd.Series(y, index=[3, 2, 1, 0], dtype="Int64"), np.array(p, object)) == expected
    assert score(y, np.array(p, np.float32)) == pytest.approx(expected)


def test_does_not_touch_its_input():
    y, p = np.array([1.0, 2, 3, 4, 5]), np.array([1.0, 2, 3, 4, 9])
    y.flags.writeable = p.flags.writeable = False
    for score in SCORES:
        score(y, p)
    plcc_score(y, p, mapping="logistic4")


@pytest.mark.parametrize("mapping", ["logistic3", 4, ["logistic4"]])
def test_unknown_mapping(mapping):
    for function in (plcc_score, rmse_error, fit_logistic):
        with pytest.raises(ValueError, match="logistic4"):
            function([1, 2, 3], [1, 2, 3], mapping=mapping)
    with pytest.raises(ValueError, match="got None"):
        fit_logistic([1, 2, 3], [1, 2, 3], None)


# ---------------------------------------------------------------- mappings


def _formula(name, b, x):
    """Write the two curves as the papers print them."""
    with np.errstate(over="ignore"):
        if name == "logistic4":
            return (b[0] - b[1]) / (1 + np.exp(-(x - b[2]) / abs(b[3]))) + b[1]
        return b[0] * (0.5 - 1 / (1 + np.exp(b[1] * (x - b[2])))) + b[3] * x + b[4]


def _reference_plcc(y, x, name):
    """Exhaustive search: scipy's linear least squares at every (centre, width) of a dense grid."""
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    linear = [np.ones_like(x), x][: 1 if name == "logistic4" else 2]

    def unexplained(theta):
        sigmoid = expit((x - theta[0]) / np.exp(theta[1]))
        design = np.stack([*linear, sigmoid], axis=1)
        return np.mean((design @ np.linalg.lstsq(design, y, rcond=1e-13)[0] - y) ** 2)

    edges = np.sort(x)
    centres = [*edges, *(edges[1:] + edges[:-1]) / 2, *edges[0] - [1, 3], *edges[-1] + [1, 3]]
    widths = np.linspace(np.log(np.diff(np.unique(x)).min() / 10), 3, 25)
    grid = [(centre, width) for centre in centres for width in widths]
    loss = np.array([unexplained(theta) for theta in grid])
    best = min(loss.min(), unexplained((0.0, np.log(1e3))))
    for k in np.argsort(loss)[:6]:
        options = {"xatol": 1e-9, "fatol": 1e-14}
        best = min(best, minimize(unexplained, grid[k], method="Nelder-Mead", options=options).fun)
    return np.sqrt(1 - best)


def _hard_cases():
    rng = np.random.default_rng(5)
    x = rng.normal(size=50)
    noise = rng.normal(size=50)
    curve = expit(3 * x)
    far = x.copy()
    far[0] = 1e4
    return {
        "noisy logistic": (curve + 0.1 * noise, x),
        "falling": (100 - 80 * curve + 5 * noise, x),
        "steep": (expit(40 * (x - 0.2)) + 0.05 * noise, x),
        "saturated": (np.minimum(x, 0.1) + 0.05 * noise, x),
        "far from zero": (50 + curve + 0.1 * noise, 1e6 + 1e-3 * x),
        "outlying prediction": (x + 0.3 * noise, far),
        "outlying opinion": (np.where(np.arange(50) == 7, 8.0, x), x),
        "ties": (np.round(2 * curve + 0.3 * noise), np.round(3 * x)),
        "no relation": (noise, x),
        "convex": (np.exp(2 * x) + noise, x),
        "nearly a line": (3 + 2 * x + 1e-3 * noise, x),
        "tiny range": (3 + 1e-7 * (curve + 0.1 * noise), 1e-9 * x),
        "few": (np.array([1.0, 1.3, 2.0, 4.1, 4.0, 4.6]), np.array([0.0, 1, 2, 3, 4, 5])),
    }


@each_mapping
@pytest.mark.parametrize("case", _hard_cases())
def test_hard_cases_against_an_exhaustive_search(case, mapping):
    y, x = _hard_cases()[case]
    found, reference = plcc_score(y, x, mapping=mapping), _reference_plcc(y, x, mapping)
    assert found == pytest.approx(reference, abs=1e-6)
    # RMSE after the mapping is that of the same fit, whose PLCC² is the explained variance
    rmse = rmse_error(y, x, mapping=mapping)
    assert rmse == pytest.approx(y.std() * np.sqrt(1 - found**2), rel=1e-6)


@each_mapping
@given(
    pairs=st.lists(
        st.tuples(st.integers(-3, 3), st.floats(-100, 100).map(lambda v: round(v, 2))),
        min_size=2,
        max_size=30,
    )
)
@settings(quick, max_examples=20)
def test_mapping_never_lowers_plcc(mapping, pairs):
    y, p = np.array(pairs, dtype=float).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mapped = plcc_score(y, p, mapping=mapping)
        assert mapped >= abs(plcc_score(y, p)) - 1e-12
        assert plcc_score(y, -p, mapping=mapping) == pytest.approx(mapped, abs=1e-6)
        assert rmse_error(y, p, mapping=mapping) <= y.std() * (1 + 1e-12) + 1e-12


@each_mapping
def test_perfectly_separable_steps(mapping):
    x = np.arange(10.0)
    assert plcc_score(x > 3, x, mapping=mapping) == pytest.approx(1, abs=1e-9)
    between = np.where(x < 3, 0, np.where(x == 3, 0.2, 1))  # one point on the flank
    assert plcc_score(between, x, mapping=mapping) == pytest.approx(1, abs=1e-9)


def test_finds_the_best_of_all_steps():
    """Where the optimum is a step, a local search sees no slope; all 79 splits are compared."""
    rng = np.random.default_rng(6)
    x = np.sort(rng.normal(size=80))
    y = rng.normal(size=80)
    y[7] = 100
    best_step = max(abs(stats.pearsonr(x > t, y).statistic) for t in x[:-1])
    assert plcc_score(y, x, mapping="logistic4") >= best_step - 1e-9


@each_mapping
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_few_points(mapping, n):
    x = np.arange(n, dtype=float)
    y = np.array([1.0, 2.5, 3.0, 3.2, 3.3])[:n]
    if n < int(mapping[-1]):
        with pytest.warns(ConvergenceWarning, match=f"only {n} distinct values"):
            fitted = fit_logistic(y, x, mapping)
        assert fitted.name == "linear"
        assert fitted.parameters == pytest.approx(tuple(np.polyfit(x, y, 1)))
    else:
        assert plcc_score(y, x, mapping=mapping) > abs(plcc_score(y, x))


@each_mapping
def test_constant_sides_and_straight_lines(mapping):
    x = np.arange(8.0)
    assert plcc_score(np.ones(8), x, mapping=mapping) == 0.0
    assert plcc_score(x, np.ones(8), mapping=mapping) == 0.0
    assert rmse_error(x, np.ones(8), mapping=mapping) == pytest.approx(x.std())
    assert rmse_error(np.full(8, 0.1), x, mapping=mapping) == 0.0
    fitted = fit_logistic(3 - 2 * x, x, mapping)  # no warning: a line is the limit of both curves
    assert fitted.name == "linear"
    assert fitted.parameters == pytest.approx((-2, 3))


@each_mapping
@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1.0, 1e9, 1e300])
@pytest.mark.parametrize("side", [1, -1])
def test_recovers_a_curve_on_any_scale(mapping, scale, side):
    x = np.linspace(-2, 3, 60)
    b = (5.0, 1.0, 0.5, 0.3) if mapping == "logistic4" else (2.0, 3.0, 0.5, 0.4, 1.0)
    y = _formula(mapping, b, x)
    fitted = fit_logistic(y, side * x * scale, mapping)
    np.testing.assert_allclose(fitted(side * x * scale), y, atol=1e-7)
    assert fitted.name == mapping
    if side == 1 and abs(np.log10(scale)) < 300:
        b_scaled = [*b[:2], b[2] * scale, *(v * scale for v in b[3:])]
        if mapping == "logistic5":
            b_scaled = [b[0], b[1] / scale, b[2] * scale, b[3] / scale, b[4]]
        assert fitted.parameters == pytest.approx(tuple(b_scaled), rel=1e-5)


@each_mapping
def test_parameters_are_those_of_the_published_formula(mapping):
    y, x = _hard_cases()["noisy logistic"]
    for values in (x, -x, x + 1000):
        fitted = fit_logistic(y, values, mapping)
        np.testing.assert_allclose(
            _formula(mapping, fitted.parameters, values), fitted(values), atol=1e-9
        )
    assert pickle.loads(pickle.dumps(fitted))(x + 1000) == pytest.approx(fitted(x + 1000), abs=0)


@each_mapping
def test_a_large_fit_equals_the_fit_of_its_small_half(mapping):
    """The path through bins (above 256 distinct predictions) finds what the exact one finds."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=250)
    y = expit(4 * x) + 0.1 * rng.normal(size=250)
    nearly = np.concatenate([x + 1e-9 * k for k in range(8)])
    assert plcc_score(np.tile(y, 8), nearly, mapping=mapping) == pytest.approx(
        plcc_score(y, x, mapping=mapping), abs=1e-7
    )


# ---------------------------------------------------------------- scorers


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


def test_import_loads_no_torch():
    code = "import sys, skiqa.metrics; assert not {'torch', 'timm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
