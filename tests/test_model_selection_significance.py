import numpy as np
import pytest
from made_database import database
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from skiqa.metrics._scores import weighted_srocc
from skiqa.model_selection import compare, evaluate, srocc_interval
from skiqa.model_selection._bootstrap import interval


def test_weighted_srocc_is_that_of_the_repeated_sample():
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 6, (2, 30))  # ties
        weights = rng.integers(0, 4, 30)
        expected = spearmanr(np.repeat(x, weights), np.repeat(y, weights)).statistic
        assert weighted_srocc(x, y, weights.astype(float)) == pytest.approx(expected, abs=1e-12)
    assert weighted_srocc(x, np.zeros(30, int), np.ones(30)) == 0
    assert np.isnan(weighted_srocc(x, y, np.zeros(30)))


def test_interval_covers_the_truth():
    rho = 0.8
    truth = 6 / np.pi * np.arcsin(rho / 2)  # SROCC of a bivariate normal distribution
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        x, y = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 120).T
        found = srocc_interval(x, y, n_resamples=150, confidence=0.9)
        covered += found.low <= truth <= found.high
    assert 0.82 <= covered / 100 <= 0.97  # 90 % by design, standard error 3 %


def test_contents_widen_the_interval():
    """Ten equal copies of each image tell no more than one."""
    rng = np.random.default_rng(0)
    y, x = np.arange(50.0), np.arange(50.0) + rng.normal(0, 20, 50)
    copies, opinions, contents = np.repeat(x, 10), np.repeat(y, 10), np.repeat(np.arange(50), 10)
    single = srocc_interval(x, y)
    naive = srocc_interval(copies, opinions)
    by_content = srocc_interval(copies, opinions, groups=contents)
    assert (naive.high - naive.low) < 0.5 * (single.high - single.low)
    assert (by_content.low, by_content.high) == pytest.approx((single.low, single.high))


def test_equal_models_differ_by_noise_and_no_more_often_than_said():
    rng = np.random.default_rng(0)
    significant = 0
    for _ in range(100):
        y = rng.standard_normal(80)
        first, second = y + rng.standard_normal((2, 80))
        found = compare(first, second, y, n_resamples=100)
        significant += not found.noise
        assert found.noise == (found.low <= 0 <= found.high)
    assert significant <= 11  # 5 % by design: 12 or more of 100 has a chance of 0.4 %


def test_pairing_finds_what_two_intervals_cannot():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(300)
    first = y + rng.standard_normal(300)
    second = first + rng.normal(0, 0.4, 300)
    found = compare(first, second, y)
    assert not found.noise
    assert found.p_value < 0.05
    assert "The first is better by" in repr(found)
    assert srocc_interval(second, y).high > srocc_interval(first, y).low  # they overlap
    turned = compare(second, first, y)
    assert turned.difference == -found.difference
    assert "The second is better by" in repr(turned)
    assert "cannot be told apart on these images" in repr(compare(first, first, y))
    assert compare(first, first, y).p_value == 1


def test_evaluations_are_compared_on_their_splits():
    data = database()
    good, bad = evaluate(Ridge(), data, n_repeats=3), evaluate(Ridge(1e5), data, n_repeats=3)
    found = compare(good, bad, n_resamples=200)
    medians = [np.median(e.scores["srocc"]) for e in (good, bad)]
    assert found.difference == pytest.approx(medians[0] - medians[1])
    assert srocc_interval(good).srocc == pytest.approx(medians[0])
    with pytest.raises(ValueError, match="different images or splits"):
        compare(good, evaluate(Ridge(), data, n_repeats=3, random_state=1))
    with pytest.raises(ValueError, match="not one of each"):
        compare(good, data.target, data.target)
    with pytest.raises(ValueError, match="y_true is missing"):
        compare(data.target, data.target)
    with pytest.raises(ValueError, match="two contents"):
        srocc_interval([1.0, 2.0], [1.0, 2.0], groups=[0, 0])


def test_an_interval_leaves_out_as_much_at_both_ends():
    values = np.random.default_rng(0).permutation(101) / 100
    assert interval(values, 0.9) == pytest.approx((0.05, 0.95), abs=1e-12)
