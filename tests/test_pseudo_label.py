"""PseudoLabelRegressor: what the student learns from, and scikit-learn's manners."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVR
from sklearn.utils.estimator_checks import parametrize_with_checks

from skiqa import ContrastiveQualityEncoder, PseudoLabelRegressor
from skiqa.metrics import srocc_score, srocc_scorer
from skiqa.model_selection import evaluate
from skiqa.persistence import load, save


@parametrize_with_checks(
    [
        PseudoLabelRegressor(Ridge(), Ridge(2), random_state=0),
        PseudoLabelRegressor(
            make_pipeline(StandardScaler(), BayesianRidge()),
            make_pipeline(StandardScaler(), SVR()),
        ),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def half_rated(n=200, n_rated=40, seed=0):
    """Rows, scores of the first few, and all scores."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    truth = X @ [2, 1, 0, 0, 0] + 0.3 * rng.normal(size=n)
    y = truth.copy()
    y[n_rated:] = np.nan
    return X, y, truth


def test_by_hand():
    """Fit of the student to y and the teacher's ratings, weighted by the folds' disagreement."""
    X, y, _ = half_rated()
    rated, others = np.arange(40), np.arange(40, 200)
    model = PseudoLabelRegressor(
        SVR(), Ridge(), unlabeled_weight=0.5, min_confidence=0.3, n_folds=4, random_state=7
    ).fit(X, y)
    ratings = SVR().fit(X[rated], y[rated]).predict(X[others])
    teachers = [
        SVR().fit(X[part], y[part]).predict(X[others])
        for part, _ in KFold(4, shuffle=True, random_state=7).split(rated)
    ]
    spread = np.std(teachers, axis=0)
    confidence = 1 / (1 + (spread / np.median(spread)) ** 2)
    sure = confidence >= 0.3
    assert 0 < sure.sum() < len(others)
    student = Ridge().fit(
        np.concatenate([X[rated], X[others][sure]]),
        np.concatenate([y[rated], ratings[sure]]),
        sample_weight=np.concatenate([np.ones(40), 0.5 * confidence[sure]]),
    )
    np.testing.assert_allclose(model.student_.coef_, student.coef_)
    np.testing.assert_array_equal(model.predict(X), model.student_.predict(X))
    np.testing.assert_array_equal(model.transduction_, np.concatenate([y[rated], ratings]))
    np.testing.assert_allclose(model.spread_[others], spread)
    np.testing.assert_allclose(model.confidence_, np.concatenate([np.ones(40), confidence]))
    assert (model.spread_[rated] == 0).all()


def test_a_student_learns_what_its_few_labels_do_not_show():
    """The teacher sees a clean feature, the student noisy ones: many ratings average the noise."""
    gains = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=1500)
        clean = truth + 0.1 * rng.normal(size=1500)
        noisy = truth[:, None] + 3 * rng.normal(size=(1500, 40))
        X = np.column_stack([clean, noisy])
        y = np.where(np.arange(1500) < 50, truth, np.nan)
        teacher = make_pipeline(Columns(slice(0, 1)), Ridge())
        student = make_pipeline(Columns(slice(1, None)), Ridge())
        model = PseudoLabelRegressor(teacher, student, random_state=0).fit(X[:1000], y[:1000])
        alone = clone(student).fit(X[:50], y[:50])
        gains.append(
            srocc_score(truth[1000:], model.predict(X[1000:]))
            - srocc_score(truth[1000:], alone.predict(X[1000:]))
        )
    assert min(gains) > 0.05


class Columns(StandardScaler):
    """Some columns of X."""

    def __init__(self, which):
        super().__init__(with_mean=False, with_std=False)
        self.which = which

    def transform(self, X):
        return np.asarray(X)[:, self.which]


@pytest.mark.parametrize(
    "teacher",
    [
        GaussianProcessRegressor(RBF() + WhiteKernel(), optimizer=None, normalize_y=True),
        make_pipeline(StandardScaler(), BayesianRidge()),
        FrozenEstimator(
            make_pipeline(StandardScaler(), BayesianRidge()).fit(*half_rated(40, seed=1)[::2])
        ),
        GridSearchCV(BayesianRidge(), {"tol": [1e-3, 1e-4]}, cv=2),
    ],
)
def test_the_teachers_own_spread(teacher):
    X, y, _ = half_rated()
    model = PseudoLabelRegressor(teacher, Ridge()).fit(X, y)
    inner = model.teacher_
    while hasattr(inner, "best_estimator_") or isinstance(inner, FrozenEstimator):
        inner = getattr(inner, "best_estimator_", None) or inner.estimator
    rated, spread = inner.predict(X[40:], return_std=True)
    np.testing.assert_array_equal(model.spread_[40:], spread)
    np.testing.assert_array_equal(model.transduction_[40:], rated)
    assert len(set(spread)) > 1


def test_a_fitted_teacher_is_left_as_it_is():
    X, y, truth = half_rated()
    teacher = SVR().fit(X[100:], truth[100:])
    before = teacher.predict(X)
    model = PseudoLabelRegressor(FrozenEstimator(teacher), Ridge()).fit(X, y)
    np.testing.assert_array_equal(model.transduction_[40:], before[40:])
    np.testing.assert_array_equal(teacher.predict(X), before)
    assert (model.spread_ == 0).all()  # nothing is known of it
    assert (model.confidence_ == 1).all()
    no_folds = PseudoLabelRegressor(SVR(), Ridge(), n_folds=None).fit(X, y)
    assert (no_folds.confidence_ == 1).all()


def test_students_with_and_without_weights():
    X, y, _ = half_rated()
    parameters = {"unlabeled_weight": 0.3, "random_state": 0}
    plain = PseudoLabelRegressor(SVR(), Ridge(), **parameters).fit(X, y).predict(X)
    for student in (
        make_pipeline("passthrough", Ridge()),
        GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=2),
        make_pipeline("passthrough", GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=2)),
        TransformedTargetRegressor(Ridge()),
    ):
        model = PseudoLabelRegressor(SVR(), student, **parameters).fit(X, y)
        np.testing.assert_allclose(model.predict(X), plain)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline("passthrough", Ridge().set_fit_request(sample_weight=True))
        model = PseudoLabelRegressor(SVR(), routed, **parameters).fit(X, y)
        np.testing.assert_allclose(model.predict(X), plain)
        silent = make_pipeline("passthrough", Ridge())
        with pytest.raises(ValueError, match="takes no sample_weight"):
            PseudoLabelRegressor(SVR(), silent, **parameters).fit(X, y)
    with pytest.raises(ValueError, match=r"\(KNeighborsRegressor\) takes no sample_weight"):
        PseudoLabelRegressor(SVR(), KNeighborsRegressor(), **parameters).fit(X, y)
    model = PseudoLabelRegressor(SVR(), KNeighborsRegressor(), random_state=0).fit(X, y)
    kept = model.confidence_ >= 0.2
    expected = KNeighborsRegressor().fit(X[kept], model.transduction_[kept]).predict(X)
    np.testing.assert_array_equal(model.predict(X), expected)


def test_without_unlabelled_samples_it_is_the_student():
    X, y, truth = half_rated()
    expected = Ridge().fit(X, truth).predict(X)
    model = PseudoLabelRegressor(SVR(), Ridge()).fit(X, truth)
    np.testing.assert_array_equal(model.predict(X), expected)
    none = PseudoLabelRegressor(SVR(), Ridge(), unlabeled_weight=0).fit(X, y)
    np.testing.assert_allclose(none.predict(X), Ridge().fit(X[:40], y[:40]).predict(X))


def test_features_of_the_teacher():
    X, y, _ = half_rated()
    teacher = make_pipeline(PolynomialFeatures(include_bias=False), Ridge())
    alone = PseudoLabelRegressor(teacher, Ridge(), random_state=0).fit(X, y)
    model = clone(alone).set_params(feature_weight=2.0).fit(X, y)
    # outputs of a ridge do not know of each other
    np.testing.assert_allclose(model.predict(X), alone.predict(X))
    assert model.student_.coef_.shape == (21, 5)
    assert model.predict(X).shape == (200,)
    # hidden layers do
    student = MLPRegressor(hidden_layer_sizes=(8,), tol=0.1, random_state=0)
    shared, apart = (
        PseudoLabelRegressor(teacher, student, feature_weight=w, random_state=0).fit(X, y)
        for w in (1.0, 0.0)
    )
    assert shared.student_.n_outputs_ == 21
    assert np.abs(shared.predict(X) - apart.predict(X)).max() > 0.01
    trees = PseudoLabelRegressor(
        teacher, ExtraTreesRegressor(5, random_state=0), feature_weight=1.5, random_state=0
    ).fit(X, y)
    rows = np.flatnonzero(trees.confidence_ >= 0.2)
    block = trees._features_of_teacher(X[rows], 4.0)
    assert block.var(axis=0).sum() == pytest.approx(1.5 * 4.0)
    with pytest.raises(ValueError, match="needs a teacher with features"):
        PseudoLabelRegressor(SVR(), Ridge(), feature_weight=1).fit(X, y)
    with pytest.raises(ValueError, match="needs a student of several outputs"):
        PseudoLabelRegressor(teacher, SVR(), feature_weight=1).fit(X, y)


def test_searches_and_protocols_leave_the_unlabelled_out():
    X, y, _ = half_rated()
    model = PseudoLabelRegressor(SVR(), Ridge(), random_state=0)
    grid = {"teacher__C": [0.01, 10], "student__alpha": [1.0, 1e5], "unlabeled_weight": [0, 0.5]}
    folds = KFold(4, shuffle=True, random_state=0)
    for scoring in (None, srocc_scorer):
        search = GridSearchCV(model, grid, scoring=scoring, cv=folds).fit(X, y)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ > 0.8
    assert np.isfinite(cross_val_score(model, X, y, cv=folds)).all()
    fitted = model.fit(X, y)
    assert fitted.score(X, y) == pytest.approx(fitted.score(X[:40], y[:40]))
    assert fitted.score(X, y, np.arange(200)) == pytest.approx(
        fitted.score(X[:40], y[:40], np.arange(40))
    )
    found = evaluate(model, *half_rated(n_rated=80)[:2], n_repeats=2)
    assert all(np.isfinite(found.scores["srocc"]))


def test_frames_lists_and_sparse_rows():
    X, y, _ = half_rated()
    model = PseudoLabelRegressor(SVR(), Ridge(), random_state=0)
    expected = model.fit(X, y).predict(X)
    frame = pd.DataFrame(X, columns=list("abcde"))
    named = clone(model).fit(frame, pd.Series(y).astype("Float64"))
    np.testing.assert_allclose(named.predict(frame), expected)
    assert named.feature_names_in_.tolist() == list("abcde")
    assert not hasattr(named.fit(X, y), "feature_names_in_")
    np.testing.assert_allclose(clone(model).fit(X.tolist(), y.tolist()).predict(X), expected)
    sparse = clone(model).fit(csr_array(X).tocoo(), y)
    np.testing.assert_allclose(sparse.predict(csr_array(X)), expected, atol=1e-3)


def test_images(photo_paths, tmp_path):
    """Pipelines from image files, one photo without a rating; pickled, and saved by skops."""
    images = [*photo_paths, *photo_paths]
    y = [0.7, 0.4, np.nan, np.nan]
    teacher, student = (
        make_pipeline(ContrastiveQualityEncoder(scales=(s,), cache_dir=str(tmp_path)), Ridge())
        for s in (0.5, 0.1)
    )
    model = PseudoLabelRegressor(teacher, student, min_confidence=0).fit(images, y)
    predicted = model.predict(photo_paths)
    assert predicted[0] > predicted[1]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(photo_paths), predicted)
    save(model, tmp_path / "model.skops")
    np.testing.assert_array_equal(load(tmp_path / "model.skops").predict(photo_paths), predicted)
    save(model.student_, tmp_path / "small.skiqa")  # what ships
    np.testing.assert_allclose(load(tmp_path / "small.skiqa").predict(photo_paths), predicted)


def test_what_is_wrong_is_said():
    X, y, _ = half_rated()
    model = PseudoLabelRegressor(SVR(), Ridge())
    with pytest.raises(ValueError, match="a score for 0 samples; at least two"):
        model.fit(X, np.full(200, np.nan))
    with pytest.raises(ValueError, match="a score for 1 sample; at least two"):
        model.fit(X, np.where(np.arange(200) == 3, 1.0, np.nan))
    with pytest.raises(ValueError, match="infinity"):
        model.fit(X, np.where(np.arange(200) == 3, np.inf, y))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X[:-1], y)
    with pytest.raises(ValueError, match="'teacher' parameter"):
        PseudoLabelRegressor(StandardScaler(), Ridge()).fit(X, y)
    with pytest.raises(ValueError, match="'min_confidence'"):
        PseudoLabelRegressor(SVR(), Ridge(), min_confidence=2).fit(X, y)
