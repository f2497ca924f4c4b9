"""SemanticNoiseSelector and SemanticNoiseRidge: known answers, and scikit-learn's manners."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skiqa import SemanticNoiseRidge, SemanticNoiseSelector
from skiqa._matched_noise import matched_pairs
from skiqa.metrics import srocc_score, srocc_scorer
from skiqa.persistence import load, save

SOLVERS = pytest.mark.parametrize("solver", ["closed_form", "adversarial"])


def leaking(n, seed, *, k=8, d=60, n_contents=8, leak=0.15):
    """Make (X, y, which): y depends on k of d features, content on the others; all leak.

    The k features of quality are independent. Each of `n_contents` parts of content is in all other
    features. The mixing adds to each feature a random mixture of all, `leak` times as strong.
    """
    generator = np.random.default_rng(seed)
    which = generator.permutation(d)[:k]
    rest = np.setdiff1d(np.arange(d), which)
    clean = np.empty((n, d))
    loadings = generator.normal(size=(n_contents, d - k)) / np.sqrt(n_contents)
    clean[:, rest] = generator.normal(size=(n, n_contents)) @ loadings
    clean[:, rest] += 0.3 * generator.normal(size=(n, d - k))
    clean[:, which] = generator.normal(size=(n, k))
    y = clean[:, which].sum(axis=1) / np.sqrt(k) + 0.1 * generator.normal(size=n)
    return clean + leak * clean @ generator.normal(size=(d, d)) / np.sqrt(d), y, set(which)


@SOLVERS
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_finds_the_features_of_quality(solver, seed):
    X, y, which = leaking(800, seed)
    selector = SemanticNoiseSelector(solver, strength=0.5, n_steps=600, random_state=0)
    selector.fit(X, y)
    threshold = {"closed_form": 0.2, "adversarial": 0.5}[solver]
    kept = set(selector.set_params(threshold=threshold).get_support(indices=True))
    precision, recall = (len(kept & which) / len(s) for s in (kept, which))
    assert (precision, recall) == (1, 1)
    assert set(np.argsort(selector.gates_)[-len(which) :]) == which


def test_the_noise_ratio_tells_quality_from_content():
    X, y, which = leaking(800, 3)
    ratio = SemanticNoiseSelector().fit(X, y).noise_ratio_
    quality = np.isin(np.arange(X.shape[1]), list(which))
    assert ratio[quality].max() < ratio[~quality].min()


@SOLVERS
def test_gates_help_where_the_noise_model_holds(solver):
    """50 labels, 60 features: ridge behind the gates against ridge, each with its best penalty."""
    gains = []
    for seed in range(5):
        X, y, _ = leaking(550, seed)
        (train, test), (y_train, y_test) = np.split(X, [50]), np.split(y, [50])
        selector = SemanticNoiseSelector(solver, random_state=0).fit(train, y_train)
        gated, plain = (
            max(
                srocc_score(y_test, Ridge(alpha=alpha).fit(A, y_train).predict(B))
                for alpha in np.logspace(-3, 3, 7)
            )
            for A, B in [(selector.transform(train), selector.transform(test)), (train, test)]
        )
        gains.append(gated - plain)
    assert np.mean(gains) > 2 * np.std(gains, ddof=1) / np.sqrt(5)


def test_soft_and_hard_gates():
    X, y, _ = leaking(200, 0, d=20, k=4)
    soft = SemanticNoiseSelector().fit(X, y)
    assert soft.get_support().all()
    np.testing.assert_array_equal(soft.transform(X), X * soft.gates_)
    np.testing.assert_allclose(soft.gates_, (1 - soft.noise_ratio_) ** 0.25)
    np.testing.assert_allclose(soft.inverse_transform(soft.transform(X)), X)
    assert (SemanticNoiseSelector(strength=0).fit(X, y).gates_ == 1).all()

    hard = SemanticNoiseSelector(threshold=0.6).fit(X, y)
    np.testing.assert_array_equal(hard.gates_, soft.gates_)
    np.testing.assert_array_equal(hard.get_support(), hard.gates_ >= 0.6)
    assert 0 < hard.get_support().sum() < 20
    np.testing.assert_array_equal(hard.transform(X), X[:, hard.get_support()])
    assert len(hard.get_feature_names_out()) == hard.get_support().sum()
    back = hard.inverse_transform(hard.transform(X))
    np.testing.assert_array_equal(back, np.where(hard.get_support(), X, 0))
    with pytest.warns(UserWarning, match="No features were selected"):
        assert hard.set_params(threshold=1.0).transform(X).shape == (200, 0)

    X[:, 3] = 7  # a closed gate says nothing of what was behind it
    closed = soft.fit(X, y)
    assert closed.gates_[3] == 0
    assert (closed.inverse_transform(closed.transform(X))[:, 3] == 0).all()


def test_the_loss_curve_belongs_to_the_adversarial_solver():
    X, y, _ = leaking(100, 0, d=20, k=4)
    selector = SemanticNoiseSelector("adversarial", n_steps=5, strength=0.5).fit(X, y)
    assert len(selector.loss_curve_) == 5
    closed = clone(selector).set_params(solver="closed_form").fit(X, y)
    np.testing.assert_array_equal(selector.noise_ratio_, closed.noise_ratio_)
    assert not hasattr(selector.set_params(solver="closed_form").fit(X, y), "loss_curve_")


def test_nothing_but_the_adversarial_solver_loads_torch():
    code = """
import sys, numpy as np
from skiqa import SemanticNoiseRidge, SemanticNoiseSelector
X, y = np.eye(5), np.arange(5.0)
SemanticNoiseSelector().fit(X, y), SemanticNoiseRidge().fit(X, y)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


# ---------------------------------------------------------------- ridge


def _data(n, d, seed=0):
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, d)) + 5
    return X, X[:, :3].sum(axis=1) + generator.normal(size=n) + 50


@pytest.mark.parametrize("d", [8, 70, 200])  # primal, more features than samples, dual
def test_ridge_minimizes_what_it_says(d):
    n, alpha, penalty = 40, 2.0, 3.0
    X, y = _data(n, d)
    errors = np.full(n, 0.5)
    errors[:10] = 0
    model = SemanticNoiseRidge(alpha, noise_penalty=penalty).fit(X, y, y_std=errors)
    partners, weights = matched_pairs(X, y, y_std=errors)
    weights = weights * n / weights.sum()

    def objective(parameters):
        w, b = parameters[:-1], parameters[-1]
        moved = (X - X[partners]) @ w
        fit = np.square(y - X @ w - b).sum() + alpha * w @ w
        return fit + penalty * (weights * moved**2).sum() / 2

    found = np.append(model.coef_, model.intercept_)
    best = minimize(objective, found, method="BFGS", options={"gtol": 1e-6, "maxiter": 20})
    assert objective(found) <= best.fun * (1 + 1e-9)
    np.testing.assert_allclose(model.predict(X), X @ best.x[:-1] + best.x[-1], rtol=1e-5)


@pytest.mark.parametrize("d", [8, 200])
def test_without_noise_penalty_it_is_ridge(d):
    X, y = _data(40, d)
    ours, ridge = SemanticNoiseRidge(3.0, noise_penalty=0).fit(X, y), Ridge(alpha=3.0).fit(X, y)
    np.testing.assert_allclose(ours.coef_, ridge.coef_, rtol=1e-8, atol=1e-12)
    assert ours.intercept_ == pytest.approx(ridge.intercept_)


def test_primal_and_dual_agree(monkeypatch):
    import skiqa._matched_noise as module

    X, y = _data(30, 59)
    wide = np.hstack([X, np.zeros((30, 2))])  # 61 > 2 * 30: dual
    expected = SemanticNoiseRidge(n_candidates=1).fit(wide, y)
    monkeypatch.setattr(module, "_BLOCK", 100)  # rows one by one
    primal = SemanticNoiseRidge(n_candidates=1).fit(X, y)
    np.testing.assert_allclose(primal.coef_, expected.coef_[:-2], rtol=1e-7, atol=1e-10)


def test_any_pairs_of_equal_quality_give_ridge_again():
    """Features linear in y with homoscedastic noise: N = T - Q makes it a ridge in disguise.

    The page about feature selection proves it; chance in 20,000 samples is below 1 %.
    """
    generator = np.random.default_rng(0)
    y = generator.normal(size=20_000)
    mixing = generator.normal(size=(6, 6))
    X = y[:, None] * generator.normal(size=6) + generator.normal(size=(20_000, 6)) @ mixing
    alpha, penalty = 1e5, 4.0
    noise = SemanticNoiseRidge(alpha, noise_penalty=penalty, tolerance=0.002, n_candidates=1)
    directions = [
        model.fit(X, y).coef_
        for model in (noise, Ridge(alpha=alpha / (1 + penalty)), Ridge(alpha=alpha))
    ]
    same, equivalent, other = (v / np.linalg.norm(v) for v in directions)
    assert same @ equivalent > 0.999
    assert same @ other < 0.98


def test_groups_and_uncertainty_reach_the_pairs():
    generator = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), 2)  # two versions of each scene, equally good
    y, content = generator.random(60)[groups], generator.normal(size=60)[groups]
    X = np.column_stack([y + content, content]) + 1e-9 * generator.normal(size=(120, 2))
    # only versions of a scene are so close in y, and between them nothing moves
    parameters = {"noise_penalty": 100, "tolerance": 0.001, "n_candidates": 1}
    blind = SemanticNoiseRidge(**parameters).fit(X, y)
    told = SemanticNoiseRidge(**parameters | {"tolerance": 0.05}).fit(X, y, groups=groups)
    np.testing.assert_allclose(blind.coef_, Ridge().fit(X, y).coef_, rtol=1e-6)
    assert abs(told.coef_.sum()) < 0.1 * abs(blind.coef_.sum())
    unnamed = SemanticNoiseRidge().fit(X, y, groups=[None] * 120)  # each its own
    np.testing.assert_allclose(unnamed.coef_, SemanticNoiseRidge().fit(X, y).coef_, rtol=1e-6)
    for estimator in (SemanticNoiseRidge(), SemanticNoiseSelector()):
        with pytest.raises(ValueError, match="No two samples of different groups"):
            estimator.fit(X, y, groups=np.zeros(120))
        with pytest.raises(ValueError, match="inconsistent numbers"):
            estimator.fit(X, y, groups=groups[:-1])
        with pytest.raises(ValueError, match="y_std"):
            estimator.fit(X, y, y_std=np.full(120, 9.0))
        with pytest.raises(ValueError, match=r"[Nn]egative"):
            estimator.fit(X, y, y_std=np.full(120, -1.0))


@pytest.mark.parametrize("d", [3, 200])
def test_sample_weight(d):
    X, y = _data(40, d)
    counts = np.random.default_rng(0).integers(0, 4, 40)
    again = np.repeat(np.arange(40), counts)
    groups, errors = np.arange(40) // 2, np.full(40, 0.5)
    how = {"groups": groups, "y_std": errors}
    weighted = SemanticNoiseRidge().fit(X, y, sample_weight=counts, **how)
    how = {name: values[again] for name, values in how.items()}
    repeated = SemanticNoiseRidge().fit(X[again], y[again], **how)
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-8, atol=1e-10)
    assert weighted.intercept_ == pytest.approx(repeated.intercept_)
    # certainties of opinions, without the noise: scikit-learn's ridge
    certain = 1 / np.random.default_rng(1).uniform(0.2, 2, 40) ** 2
    ours = SemanticNoiseRidge(noise_penalty=0).fit(X, y, certain)
    np.testing.assert_allclose(
        ours.predict(X), Ridge().fit(X, y, certain).predict(X), rtol=1e-7, atol=1e-9
    )
    for weight, message in [(0, "at least one non-zero"), (-1, r"[Nn]egative"), (np.nan, "NaN")]:
        with pytest.raises(ValueError, match=message):
            SemanticNoiseRidge().fit(X, y, sample_weight=np.full(40, float(weight)))


# ---------------------------------------------------------------- scikit-learn


@pytest.mark.filterwarnings(f"ignore::{SkipTestWarning.__module__}.SkipTestWarning")
@parametrize_with_checks(
    [
        SemanticNoiseSelector(),
        SemanticNoiseSelector(threshold=0.05),
        SemanticNoiseSelector("adversarial", n_steps=10),
        SemanticNoiseRidge(),
        SemanticNoiseRidge(noise_penalty=0),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("estimator", "parameter", "value"),
    [
        (SemanticNoiseSelector, "solver", "svd"),
        (SemanticNoiseSelector, "strength", -0.1),
        (SemanticNoiseSelector, "threshold", 1.5),
        (SemanticNoiseSelector, "tolerance", 0.0),
        (SemanticNoiseSelector, "n_candidates", 0),
        (SemanticNoiseSelector, "n_steps", 0),
        (SemanticNoiseSelector, "batch_size", 1),
        (SemanticNoiseRidge, "alpha", 0.0),
        (SemanticNoiseRidge, "noise_penalty", -1.0),
    ],
)
def test_bad_parameters_are_named(estimator, parameter, value):
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter"):
        estimator(**{parameter: value}).fit(np.eye(4), np.arange(4.0))


def test_in_a_search(tmp_path):
    X, y, _ = leaking(90, 0, d=20, k=4)
    table = pd.DataFrame(X, columns=[f"stage {i}" for i in range(20)])
    selector = SemanticNoiseSelector(random_state=0).set_output(transform="pandas")
    grid = {
        "semanticnoiseselector__solver": ["closed_form", "adversarial"],
        "semanticnoiseselector__strength": [0.1, 0.3],
        "ridge__alpha": [0.1, 10],
    }
    search = GridSearchCV(make_pipeline(selector, Ridge()), grid, scoring=srocc_scorer, cv=3)
    search.fit(table, y)
    assert search.best_score_ > 0.5
    assert list(search.best_estimator_[0].feature_names_in_) == list(table)
    assert list(search.best_estimator_[0].transform(table)) == list(table)


@pytest.mark.parametrize(
    "model",
    [SemanticNoiseSelector("adversarial", n_steps=3), SemanticNoiseRidge()],
    ids=["selector", "ridge"],
)
def test_kept_by_skops(model, tmp_path):
    X, y, _ = leaking(50, 0, d=20, k=4)
    model.fit(X, y)
    save(model, tmp_path / "model.skops")
    again = load(tmp_path / "model.skops")
    method = "transform" if hasattr(model, "transform") else "predict"
    np.testing.assert_array_equal(getattr(again, method)(X), getattr(model, method)(X))
