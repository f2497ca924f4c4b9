import pickle
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

from skiqa.metrics import fit_logistic, plcc_score, rmse_error, srocc_score

each_mapping = pytest.mark.parametrize("mapping", ["logistic4", "logistic5"])


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
    assert abs(found) == pytest.approx(reference, abs=1e-6)
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
@example(pairs=[(0, 0.0), (0, 1.0), (0, 8.0), (0, -1.0), (1, 5.0)])  # not found from one side
@settings(max_examples=20)
def test_mapping_never_lowers_plcc(mapping, pairs):
    y, p = np.array(pairs, dtype=float).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mapped = plcc_score(y, p, mapping=mapping)
        assert abs(mapped) >= abs(plcc_score(y, p)) - 1e-12
        assert abs(plcc_score(y, -p, mapping=mapping)) == abs(mapped)
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
    assert abs(plcc_score(y, x, mapping="logistic4")) >= best_step - 1e-9


@each_mapping
@pytest.mark.parametrize("case", sorted(_hard_cases().keys() - {"no relation"}))
def test_a_falling_curve_shows(mapping, case):
    """The sign is that of SROCC, and turns with the predictions; the error does not see it."""
    y, x = _hard_cases()[case]
    curve, turned = fit_logistic(y, x, mapping), fit_logistic(y, -x, mapping)
    assert curve.falls == (case == "falling") == (not turned.falls)
    mapped = plcc_score(y, x, mapping=mapping)
    assert np.sign(mapped) == np.sign(srocc_score(y, x))
    assert plcc_score(y, -x, mapping=mapping) == pytest.approx(-mapped, abs=1e-12)
    assert rmse_error(y, -x, mapping=mapping) == pytest.approx(rmse_error(y, x, mapping=mapping))


@each_mapping
def test_noise_is_not_flattered_by_its_sign(mapping):
    """Twelve random ratings: SROCC -.5 stood beside PLCC +.683."""
    rng = np.random.default_rng(0)
    found = [
        (srocc_score(y, x), plcc_score(y, x, mapping=mapping))
        for y, x in (rng.standard_normal((2, 12)) for _ in range(40))
    ]
    srocc, plcc = np.array(found).T
    falling = srocc < -0.4
    assert falling.sum() >= 3
    assert (plcc[falling] < 0).all()
    assert abs(np.mean(plcc)) < 0.25  # .5 on the mean without the sign


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
