"""PseudoLabelRegressor: a teacher rates what nobody rated, a student learns from both."""

from __future__ import annotations

from inspect import signature
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, _fit_context, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import Tags, _safe_indexing, get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import (
    assert_all_finite,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    has_fit_parameter,
)

from skiqa._fine_tuning.confidence import confidence
from skiqa._types import Floats, Images, Integers
from skiqa._unpickling import DefaultsWhenUnpickled


class PseudoLabelRegressor(
    DefaultsWhenUnpickled, MetaEstimatorMixin, RegressorMixin, BaseEstimator
):
    """A student that learns from rated samples, and from others as a teacher rates them.

    The teacher, large and slow, is fitted to the samples with a y. It rates the others, and how
    sure it is of each decides what that rating counts. The student, small and quick, is fitted to
    all. It alone predicts: ship ``student_``.

    Parameters
    ----------
    teacher, student : regressor
        Any two that take X: pipelines from images to scores, or regressors of features. They are
        cloned. A teacher that is fitted already stands in a ``sklearn.frozen.FrozenEstimator``;
        use one that was not fitted to the images that it is judged on later.
    unlabeled_weight : float in [0, inf), default=1.0
        What a surely rated sample without a y counts beside one with a y. 0: none is used. Other
        values than 0 and 1 need a student whose `fit` takes `sample_weight`.
    min_confidence : float in [0, 1], default=0.2
        Samples of less confidence are dropped. 0.2: a spread of twice the median is the limit.
    feature_weight : float in [0, inf), default=0.0
        Above 0 the student learns the teacher's features, too: the output of all steps but the last
        of a teacher that is a Pipeline, this many times the variance of y in all. It must be a
        regressor of several outputs. See Notes for when this can help.
    n_folds : int in [2, inf) or None, default=5
        Fits of the teacher, each without one part of the rated samples, whose disagreement is the
        spread, where its `predict` has no `return_std`. None: no spread is known, all of the
        teacher's ratings count alike.
    random_state : int, RandomState instance or None, default=None
        Decides the folds.

    Attributes
    ----------
    teacher_, student_ : regressor
        As fitted.
    transduction_ : float64 ndarray of shape (n_samples,)
        y, and where that is NaN the teacher's rating.
    spread_ : float64 ndarray of shape (n_samples,)
        Standard deviation of the teacher's rating, in units of y; 0 where there is a y, and where
        no spread is known.
    confidence_ : float64 ndarray of shape (n_samples,)
        ``1 / (1 + (spread / median spread)**2)`` in [0, 1]; 1 where there is a y, or no spread.
    n_features_in_ : int
        The student's, if it has it.
    feature_names_in_ : ndarray of shape (n_features,)
        The student's, if it has it.

    Notes
    -----
    **NaN in y means unlabelled.** -1, which marks unlabelled samples in scikit-learn's
    ``semi_supervised``, is a score like any other (DMOS, z-scores). The scorers of
    :mod:`skiqa.metrics`, :func:`skiqa.model_selection.evaluate` and `score` leave such rows out, so
    a search over this estimator with them works as over any other. scikit-learn's own scorers
    refuse NaN. Every fold must hold some labels; unlabelled samples that a split puts into its test
    part are not used in it.

    Confidence follows what the teacher can tell: ``return_std``, as Gaussian processes, Bayesian
    ridges and fine-tuned networks have it, else the disagreement of `n_folds` teachers, which
    understates the error but orders it. A frozen teacher without ``return_std`` has no spread.

    Where `fit` of the student, or of the last step of a pipeline, takes `sample_weight`, that is
    how confidence enters; with metadata routing a pipeline's step must request it. Otherwise
    confidence decides only which samples are dropped. A search *within* the student (``RidgeCV``,
    ``GridSearchCV``) is tuned to the teacher's ratings as well; search over
    ``student__...`` from outside.

    Features: outputs of a ridge do not know of each other, so its scores stay exactly as they are,
    and a linear map from features to features with the teacher's linear head behind it is again the
    ridge on the teacher's ratings. Only a student whose outputs share something (hidden layers,
    trees, latent components) can gain.

    Cost: `n_folds` + 1 fits of the teacher and as many predictions for the unlabelled samples, and
    one fit of the student. Give encoders a `cache_dir`, and each image passes each network once.

    References
    ----------
    Lee, "Pseudo-Label", ICML workshop 2013; Hinton et al., "Distilling the Knowledge in a Neural
    Network", 2015; Romero et al., "FitNets", ICLR 2015 (features). Weights are our choice.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.svm import SVR
    >>> from skiqa import PseudoLabelRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 4))
    >>> y = X @ [1, 2, 0, 0]
    >>> y[30:] = np.nan  # rated by nobody
    >>> model = PseudoLabelRegressor(SVR(), Ridge(), random_state=0).fit(X, y)
    >>> bool(np.isfinite(model.transduction_).all())
    True
    >>> model.predict(X[:2]).shape
    (2,)
    """

    _parameter_constraints = {
        "teacher": [HasMethods(["fit", "predict"])],
        "student": [HasMethods(["fit", "predict"])],
        "unlabeled_weight": [Interval(Real, 0, None, closed="left")],
        "min_confidence": [Interval(Real, 0, 1, closed="both")],
        "feature_weight": [Interval(Real, 0, None, closed="left")],
        "n_folds": [Interval(Integral, 2, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    teacher_: BaseEstimator
    student_: BaseEstimator
    transduction_: npt.NDArray[np.float64]
    spread_: npt.NDArray[np.float64]
    confidence_: npt.NDArray[np.float64]

    def __init__(
        self,
        teacher: BaseEstimator,
        student: BaseEstimator,
        *,
        unlabeled_weight: float = 1.0,
        min_confidence: float = 0.2,
        feature_weight: float = 0.0,
        n_folds: int | None = 5,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.unlabeled_weight = unlabeled_weight
        self.min_confidence = min_confidence
        self.feature_weight = feature_weight
        self.n_folds = n_folds
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Images, y: npt.ArrayLike) -> Self:
        """Fit the teacher, rate the unlabelled samples, fit the student.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            What teacher and student take: images, or rows of features.
        y : array-like of float of shape (n_samples,)
            Opinion scores, higher is better; NaN where there is none. Two scores or more.

        Returns
        -------
        self : object
            Fitted regressor.

        Raises
        ------
        ValueError
            If fewer than two samples have a score, y holds infinity, `unlabeled_weight` is neither
            0 nor 1 and the student takes no weights, or `feature_weight` is above 0 and the teacher
            has no features or the student a single output.
        """
        X, scores = _checked_samples(X, y)
        labelled = np.flatnonzero(~np.isnan(scores))
        unlabelled = np.flatnonzero(np.isnan(scores))
        if len(labelled) < 2:
            raise ValueError(
                f"y has a score for {len(labelled)} sample{'s' * (len(labelled) != 1)}; at least "
                "two are needed to teach. NaN means: no score."
            )
        weight_name = _weight_name(self.student)
        if weight_name is None and self.unlabeled_weight not in (0, 1):
            raise ValueError(
                f"unlabeled_weight={self.unlabeled_weight}, but fit of the student "
                f"({type(self.student).__name__}) takes no sample_weight: use 0 or 1, or another "
                "student."
            )
        self.teacher_ = clone(self.teacher).fit(_safe_indexing(X, labelled), scores[labelled])
        self.transduction_, self.spread_ = scores.copy(), np.zeros(len(scores))
        self.confidence_ = np.ones(len(scores))
        if len(unlabelled) and self.unlabeled_weight:
            rated, spread = self._rate(X, scores, labelled, unlabelled)
            self.transduction_[unlabelled], self.spread_[unlabelled] = rated, spread
            self.confidence_[unlabelled] = confidence(spread)
        weights = np.where(np.isnan(scores), self.unlabeled_weight * self.confidence_, 1.0)
        kept = np.flatnonzero((self.confidence_ >= self.min_confidence) & (weights > 0))
        rows, target = _safe_indexing(X, kept), self.transduction_[kept]
        if self.feature_weight:
            features = self._features_of_teacher(rows, scores[labelled].var())
            target = np.column_stack([target, features])
        # without unlabelled samples all weights are 1, and none need be passed
        params: dict[str, Floats] = {}
        if weight_name is not None and (weights[kept] != 1).any():
            params[weight_name] = weights[kept]
        self.student_ = self._fit_student(rows, target, params)
        if hasattr(self.student_, "feature_names_in_"):
            self.feature_names_in_ = self.student_.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def _rate(
        self, X: Any, scores: Floats, labelled: Integers, unlabelled: Integers
    ) -> tuple[Floats, Floats]:
        """Return the teacher's ratings of the unlabelled samples and their spread."""
        rows = _safe_indexing(X, unlabelled)
        rated, spread = _predict_with_spread(self.teacher_, rows)
        if spread is not None:
            return rated, spread
        if self.n_folds is None or isinstance(self.teacher, FrozenEstimator):
            return rated, np.zeros(len(unlabelled))
        n_folds = min(self.n_folds, len(labelled))
        folds = KFold(n_folds, shuffle=True, random_state=self.random_state)
        ratings = []
        for part, _ in folds.split(labelled):
            part = labelled[part]
            teacher = clone(self.teacher).fit(_safe_indexing(X, part), scores[part])
            ratings.append(teacher.predict(rows))
        return rated, np.std(ratings, axis=0)

    def _features_of_teacher(self, rows: Any, variance: float) -> Floats:
        """Return the teacher's features, centered, with `feature_weight` x `variance` in all."""
        front, _ = _front_and_regressor(self.teacher_)
        if front is None:
            raise ValueError(
                f"feature_weight={self.feature_weight} needs a teacher with features: a Pipeline "
                f"whose last step is the regressor, not a {type(self.teacher).__name__}."
            )
        features = np.asarray(front.transform(rows), np.float64)
        features = features - features.mean(axis=0)
        total = features.var(axis=0).sum()
        scale = np.sqrt(self.feature_weight * variance / total) if total else 0.0
        return scale * features

    def _fit_student(self, rows: Any, target: Floats, params: dict[str, Floats]) -> BaseEstimator:
        try:
            return clone(self.student).fit(rows, target, **params)
        except ValueError as error:
            if self.feature_weight:  # no tag tells: MLPRegressor's says no, and it can
                error.add_note(
                    f"feature_weight={self.feature_weight} needs a student of several outputs, "
                    "such as MLPRegressor or ExtraTreesRegressor."
                )
            raise

    def predict(self, X: Images) -> Floats:
        """Predict with the student.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        predicted: Floats = self.student_.predict(X)
        return predicted[:, 0] if self.feature_weight else predicted

    def score(
        self, X: Images, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """Return R2 over the samples whose y is not NaN.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        y : array-like of float of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        float
        """
        X, scores = _checked_samples(X, y)
        kept = np.flatnonzero(~np.isnan(scores))
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight)[kept]
        return super().score(_safe_indexing(X, kept), scores[kept], sample_weight)

    @property
    def n_features_in_(self) -> int:
        """Number of features that `fit` saw, if the student counts them."""
        check_is_fitted(self)
        return self.student_.n_features_in_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        teacher, student = get_tags(self.teacher), get_tags(self.student)
        for name in ("two_d_array", "three_d_array", "sparse", "string", "allow_nan"):
            both = getattr(teacher.input_tags, name) and getattr(student.input_tags, name)
            setattr(tags.input_tags, name, both)
        tags.input_tags.positive_only = (
            teacher.input_tags.positive_only or student.input_tags.positive_only
        )
        tags.regressor_tags = student.regressor_tags
        tags.non_deterministic = teacher.non_deterministic or student.non_deterministic
        return tags


def _checked_samples(X: Any, y: npt.ArrayLike | None) -> tuple[Any, npt.NDArray[np.float64]]:
    """Return X, of which rows can be taken, and y as float64, NaN where there is no score."""
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    scores = column_or_1d(y, dtype=np.float64, warn=True)
    assert_all_finite(scores, allow_nan=True, input_name="y")
    check_consistent_length(X, scores)
    if issparse(X):
        X = X.tocsr()
    elif not hasattr(X, "shape") and not isinstance(X, list | tuple):
        X = np.asarray(X)
    return X, scores


def _unwrapped(estimator: BaseEstimator) -> BaseEstimator:
    """Return what predicts inside a fitted search or a frozen estimator, however deep."""
    if isinstance(estimator, FrozenEstimator):
        return _unwrapped(estimator.estimator)
    if isinstance(estimator, BaseSearchCV):
        return _unwrapped(estimator.best_estimator_)
    return estimator


def _front_and_regressor(estimator: BaseEstimator) -> tuple[Pipeline | None, BaseEstimator]:
    """Return (what makes features or None, the regressor) of a fitted estimator."""
    estimator = _unwrapped(estimator)
    if isinstance(estimator, Pipeline):
        return (estimator[:-1] if len(estimator) > 1 else None), estimator[-1]
    return None, estimator


def _predict_with_spread(estimator: BaseEstimator, X: Any) -> tuple[Floats, Floats | None]:
    """Return predictions, and their standard deviation if the estimator knows it, else None."""
    front, last = _front_and_regressor(estimator)
    if "return_std" not in signature(last.predict).parameters:
        return estimator.predict(X), None
    # step by step: a Pipeline's predict takes the argument only where routing lets it
    return last.predict(X if front is None else front.transform(X), return_std=True)


def _weight_name(estimator: BaseEstimator) -> str | None:
    """Return the name under which `fit` takes weights of samples, or None."""
    if get_config()["enable_metadata_routing"] and isinstance(
        estimator, Pipeline | BaseSearchCV | TransformedTargetRegressor
    ):
        routing = get_routing_for_object(estimator)
        return "sample_weight" if routing.consumes("fit", ["sample_weight"]) else None
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        name = _weight_name(last)
        return None if name is None else f"{step}__{name}"
    if isinstance(estimator, BaseSearchCV):
        return _weight_name(estimator.estimator)
    if isinstance(estimator, TransformedTargetRegressor):
        return _weight_name(estimator.regressor)
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None
