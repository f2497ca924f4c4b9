"""Matching, noise ratio and gates, against slow definitions and known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import skiqa._matched_noise as module
from skiqa._matched_noise import adversarial_gates, matched_pairs, moments, noise_ratio


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 7)


def _adversarial(X, y, partners=None, weights=None, **changes):
    partners = matched_pairs(X, y)[0] if partners is None else partners
    weights = np.ones(len(X)) if weights is None else weights
    parameters = {"strength": 0.25, "n_steps": 50, "learning_rate": 0.05, "batch_size": 256}
    parameters |= {"generator": np.random.default_rng(0)} | changes
    return adversarial_gates(X, y, partners, weights, **parameters)


# ---------------------------------------------------------------- pairs


@settings(max_examples=60)
@given(
    y=hnp.arrays(np.float64, st.integers(2, 40), elements=st.integers(0, 8)),
    tolerance=st.floats(0.01, 1),
    n_candidates=st.integers(1, 50),
)
def test_partners_are_other_samples_of_nearly_equal_y(y, tolerance, n_candidates):
    n = len(y)
    X = np.random.default_rng(0).normal(size=(n, 3))
    partners, weights = matched_pairs(X, y, tolerance=tolerance, n_candidates=n_candidates)
    assert (partners != np.arange(n)).all()
    assert (weights == 1).all()
    quantile = np.array([((y < v).sum() + (y <= v).sum()) / (2 * n) for v in y])
    near = np.abs(quantile[:, None] - quantile) <= tolerance + 1e-12
    has_other = near.sum(axis=1) > 1
    assert near[np.arange(n), partners][has_other].all()
    # without any, one of the next in y
    for one, other in zip(y[~has_other], y[partners[~has_other]], strict=True):
        assert not ((y > min(one, other)) & (y < max(one, other))).any()


@settings(max_examples=40)
@given(
    counts=hnp.arrays(np.int64, st.integers(3, 12), elements=st.integers(1, 3)),
    seed=st.integers(0, 99),
)
def test_a_weight_is_a_number_of_copies(counts, seed):
    """Partners are equal whether a sample is repeated or weighted, in whatever order."""
    rng = np.random.default_rng(seed)
    n = len(counts)
    X, y, y_std = rng.normal(size=(n, 2)), rng.integers(0, 3, n).astype(float), np.full(n, 0.1)
    y[:2] = 0, 2  # not all equal
    how = {"tolerance": 0.2, "n_candidates": 2}
    one, weights = matched_pairs(X, y, y_std=y_std, sample_weight=counts * 1.0, **how)
    again = rng.permutation(np.repeat(np.arange(n), counts))
    many, each = matched_pairs(X[again], y[again], y_std=y_std[again], **how)
    np.testing.assert_array_equal(X[again][many], X[one[again]])
    np.testing.assert_allclose(np.bincount(again, each), weights)


def test_with_every_candidate_the_partner_is_the_most_distant():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(60, 4)) * [1, 10, 100, 1]
    y = generator.integers(0, 4, 60)
    partners, _ = matched_pairs(X, y, tolerance=1e-6, n_candidates=60)
    scaled = X / X.std(axis=0)
    distance = np.square(scaled[:, None] - scaled).sum(axis=2)
    distance[y[:, None] != y] = -1
    assert np.array_equal(partners, distance.argmax(axis=1))


def test_more_candidates_lie_farther():
    generator = np.random.default_rng(1)
    X, y = generator.normal(size=(300, 5)), generator.random(300)

    def distances(n_candidates):
        partners, _ = matched_pairs(X, y, tolerance=0.1, n_candidates=n_candidates)
        return np.linalg.norm(X - X[partners], axis=1).mean()

    assert distances(1) < distances(4) < distances(16) < distances(300)


def test_groups_are_never_matched():
    generator = np.random.default_rng(2)
    X, y = generator.normal(size=(90, 3)), generator.random(90)
    groups = np.repeat([f"scene {i}" for i in range(30)], 3)
    y[::3] = y[1::3] = y[2::3]  # versions of a scene, all of one quality
    partners, weights = matched_pairs(X, y, groups=groups)
    assert (groups[partners] != groups)[weights > 0].all()
    assert weights.mean() > 0.9
    without, _ = matched_pairs(X, y)
    assert (groups[without] == groups).any()  # what would happen
    with pytest.raises(ValueError, match=r"No two samples of different groups.*tolerance=0\.05"):
        matched_pairs(X, y, groups=np.zeros(90))


def test_weights_are_products_of_reliabilities():
    y = np.arange(6.0)
    errors = np.array([0, 0, 1, 1, 2, 0.5])
    partners, weights = matched_pairs(np.eye(6), y, tolerance=0.2, y_std=errors)
    quality = y.var() - np.mean(errors**2)
    reliability = quality / (quality + errors**2)
    np.testing.assert_allclose(weights, reliability * reliability[partners])
    assert matched_pairs(np.eye(6), y, y_std=np.zeros(6))[1].tolist() == [1] * 6
    with pytest.raises(ValueError, match=r"y_std.*not below the variance of y"):
        matched_pairs(np.eye(6), y, y_std=np.full(6, 2.0))


# ---------------------------------------------------------------- scatter


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_moments(dtype, small_blocks):
    generator = np.random.default_rng(3)
    X = generator.normal([0, 1000, -3, 0], size=(50, 4)).astype(dtype)
    X[:, 3] = 0.1  # constant, not exact in binary
    y = generator.random(50)
    mean, variance, covariance = moments(X, y)
    np.testing.assert_allclose(mean, X.astype(np.float64).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance[:3], X[:, :3].astype(np.float64).var(axis=0), rtol=1e-5)
    expected = [np.cov(column, y, ddof=0)[0, 1] for column in X.astype(np.float64).T]
    np.testing.assert_allclose(covariance[:3], expected[:3], rtol=1e-4)
    assert variance[3] == covariance[3] == 0


def test_noise_ratio_by_its_definition(small_blocks):
    generator = np.random.default_rng(4)
    X, y = generator.normal(size=(40, 3)), generator.random(40)
    X[:, 0] += 3 * y
    partners, weights = generator.permutation(40), generator.random(40)
    expected = []
    for x in X.T:
        noise = sum(w * (x[i] - x[j]) ** 2 for i, (j, w) in enumerate(zip(partners, weights)))  # noqa: B905
        noise /= 2 * weights.sum()
        quality = np.var(np.polyval(np.polyfit(y, x, 1), y))
        expected.append(noise / (noise + quality))
    np.testing.assert_allclose(noise_ratio(X, y, partners, weights), expected, rtol=1e-10)


def test_noise_ratio_of_known_features():
    """A feature y + c has N = Var(c), Q = Var(y); in so many samples chance is below 1 %."""
    generator = np.random.default_rng(5)
    y, content = generator.random(40_000), generator.normal(size=(40_000, 3))
    X = y[:, None] * [1, 1, 0] + content * [0, np.sqrt(1 / 12), 1]
    partners, weights = matched_pairs(X, y, tolerance=0.01, n_candidates=1)
    ratio = noise_ratio(X, y, partners, weights)
    np.testing.assert_allclose(ratio, [0, 0.5, 1], atol=0.01)


@settings(max_examples=30)
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10), seed=st.integers(0, 99))
def test_the_closed_form_ignores_units(scale, shift, seed):
    generator = np.random.default_rng(seed)
    X, y = generator.normal(size=(30, 4)), generator.random(30)
    partners, weights = matched_pairs(X, y)
    X2, y2 = X * scale + shift, y * scale + shift
    partners2, _ = matched_pairs(X2, y2)
    assert np.array_equal(partners, partners2)
    np.testing.assert_allclose(
        noise_ratio(X, y, partners, weights), noise_ratio(X2, y2, partners, weights), rtol=1e-6
    )


def test_constants_are_all_noise():
    X, y = np.random.default_rng(6).normal(size=(20, 2)), np.arange(20.0)
    X[:, 1] = 0.1
    pairs = matched_pairs(X, y)
    assert noise_ratio(X, y, *pairs)[1] == 1
    assert (noise_ratio(X, np.ones(20), *pairs) == 1).all()
    assert _adversarial(X, y)[0][1] == 0
    assert np.isfinite(_adversarial(X, np.ones(20))[0]).all()


# ---------------------------------------------------------------- adversarial


def test_the_worst_noise_by_search():
    """The loss of the first step contains what all 2^d choices of strengths would move at most."""
    generator = np.random.default_rng(7)
    X, y = generator.normal(size=(12, 5)), generator.normal(size=12)
    partners, weights = matched_pairs(X, y)[0], generator.random(12)
    error = _adversarial(X, y, partners, weights, strength=0.0, n_steps=1)[1][0]
    loss = _adversarial(X, y, partners, weights, strength=0.7, n_steps=1)[1][0]
    # where the solver starts: a ridge on standardized features
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    t = (y - y.mean()) / y.std()
    gram = Z @ Z.T
    w = Z.T @ np.linalg.solve(gram + 0.3 * np.diag(gram).mean() * np.eye(12), t)
    assert error == pytest.approx(np.square(Z @ w - t).mean(), rel=1e-4)
    shares = 0.7 * np.array(np.meshgrid(*[[0, 1]] * 5)).reshape(5, -1)
    moved = np.abs((Z[partners] - Z) * w @ shares).max(axis=1)
    assert loss == pytest.approx(error + np.average(moved**2, weights=weights), rel=1e-4)


def test_adversarial_training_converges_and_repeats():
    generator = np.random.default_rng(8)
    y = generator.random(60)
    X = generator.normal(size=(60, 12))
    X[:, :3] += 8 * y[:, None]
    gates, losses = _adversarial(X, y, n_steps=150)
    assert len(losses) == 150
    assert losses[-1] < losses[0]
    assert gates[:3].min() > gates[3:].max()

    def of_seed(seed, batch_size):
        options = {"n_steps": 9, "batch_size": batch_size}
        return _adversarial(X, y, generator=np.random.default_rng(seed), **options)[0]

    assert np.array_equal(of_seed(0, 32), of_seed(0, 32))
    assert not np.array_equal(of_seed(0, 32), of_seed(1, 32))
    assert np.array_equal(of_seed(0, 60), of_seed(1, 60))  # one batch of all


def test_only_pairs_that_count_train_the_gates():
    generator = np.random.default_rng(9)
    X, y = generator.normal(size=(30, 6)), generator.random(30)
    partners, weights = matched_pairs(X, y)
    weights[20:] = 0
    changed = partners.copy()
    changed[20:] = generator.permutation(10)
    first, second = (_adversarial(X, y, p, weights)[0] for p in (partners, changed))
    np.testing.assert_array_equal(first, second)
