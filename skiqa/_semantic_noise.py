"""SemanticNoiseSelector and SemanticNoiseRidge: keep quality, drop semantics, on any features."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.feature_selection import SelectorMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from skiqa._matched_noise import (
    adversarial_gates,
    matched_pairs,
    moments,
    noise_ratio,
    penalized_weights,
)
from skiqa._types import Bools, Floats, Integers
from skiqa._unpickling import DefaultsWhenUnpickled
from skiqa.datasets._contents import content_numbers


class _MatchingEstimator(DefaultsWhenUnpickled, BaseEstimator):
    """What is fitted to matched pairs; a subclass says how, in `_fit_pairs`."""

    _parameter_constraints: dict[str, list[Any]] = {
        "tolerance": [Interval(Real, 0, 1, closed="right")],
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
    }

    tolerance: float
    n_candidates: int

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        groups: npt.ArrayLike | None = None,
        y_std: npt.ArrayLike | None = None,
    ) -> Self:
        """Match samples, and learn from the pairs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, two samples or more.
        y : array-like of shape (n_samples,)
            Quality.
        groups : array-like of shape (n_samples,) or None, default=None
            Which samples share their content: they are never matched.
        y_std : array-like of shape (n_samples,) or None, default=None
            Standard deviation of each y, in units of y: pairs of uncertain y count less, by the
            product of their reliabilities ``Var(quality) / (Var(quality) + y_std**2)``.

        Returns
        -------
        self : object
            Fitted estimator.

        Raises
        ------
        ValueError
            If `groups` leaves no pair, or `y_std` nothing of the spread of y.
        """
        return self._match_and_fit(X, y, groups, y_std)

    def _match_and_fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        groups: npt.ArrayLike | None,
        y_std: npt.ArrayLike | None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Match samples, and learn from the pairs; samples of weight 0 are not there."""
        rows, quality = validate_data(
            self, X, y, dtype=[np.float64, np.float32], y_numeric=True, ensure_min_samples=2
        )
        quality = np.asarray(quality, np.float64)
        if groups is not None:
            groups = content_numbers(column_or_1d(groups))
            check_consistent_length(quality, groups)
        if y_std is not None:
            y_std = _check_sample_weight(y_std, rows, dtype=np.float64, ensure_non_negative=True)
        counts: Floats | None = None
        if sample_weight is not None:
            counts = _check_sample_weight(
                sample_weight, rows, dtype=np.float64, ensure_non_negative=True
            )
            there = counts > 0
            rows, quality, counts = rows[there], quality[there], counts[there]
            groups, y_std = (None if v is None else np.asarray(v)[there] for v in (groups, y_std))
        partners, weights = matched_pairs(
            rows,
            quality,
            tolerance=self.tolerance,
            n_candidates=self.n_candidates,
            groups=groups,
            y_std=y_std,
            sample_weight=counts,
        )
        self._fit_pairs(rows, quality, partners, weights, counts)
        return self

    def _fit_pairs(
        self, X: Floats, y: Floats, partners: Integers, weights: Floats, counts: Floats | None
    ) -> None:
        raise NotImplementedError


class SemanticNoiseSelector(SelectorMixin, _MatchingEstimator):
    """Gate features by how much of what they show is content, not quality.

    Features of a network trained on content differ between photos of equal quality: that is
    semantic noise. Each sample is matched with one of nearly equal y and distant features, and the
    features are multiplied by gates in [0, 1] that close where such pairs differ.

    Parameters
    ----------
    solver : {"closed_form", "adversarial"}, default="closed_form"
        "closed_form": from the scatter of the matched differences N and the scatter of quality Q
        of each feature alone, ``(Q / (Q + N)) ** strength``. "adversarial": gates of a linear
        prediction, all features together, trained so that it does not move when matched noise is
        added at its worst strength, feature by feature.
    strength : float in [0, inf), default=0.25
        How strongly noise is weighed. "closed_form": the power above; 0 opens every gate, 1 is the
        Wiener filter. "adversarial": noise may be added up to this share of a matched difference.
    threshold : float in [0, 1] or None, default=None
        None: soft, features are multiplied by their gates, all are kept. Otherwise hard: features
        whose gate is not below it are kept, as they are, the others dropped.
    tolerance : float in (0, 1], default=0.05
        How far the y of a matched pair may lie apart, in quantiles of y.
    n_candidates : int in [1, inf), default=8
        How many samples within the tolerance are looked at for the one with the most distant
        features. 1: any sample of nearly equal y.
    n_steps : int in [1, inf), default=200
        Steps of the adversarial solver.
    learning_rate : float in (0, inf), default=0.05
        Of the adversarial solver (Adam, on the logits of the gates).
    batch_size : int in [2, inf), default=256
        Samples in a step of the adversarial solver.
    random_state : int, RandomState instance or None, default=None
        Draws the batches of the adversarial solver, where there is more than one.

    Attributes
    ----------
    gates_ : float64 ndarray of shape (n_features,)
        In [0, 1].
    noise_ratio_ : float64 ndarray of shape (n_features,)
        ``N / (N + Q)`` of each feature, in [0, 1], whatever the solver: 1 is all noise.
    loss_curve_ : list of float
        Loss of each step. Only with the adversarial solver.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Only if X had names.

    See Also
    --------
    SemanticNoiseRidge : The noise as the penalty of a regression.
    skiqa.inspection.NoiseSpectrumDisplay : Plot of `noise_ratio_`.

    Notes
    -----
    QFM-style: the paper's third version matches as here; it has no public code, and all else is
    our choice. Derivation, relatives (LDA, WCCN, Tikhonov) and what it is worth:
    docs/feature_selection.md.

    Cost of `fit`: ``O(n_samples * n_features * n_candidates)`` time for the matching, and for the
    adversarial solver ``O(n_steps * batch_size * n_features)``, whatever the number of samples;
    memory beside X: some tens of MB and, adversarial, 6 batches in single precision. No matrix of
    n_samples x n_samples or n_features x n_features is made.

    References
    ----------
    Li et al., "Adaptive Feature Selection for No-Reference Image Quality Assessment by Mitigating
    Semantic Noise Sensitivity", ICML 2024 (arXiv 2312.06158v3).

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa import SemanticNoiseSelector
    >>> generator = np.random.default_rng(0)
    >>> y = generator.random(500)
    >>> X = np.column_stack([y + 0.1 * generator.normal(size=500), generator.normal(size=500)])
    >>> selector = SemanticNoiseSelector(strength=1).fit(X, y)
    >>> selector.gates_.round(1)
    array([0.9, 0. ])
    >>> SemanticNoiseSelector(threshold=0.5).fit_transform(X, y).shape
    (500, 1)
    """

    _parameter_constraints = {
        "solver": [StrOptions({"closed_form", "adversarial"})],
        "strength": [Interval(Real, 0, None, closed="left")],
        "threshold": [Interval(Real, 0, 1, closed="both"), None],
        **_MatchingEstimator._parameter_constraints,
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    gates_: Floats
    noise_ratio_: Floats
    loss_curve_: list[float]

    def __init__(
        self,
        solver: str = "closed_form",
        *,
        strength: float = 0.25,
        threshold: float | None = None,
        tolerance: float = 0.05,
        n_candidates: int = 8,
        n_steps: int = 200,
        learning_rate: float = 0.05,
        batch_size: int = 256,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.solver = solver
        self.strength = strength
        self.threshold = threshold
        self.tolerance = tolerance
        self.n_candidates = n_candidates
        self.n_steps = n_steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.random_state = random_state

    def _fit_pairs(
        self, X: Floats, y: Floats, partners: Integers, weights: Floats, counts: Floats | None
    ) -> None:
        self.noise_ratio_ = noise_ratio(X, y, partners, weights)
        if hasattr(self, "loss_curve_"):
            del self.loss_curve_
        if self.solver == "closed_form":
            self.gates_ = (1 - self.noise_ratio_) ** self.strength
            return
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        self.gates_, self.loss_curve_ = adversarial_gates(
            X,
            y,
            partners,
            weights,
            strength=self.strength,
            n_steps=self.n_steps,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            generator=np.random.default_rng(seed),
        )

    def _get_support_mask(self) -> Bools:
        check_is_fitted(self)
        if self.threshold is None:
            return np.ones(len(self.gates_), bool)
        return self.gates_ >= self.threshold

    def transform(self, X: npt.ArrayLike) -> Floats:
        """Multiply features by their gates or, with a threshold, keep those that pass it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_kept)
            Of the dtype of X; all features where there is no threshold.
        """
        if self.threshold is not None:
            return super().transform(X)
        check_is_fitted(self)
        rows: Floats = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return rows * self.gates_.astype(rows.dtype)

    def inverse_transform(self, X: npt.ArrayLike) -> Floats:
        """Undo `transform`, as far as that can be.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_kept)
            What `transform` gives.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Features divided by their gates; 0 where a feature was dropped or its gate is closed.
        """
        gated: Floats = super().inverse_transform(X)
        if self.threshold is not None:
            return gated
        return np.divide(gated, self.gates_, out=np.zeros_like(gated), where=self.gates_ > 0)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class SemanticNoiseRidge(RegressorMixin, _MatchingEstimator):
    """Ridge regression that is held still between samples of equal quality and other content.

    Minimizes ``|y - Xw - b|**2 + alpha * |w|**2 + noise_penalty * sum((w @ d)**2) / 2`` over the
    differences d of n_samples matched pairs, as :class:`SemanticNoiseSelector` matches them: the
    penalty of ridge plus the scatter of semantic noise.

    Parameters
    ----------
    alpha : float in (0, inf), default=1.0
        Penalty of the squared weights, as in scikit-learn's Ridge.
    noise_penalty : float in [0, inf), default=1.0
        Penalty of what the prediction moves between the samples of a pair. 0: plain ridge.
    tolerance : float in (0, 1], default=0.05
        How far the y of a matched pair may lie apart, in quantiles of y.
    n_candidates : int in [1, inf), default=8
        How many samples within the tolerance are looked at for the one with the most distant
        features. With 1, any sample of nearly equal y, the result is close to that of a Ridge of
        ``alpha / (1 + noise_penalty)`` times a constant (see docs/feature_selection.md).

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Weights w, of the dtype of X.
    intercept_ : float
        Constant b.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Only if X had names.

    See Also
    --------
    SemanticNoiseSelector : A gate for each feature instead of a penalty.

    Notes
    -----
    Matched differences act as samples whose target is 0, so there is one linear solve, of
    ``m = min(n_features, 2 * n_samples)`` unknowns: ``O(n_samples * n_features * m + m**3)`` time
    and ``O(m**2)`` memory in double precision, and twice X where n_features is the larger. The
    penalty shrinks the predictions toward their mean as alpha does; ranks are what it is tuned for.

    References
    ----------
    Li et al., "Adaptive Feature Selection for No-Reference Image Quality Assessment by Mitigating
    Semantic Noise Sensitivity", ICML 2024 (arXiv 2312.06158v3): the matching. The regression is
    our choice.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa import SemanticNoiseRidge
    >>> generator = np.random.default_rng(0)
    >>> y, content = generator.random(500), generator.normal(size=500)
    >>> X = np.column_stack([y + content, content])
    >>> model = SemanticNoiseRidge(noise_penalty=10).fit(X, y)
    >>> bool(abs(model.coef_.sum()) < 0.01)  # content cancels
    True
    """

    _parameter_constraints = {
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "noise_penalty": [Interval(Real, 0, None, closed="left")],
        **_MatchingEstimator._parameter_constraints,
    }

    coef_: Floats
    intercept_: float

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        noise_penalty: float = 1.0,
        tolerance: float = 0.05,
        n_candidates: int = 8,
    ) -> None:
        self.alpha = alpha
        self.noise_penalty = noise_penalty
        self.tolerance = tolerance
        self.n_candidates = n_candidates

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        groups: npt.ArrayLike | None = None,
        y_std: npt.ArrayLike | None = None,
    ) -> Self:
        """Match samples, and learn from the pairs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, two samples or more.
        y : array-like of shape (n_samples,)
            Quality.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How many times each sample counts, in the error and as one of a pair; 0: it is not
            there. ``1 / y_std**2`` weighs the error by the certainty of the opinions. None: once.
        groups : array-like of shape (n_samples,) or None, default=None
            Which samples share their content: they are never matched.
        y_std : array-like of shape (n_samples,) or None, default=None
            Standard deviation of each y, in units of y: pairs of uncertain y count less, by the
            product of their reliabilities ``Var(quality) / (Var(quality) + y_std**2)``.

        Returns
        -------
        self : object
            Fitted estimator.

        Raises
        ------
        ValueError
            If `groups` leaves no pair, `y_std` nothing of the spread of y, or `sample_weight` no
            sample.
        """
        return self._match_and_fit(X, y, groups, y_std, sample_weight)

    def _fit_pairs(
        self, X: Floats, y: Floats, partners: Integers, weights: Floats, counts: Floats | None
    ) -> None:
        level = np.average(y, weights=counts)
        total = len(X) if counts is None else counts.sum()
        penalties = self.noise_penalty * total * weights / weights.sum() / 2
        coef = penalized_weights(X, y - level, partners, penalties, self.alpha, counts)
        self.coef_ = coef.astype(X.dtype)
        self.intercept_ = float(level - moments(X, sample_weight=counts).mean @ coef)

    def predict(self, X: npt.ArrayLike) -> Floats:
        """Predict quality.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,)
            Of the dtype of X.
        """
        check_is_fitted(self)
        rows: Floats = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return rows @ self.coef_.astype(rows.dtype) + rows.dtype.type(self.intercept_)
