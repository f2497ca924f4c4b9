"""Rows of views to one: against numpy, and by their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiqa.views import pool_views
from skiqa.views._pooling import POOLINGS

ROWS = np.random.default_rng(0).normal(size=(20, 3))


def test_poolings_are_what_they_say():
    found = pool_views(ROWS, pooling=list(POOLINGS), worst_part=0.2).reshape(-1, 3)
    expected = {
        "mean": ROWS.mean(0),
        "std": ROWS.std(0),
        "min": ROWS.min(0),
        "max": ROWS.max(0),
        "worst": np.sort(ROWS, axis=0)[:4].mean(0),
        "variation": np.abs(ROWS[1:] - ROWS[:-1]).mean(0),
    }
    assert list(POOLINGS) == list(expected)
    np.testing.assert_allclose(found, list(expected.values()))


@given(st.lists(st.integers(1, 5), min_size=20, max_size=20))
def test_weights_are_repetitions(weights):
    repeated = np.repeat(ROWS, weights, axis=0)
    how = {"pooling": ("mean", "std", "min", "max")}
    np.testing.assert_allclose(pool_views(ROWS, weights, **how), pool_views(repeated, **how))


def test_order_decides_variation_alone():
    still = ("mean", "std", "min", "max", "worst")
    shuffled = ROWS[np.random.default_rng(1).permutation(20)]
    np.testing.assert_allclose(pool_views(ROWS, pooling=still), pool_views(shuffled, pooling=still))
    ordered = pool_views(np.sort(ROWS, axis=0), pooling=("variation",))
    assert (ordered < pool_views(shuffled, pooling=("variation",))).all()


@pytest.mark.parametrize("rows", [[[np.nan, 1.0]], [[1.0, 1.0], [np.nan, 1.0], [3.0, 1.0]]])
def test_what_is_missing_of_one_view_is_missing(rows):
    pooled = pool_views(rows, pooling=list(POOLINGS)).reshape(-1, 2)
    assert np.isnan(pooled[:, 0]).all()
    assert np.isfinite(pooled[:, 1]).all()


def test_one_view_varies_in_nothing():
    pooled = pool_views(ROWS[:1], pooling=list(POOLINGS)).reshape(-1, 3)
    np.testing.assert_array_equal(pooled, ROWS[[0]] * np.array([[1], [0], [1], [1], [1], [0]]))


@pytest.mark.parametrize(
    ("rows", "weights", "how", "message"),
    [
        ([], None, {}, "must be of shape"),
        ([1.0], None, {}, "must be of shape"),
        ([[1.0]], None, {"pooling": ("median",)}, r"\['median'\] must be of \['mean'"),
        ([[1.0]], None, {"worst_part": 0}, "worst_part=0"),
        ([[1.0]], [0.0], {}, "1 numbers"),
        ([[1.0]], [1.0, 2.0], {}, "1 numbers"),
    ],
)
def test_what_is_refused(rows, weights, how, message):
    with pytest.raises(ValueError, match=message):
        pool_views(rows, weights, **how)
