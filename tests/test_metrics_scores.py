import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.exceptions import UndefinedMetricWarning

from skiqa.metrics import fit_logistic, krocc_score, plcc_score, rmse_error, srocc_score

CORRELATIONS = {
    srocc_score: lambda a, b: stats.spearmanr(a, b).statistic,
    plcc_score: lambda a, b: stats.pearsonr(a, b).statistic,
    krocc_score: lambda a, b: stats.kendalltau(a, b).statistic,
}
SCORES = [*CORRELATIONS, rmse_error]
each_score = pytest.mark.parametrize("score", SCORES, ids=lambda f: f.__name__)
each_correlation = pytest.mark.parametrize("score", CORRELATIONS, ids=lambda f: f.__name__)
each_mapping = pytest.mark.parametrize("mapping", ["logistic4", "logistic5"])
quick = settings(max_examples=60)


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


def test_import_loads_no_torch():
    code = "import sys, skiqa.metrics; assert not {'torch', 'timm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
