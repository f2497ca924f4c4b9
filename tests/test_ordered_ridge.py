import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skiqa import ContrastiveQualityEncoder, OrderedRidge
from skiqa.persistence import load_model, save


@parametrize_with_checks([OrderedRidge()])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.fixture
def rated():
    rng = np.random.default_rng(0)
    X, truth = rng.normal(size=(60, 7)) + 3, rng.normal(size=7)
    return X, X @ truth + 0.5 * rng.normal(size=60), rng.uniform(0.2, 3, 60), rng


def test_without_pairs_it_is_a_ridge(rated):
    X, y, weight, _ = rated
    expected = Ridge(alpha=2.5).fit(X, y, weight)
    found = OrderedRidge(alpha=2.5).fit(X, y, sample_weight=weight)
    assert_allclose(found.coef_, expected.coef_, rtol=1e-9)
    assert_allclose(found.predict(X), expected.predict(X), rtol=1e-9)


def objective(parameters, X, y, weight, names, pairs, model):
    """The formula of the docstring, in plain words; database 0 is the reference."""
    p = X.shape[1]
    w, b, others = parameters[:p], parameters[p], parameters[p + 1 :].reshape(-1, 2)
    f, total = X @ w + b, model.alpha * w @ w
    sigma = {}
    for d in np.unique(names):
        here = names == d
        mean = np.average(y[here], weights=weight[here])
        sigma[d] = np.sqrt(np.average((y[here] - mean) ** 2, weights=weight[here]))
        a, c = (1.0, 0.0) if d == 0 else others[d - 1]
        residual = (y[here] - a * f[here] - c) * sigma[0] / sigma[d]
        total += weight[here] @ residual**2
    better, worse, v = pairs
    short = np.maximum(0, model.margin * sigma[0] - better @ w + worse @ w)
    return total + model.order_weight * v @ short**2


def test_it_is_the_minimum_of_its_formula(rated):
    """Found by a general minimiser from where it ends, and from elsewhere."""
    X, y, weight, rng = rated
    names = np.arange(60) % 3
    y = np.choose(names, [y, 20 + 5 * y, 1 - 0.1 * rng.normal(size=60) + 0.3 * y])
    pairs = rng.normal(size=(40, 7)), rng.normal(size=(40, 7)), rng.uniform(0, 2, 40)
    model = OrderedRidge(alpha=0.7, order_weight=2.0, margin=0.5)
    model.fit(X, y, sample_weight=weight, datasets=names, reference=0, pairs=pairs)
    ends = np.concatenate(
        [model.coef_, [model.intercept_]] + [[model.units_[d], model.levels_[d]] for d in (1, 2)]
    )
    how = (X, y, weight, names, pairs, model)
    value = objective(ends, *how)
    for start in (ends, np.r_[np.zeros(8), 5, 20, 0.3, 1]):
        found = minimize(objective, start, how, method="BFGS", options={"gtol": 1e-7})
        assert value <= found.fun * (1 + 1e-7)
        assert_allclose(ends, found.x, rtol=1e-3, atol=1e-3)
    assert (model.units_[0], model.levels_[0]) == (1.0, pytest.approx(0, abs=1e-12))


def test_pairs_put_what_ratings_say_nothing_of_in_order(rated):
    X, y, _, rng = rated
    X[:, 6] = 3 + 1e-3 * rng.normal(size=60)  # what only pairs tell
    better = np.repeat(X[:20], 2, axis=0)
    worse = better.copy()
    worse[:, 6] -= rng.uniform(0.5, 2, 40)
    without = OrderedRidge().fit(X, y)
    model = OrderedRidge(order_weight=100).fit(X, y, pairs=(better, worse))
    apart = model.predict(better) - model.predict(worse)
    assert (apart > 0.1 * y.std()).all()
    assert not (without.predict(better) - without.predict(worse) > 0.1 * y.std()).all()
    assert np.corrcoef(model.predict(X), y)[0, 1] > 0.9


def test_the_largest_database_is_the_reference(rated):
    X, y, _, _ = rated
    names = np.where(np.arange(60) < 20, "small", "large")
    y = np.where(names == "small", y / 10, y)
    assert OrderedRidge().fit(X, y, datasets=names).units_["large"] == 1.0
    model = OrderedRidge().fit(X, y, datasets=names, reference="small")
    assert model.units_["small"] == 1.0
    assert model.units_["large"] == pytest.approx(10, rel=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"datasets": [1, 2]}, "inconsistent numbers of samples"),
        ({"datasets": np.zeros(60), "reference": 4}, "reference=4 is none of the datasets"),
        ({"pairs": (np.ones((3, 7)),)}, "holds 1 arrays"),
        ({"pairs": (np.ones((3, 7)), np.ones((4, 7)))}, "expected two alike, of 7 features"),
        ({"pairs": (np.ones((3, 6)), np.ones((3, 6)))}, "expected two alike, of 7 features"),
        ({"pairs": (np.full((3, 7), np.nan), np.ones((3, 7)))}, "better of pairs contains NaN"),
        ({"pairs": (np.ones((3, 7)), np.ones((3, 7)), [1, -1, 1])}, "Negative values"),
        ({"sample_weight": np.zeros(60)}, "at least one non-zero"),
    ],
)
def test_what_is_of_no_use(rated, arguments, message):
    X, y, _, _ = rated
    with pytest.raises(ValueError, match=message):
        OrderedRidge().fit(X, y, **arguments)


def test_a_database_that_is_upside_down(rated):
    X, y, _, _ = rated
    names = np.where(np.arange(60) < 20, "impairment", "quality")
    with pytest.raises(ValueError, match="'impairment' fall where those of 'quality' rise"):
        OrderedRidge().fit(X, np.where(names == "impairment", -y, y), datasets=names)


def test_a_scorer_of_it_goes_into_a_file(crops, tmp_path):
    encoder = ContrastiveQualityEncoder().fit(crops)
    X = encoder.transform(crops)
    ridge = OrderedRidge().fit(X, np.arange(8.0), pairs=(X[4:], X[:4]))
    model = make_pipeline(encoder, ridge)
    save(model, tmp_path / "own.skiqa")
    loaded = load_model(tmp_path / "own.skiqa")
    assert_allclose(loaded.predict(crops), model.predict(crops), rtol=1e-6)
