"""OrderedRidge: a ridge on ratings of several databases, and on what is better than what."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from skiqa._types import Floats
from skiqa._unpickling import DefaultsWhenUnpickled

_MAX_ROUNDS = 100  # of units, and of Newton steps within each: both stop long before


class OrderedRidge(DefaultsWhenUnpickled, RegressorMixin, BaseEstimator):
    r"""Ridge on ratings of several databases and on pairs of which one is known to be better.

    Ratings say what people think of photos; degraded copies of a photo say, without any rating,
    that a stronger degradation is worse. With only ratings this is
    :class:`~sklearn.linear_model.Ridge`.

    Parameters
    ----------
    alpha : float in (0, inf), default=1.0
        L2 penalty of the coefficients.
    order_weight : float in [0, inf), default=10.0
        Weight of a pair, where a rating has one of 1.
    margin : float in [0, inf), default=0.2
        By how much the better of a pair is to be above the other, in standard deviations of `y` (of
        the reference's, with several databases).

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,), float64
    intercept_ : float
    units_, levels_ : dict
        Of each database: a rating of it is its unit times the prediction plus its level. 1 and 0
        for the reference, whose scale predictions have. Only if `fit` was given `datasets`.
    n_iter_ : int
        Newton steps, over all rounds.
    n_features_in_ : int

    Notes
    -----
    With f(x) = w·x + b, databases d of unit a and level c, s the weight of a sample, σ the standard
    deviation of the ratings of a database, r the reference, and v the weight of a pair (p, q), it
    minimises over w, b, a and c, with a_r = 1 and c_r = 0,

    .. math:: \sum_i s_i \frac{σ_r^2}{σ_{d(i)}^2} (y_i - a_{d(i)} f(x_i) - c_{d(i)})^2
        + α |w|^2 + β \sum_{(p, q)} v_{pq} \max(0, m σ_r - f(x_p) + f(x_q))^2,

    where β is `order_weight` and m the `margin`. Given the units it is convex, and Newton's method
    with halved steps ends at its minimum, for the squared hinge is a quadratic function of those
    pairs that are out of order; units and levels given w are least squares. The two are solved in
    turn until units stand still. O((n + n_pairs) n_features²) time and n_features² memory for each
    round: a minute for 10,000 ratings and 10,000 pairs of 3,136 features.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa import OrderedRidge
    >>> rng = np.random.default_rng(0)
    >>> X, truth = rng.normal(size=(300, 20)), rng.normal(size=20)
    >>> y = X @ truth
    >>> stars = np.arange(300) % 3 == 0  # a third is rated from 1 to 5, the others from 0 to 100
    >>> y = np.where(stars, 3 + 0.2 * y, 50 + 10 * y)
    >>> names = np.where(stars, "stars", "percent")
    >>> model = OrderedRidge(alpha=1e-6).fit(X, y, datasets=names)
    >>> round(model.units_["stars"], 3), round(model.levels_["stars"], 3)
    (0.02, 2.0)
    """

    _parameter_constraints = {
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "order_weight": [Interval(Real, 0, None, closed="left")],
        "margin": [Interval(Real, 0, None, closed="left")],
    }

    coef_: Floats
    intercept_: float

    def __init__(
        self, *, alpha: float = 1.0, order_weight: float = 10.0, margin: float = 0.2
    ) -> None:
        self.alpha = alpha
        self.order_weight = order_weight
        self.margin = margin

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        sample_weight: npt.ArrayLike | None = None,
        datasets: npt.ArrayLike | None = None,
        reference: object = None,
        pairs: Sequence[npt.ArrayLike] | None = None,
    ) -> Self:
        """Fit to ratings and pairs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features of rated photos.
        y : array-like of shape (n_samples,)
            Ratings, higher is better.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Such as one over the variance of the opinions of a photo. None: 1.
        datasets : array-like of shape (n_samples,) or None, default=None
            Which database a rating is of: each has a unit and a level of its own. None: all one.
        reference : object, default=None
            One of `datasets`, whose scale predictions have. None: the one of the largest weight.
        pairs : tuple of 2 or 3 arrays, or None, default=None
            (better, worse) features of shape (n_pairs, n_features), and as a third the weight of
            each pair, shape (n_pairs,), where they are not to count alike.

        Returns
        -------
        self : object
            Fitted regressor.

        Raises
        ------
        ValueError
            If shapes do not fit, `reference` is no database, or the ratings of one fall where those
            of the others rise.
        """
        rows, ratings = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        weight: Floats = _check_sample_weight(
            sample_weight, rows, dtype=np.float64, ensure_non_negative=True
        )
        names = _check_datasets(datasets, ratings)
        parts = {
            name: _part(rows, ratings, weight * (names == name))
            for name in np.unique(names).tolist()
        }
        parts = {name: part for name, part in parts.items() if part.weight}
        if reference is None:
            reference = max(parts, key=lambda name: parts[name].weight)
        elif reference not in parts:
            raise ValueError(f"reference={reference!r} is none of the datasets {list(parts)}.")
        order = self._check_pairs(pairs, rows.shape[1], parts[reference].deviation)
        self.coef_, units = self._solve(parts, reference, order)
        own = parts[reference]
        self.intercept_ = float(own.mean_y - own.mean_x @ self.coef_)
        if datasets is not None:
            self.units_ = units
            self.levels_ = {
                name: float(
                    part.mean_y - units[name] * (part.mean_x @ self.coef_ + self.intercept_)
                )
                for name, part in parts.items()
            }
        return self

    def predict(self, X: npt.ArrayLike) -> Floats:
        """Predict ratings, on the scale of the reference.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        check_is_fitted(self)
        rows: Floats = validate_data(self, X, dtype=np.float64, reset=False)
        return rows @ self.coef_ + self.intercept_

    def _solve(
        self, parts: dict[Any, _Part], reference: object, order: _Order
    ) -> tuple[Floats, dict[Any, float]]:
        """Return (coefficients, units): both in turn until the units stand still."""
        units = {  # deviations say them, until there are predictions
            name: part.deviation / parts[reference].deviation for name, part in parts.items()
        }
        coef: Floats = np.zeros(len(parts[reference].mean_x))
        self.n_iter_ = 0
        for _ in range(_MAX_ROUNDS):
            gram, target = self.alpha * np.eye(len(coef)), np.zeros(len(coef))
            for name, part in parts.items():
                scale = (parts[reference].deviation / part.deviation) ** 2
                gram += scale * units[name] ** 2 * part.gram
                target += scale * units[name] * part.target
            coef, steps = _newton(gram, target, order, coef)
            self.n_iter_ += steps
            before = dict(units)
            for name, part in parts.items():
                spread = coef @ part.gram @ coef
                if name != reference and spread > 0:
                    units[name] = _positive(float(coef @ part.target / spread), name, reference)
            if all(abs(units[name] - before[name]) <= 1e-8 * before[name] for name in units):
                break
        return coef, units

    def _check_pairs(
        self, pairs: Sequence[npt.ArrayLike] | None, n_features: int, deviation: float
    ) -> _Order:
        if pairs is None or not self.order_weight:
            return _Order(np.empty((0, n_features)), np.empty(0), 0.0)
        if len(pairs) not in (2, 3):
            raise ValueError(
                f"pairs holds {len(pairs)} arrays: give (better, worse), or weights, too."
            )
        better, worse = (
            check_array(rows, dtype=np.float64, input_name=f"{what} of pairs")
            for rows, what in zip(pairs, ("better", "worse"), strict=False)
        )
        if better.shape != worse.shape or better.shape[1] != n_features:
            raise ValueError(
                f"pairs has shapes {better.shape} and {worse.shape}; expected two alike, of "
                f"{n_features} features."
            )
        given = pairs[2] if len(pairs) == 3 else None
        weight = _check_sample_weight(given, better, dtype=np.float64, ensure_non_negative=True)
        return _Order(better - worse, self.order_weight * weight, self.margin * deviation)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = False
        return tags


class _Part(NamedTuple):
    """One database: its weight, its means and deviation, and the sums that least squares need."""

    weight: float
    mean_x: Floats
    mean_y: float
    deviation: float
    gram: Floats  # Σ_i s_i (x_i - mean)(x_i - mean)'
    target: Floats  # Σ_i s_i (x_i - mean)(y_i - mean)


class _Order(NamedTuple):
    """Differences better - worse (n_pairs, n_features), the weight of each, and the margin."""

    differences: Floats
    weight: Floats
    margin: float


def _check_datasets(datasets: npt.ArrayLike | None, y: Floats) -> npt.NDArray[Any]:
    if datasets is None:
        return np.zeros(len(y), np.intp)
    names = column_or_1d(datasets)
    check_consistent_length(names, y)
    return names


def _part(X: Floats, y: Floats, weight: Floats) -> _Part:
    used = weight > 0
    X, y, weight = X[used], y[used], weight[used]
    total = float(weight.sum())
    if not total:
        return _Part(0.0, np.zeros(X.shape[1]), 0.0, 1.0, np.empty(0), np.empty(0))
    mean_x, mean_y = weight @ X / total, float(weight @ y / total)
    X, y = X - mean_x, y - mean_y
    deviation = float(np.sqrt(weight @ y**2 / total)) or 1.0
    weighted = X * weight[:, None]
    return _Part(total, mean_x, mean_y, deviation, weighted.T @ X, weighted.T @ y)


def _positive(unit: float, name: object, reference: object) -> float:
    if unit > 0:
        return unit
    raise ValueError(
        f"The ratings of {name!r} fall where those of {reference!r} rise, or have nothing to do "
        "with them: is higher better in both?"
    )


def _newton(gram: Floats, target: Floats, order: _Order, coef: Floats) -> tuple[Floats, int]:
    """Minimise w'Gw - 2 t'w + Σ v max(0, m - Δw)²; return (w, steps)."""
    differences, weight, margin = order

    def loss(w: Floats) -> float:
        short = np.maximum(0, margin - differences @ w)
        return float(w @ gram @ w - 2 * target @ w + weight @ short**2)

    violated: npt.NDArray[np.bool_] | None = None
    for step in range(1, _MAX_ROUNDS + 1):
        before, violated = violated, differences @ coef < margin
        if before is not None and (before == violated).all():
            return coef, step - 1  # the minimum of the quadratic function that holds here
        active = differences[violated] * weight[violated, None]
        hessian = gram + active.T @ differences[violated]
        full = cho_solve(cho_factor(hessian, lower=True), target + margin * active.sum(axis=0))
        size, start = 1.0, loss(coef)
        while loss(coef + size * (full - coef)) > start and size > 1e-6:
            size /= 2
        coef = coef + size * (full - coef)
    return coef, _MAX_ROUNDS
