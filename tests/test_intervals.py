"""Between which numbers an opinion is: the arithmetic, and cards of any kind."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from skiqa._intervals import Intervals, calibrate

GOLDEN = (0.49220651855132963, 1.289537739784976, 1.8417350377917323, 2.516759710820513)
NEAR = np.array([0.5, 0.5])  # a row within the limit


def half_width(calibration, level, row=NEAR):
    low, high = Intervals({"interval": calibration}, level).around(3.0, row)
    assert low + high == pytest.approx(6)
    return (high - low) / 2


def calibration(errors, groups=None):
    return calibrate(errors, np.zeros((len(errors), 2)), groups, 1.0)


# The arithmetic -----------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 100), min_size=1, max_size=400), st.integers(1, 199))
def test_half_width_is_the_split_conformal_quantile(errors, step):
    """The ceil(level * (n + 1))-th smallest of n errors, which has to exist."""
    level, n = step / 200, len(errors)
    rank = -(-step * (n + 1) // 200)
    if rank > n:
        with pytest.raises(ValueError, match=f"which is of {n} contents: at most"):
            half_width(calibration(errors), level)
    else:
        assert half_width(calibration(errors), level) == pytest.approx(sorted(errors)[rank - 1])


def test_golden_half_widths():
    """Half widths by crepes 0.9.1: ConformalRegressor().fit(residuals, sigmas).predict_int."""
    rng = np.random.default_rng(7)
    errors, rows = rng.normal(size=37), rng.normal(size=(37, 2))
    found = calibrate(errors, rows, None, 1.5)
    widths = [half_width(found, level) for level in (0.5, 0.8, 0.9, 0.95)]
    np.testing.assert_allclose(widths, GOLDEN, rtol=1e-12)
    far = half_width(found, 0.8, np.array([3.0, 0.0]))
    assert far == pytest.approx(2 * GOLDEN[1])


def test_same_as_crepes():
    """Wherever it is installed, on many sizes and levels."""
    crepes = pytest.importorskip("crepes")
    rng = np.random.default_rng(0)
    for n in (5, 20, 99, 512):
        errors, rows = rng.standard_t(3, size=n), rng.normal(size=(n, 2))
        sigmas = np.maximum(1, np.linalg.norm(rows, axis=1) / 1.2)
        theirs = crepes.ConformalRegressor().fit(residuals=errors, sigmas=sigmas)
        for level in np.arange(1, int(200 * n / (n + 1)), 7) / 200:
            if abs(level * (n + 1) - round(level * (n + 1))) < 1e-6:
                continue  # they round 1 - level, and may take the next error
            bounds = theirs.predict_int(np.zeros(1), sigmas=np.ones(1), confidence=level)
            ours = half_width(calibrate(errors, rows, None, 1.2), level)
            np.testing.assert_allclose(bounds, [[-ours, ours]], rtol=1e-12)


def test_levels_between_steps_are_rounded_up():
    found = calibration(np.arange(1000.0))
    assert half_width(found, 0.7999) == half_width(found, 0.8) == 800
    assert half_width(found, 0.8001) == half_width(found, 0.805)
    assert half_width(found, 1e-9) == half_width(found, 0.005)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_coverage_of_exchangeable_photos(level):
    """Over many calibrations a new photo is covered with the level, and hardly more."""
    rng = np.random.default_rng(1)
    n, repeats = 99, 600  # level * (n + 1) is whole: coverage is the level exactly
    errors = np.abs(rng.standard_cauchy((repeats, n + 1)))
    covered = sum(half_width(calibration(row[:n]), level) >= row[n] for row in errors)
    assert binom.cdf(covered, repeats, level) > 1e-4
    assert binom.sf(covered - 1, repeats, level) > 1e-4


def test_coverage_of_new_contents():
    """Photos of one content err alike; that there are many of some adds no certainty."""
    rng = np.random.default_rng(2)
    level, repeats, n = 0.8, 400, 19
    covered = alone = 0
    for _ in range(repeats):
        sizes = rng.choice([1, 30], n)
        groups = np.repeat(np.arange(n), sizes)
        scale = rng.exponential(size=n + 1) * np.append(np.where(sizes > 1, 0.3, 2), 1)
        scale[n] = rng.exponential() * rng.choice([0.3, 2])  # drawn as those are
        errors = np.repeat(scale[:n], sizes) * rng.uniform(0.9, 1.1, len(groups))
        new = scale[n] * rng.uniform(0.9, 1.1)
        covered += half_width(calibration(errors, groups), level) >= new
        alone += half_width(calibration(errors), level) >= new
    assert binom.cdf(covered, repeats, level) > 1e-4
    assert covered < repeats * (level + 0.06)
    assert binom.cdf(alone, repeats, level) < 1e-6  # of photos as if each were its own witness


@given(st.lists(st.tuples(st.floats(0, 9), st.integers(0, 5)), min_size=1, max_size=40))
def test_contents_decide_nothing_else(pairs):
    """Neither names nor order of groups; copies of a group's photos weigh as it does."""
    errors, groups = (np.array(x) for x in zip(*pairs, strict=True))
    found = calibration(errors, groups)
    assert found["n"] == len(set(groups))
    names = np.array(list("zyxwvu"))[groups]
    assert calibration(errors[::-1], names[::-1]) == found
    twice = calibration(np.tile(errors, 2), np.tile(groups, 2))
    assert twice == found


def test_farther_is_wider():
    found = calibration(np.arange(99.0))
    near, edge, far = (half_width(found, 0.8, np.array([x, 0], np.float32)) for x in (0, 1, 2.5))
    assert near == edge == far / 2.5
    assert calibrate([1.0, 2.0], np.zeros((2, 3)), None, 0.0)["unlike_above"] == 1  # all alike


# Levels and cards ---------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 1, -0.5, 80, np.nan, np.inf, np.float32(1)])
def test_levels_of_no_use(level):
    with pytest.raises(ValueError, match=r"^interval=.* must be between 0 and 1"):
        Intervals({}, level)


@pytest.mark.parametrize("level", ["0.8", True, [0.8], 1j])
def test_levels_that_are_no_numbers(level):
    with pytest.raises(TypeError, match=r"^interval=.* must be a number"):
        Intervals({}, level)


@pytest.mark.parametrize("card", [{}, {"interval": None}, [], None, "interval"])
def test_cards_without_a_calibration(card):
    with pytest.raises(ValueError, match=r'card has no "interval".*skiqa fit.*calibrate_intervals'):
        Intervals(card, 0.8)


GOOD = {"n": 9, "errors": [1.0] * 180, "unlike_above": 1.5}


@pytest.mark.parametrize(
    "changed",
    [
        0.8,
        [],
        {},
        "errors",
        *({"n": n} for n in (0, -1, 2.5, "9", None)),
        *({"unlike_above": limit} for limit in (0, -1, 1e-300, 10**400, "1", None, np.nan, np.inf)),
        *(
            {"errors": errors}
            for errors in (
                None,
                5,
                "12345",
                {"1": 2},
                [2.0, 1.0],
                [-1.0],
                [np.nan],
                [1.0, np.inf],
                [1e308],
                [10**400],
                ["1"],
                [None],
                [[1.0]],
                [1.0] * 200,
            )
        ),
    ],
    ids=lambda changed: str(changed)[:40],
)
def test_cards_of_no_use(changed):
    hostile = {**GOOD, **changed} if isinstance(changed, dict) and changed else changed
    with pytest.raises(ValueError, match=r'^The "interval" of the model\'s card is no calibration'):
        Intervals({"interval": hostile}, 0.8)


def test_a_calibration_goes_through_json():
    found = calibration(np.random.default_rng(0).normal(size=50))
    assert json.loads(json.dumps(found)) == found
    assert half_width(GOOD | {"errors": [0] * 180, "unlike_above": 2}, 0.8) == 0  # ints are numbers
