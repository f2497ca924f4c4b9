"""The four figures of merit."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau, rankdata
from sklearn.exceptions import UndefinedMetricWarning

from skiqa._types import Floats, Integers
from skiqa.metrics._checks import check_scores
from skiqa.metrics._logistic import Affine, check_mapping, fit_mapping


def srocc_score(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    """Spearman's rank-order correlation coefficient, SROCC.

    Parameters
    ----------
    y_true : array-like of float, shape (n_samples,)
        Opinion scores. Ties share their mean rank.
    y_pred : array-like of float, shape (n_samples,)
        Predictions, on any scale.

    Returns
    -------
    score : float
        In [-1, 1]; 1 is best. 0.0 where either side is constant. NaN, with an
        ``UndefinedMetricWarning``, for fewer than two samples.

    Raises
    ------
    ValueError
        If the lengths differ, or a value is NaN or infinite (the message names its index).
    TypeError
        If the values are not real numbers.

    Notes
    -----
    Equal to ``scipy.stats.spearmanr`` wherever that is finite. O(n log n) time.

    Examples
    --------
    >>> from skiqa.metrics import srocc_score
    >>> srocc_score([1, 2, 3, 4], [0.1, 0.2, 0.9, 0.8])
    0.8
    """
    true, predicted = check_scores(y_true, y_pred)
    if len(true) < 2:
        return _undefined("SROCC", len(true), at_least=2)
    return _pearson(rankdata(true), rankdata(predicted))


def krocc_score(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    """Kendall's rank-order correlation coefficient, KROCC (tau-b, which allows for ties).

    Parameters
    ----------
    y_true : array-like of float, shape (n_samples,)
        Opinion scores.
    y_pred : array-like of float, shape (n_samples,)
        Predictions, on any scale.

    Returns
    -------
    score : float
        In [-1, 1]; 1 is best. 0.0 where either side is constant. NaN, with an
        ``UndefinedMetricWarning``, for fewer than two samples.

    Raises
    ------
    ValueError
        If the lengths differ, or a value is NaN or infinite (the message names its index).
    TypeError
        If the values are not real numbers.

    Notes
    -----
    Equal to ``scipy.stats.kendalltau`` wherever that is finite. O(n log n) time.

    Examples
    --------
    >>> from skiqa.metrics import krocc_score
    >>> round(krocc_score([1, 2, 3, 4], [0.1, 0.2, 0.9, 0.8]), 4)  # 5 pairs right, 1 wrong
    0.6667
    """
    true, predicted = check_scores(y_true, y_pred)
    if len(true) < 2:
        return _undefined("KROCC", len(true), at_least=2)
    if _is_constant(true) or _is_constant(predicted):
        return 0.0
    return float(kendalltau(true, predicted).statistic)


def plcc_score(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, mapping: str | None = None
) -> float:
    """Pearson's linear correlation coefficient, PLCC.

    Parameters
    ----------
    y_true : array-like of float, shape (n_samples,)
        Opinion scores.
    y_pred : array-like of float, shape (n_samples,)
        Predictions, on any scale.
    mapping : {None, "logistic4", "logistic5"}, default=None
        Curve that is fitted to map `y_pred` to `y_true` first, see :func:`fit_logistic`.

    Returns
    -------
    score : float
        In [-1, 1]; 1 is best. 0.0 where either side is constant. NaN, with an
        ``UndefinedMetricWarning``, for fewer than two samples. With a mapping the coefficient of
        `y_true` and the mapped predictions, with the sign of the curve: negative where that falls,
        so that a model that is upside down shows.

    Raises
    ------
    ValueError
        If the lengths differ, a value is NaN or infinite (the message names its index), or the
        mapping is unknown.
    TypeError
        If the values are not real numbers.

    Warns
    -----
    ConvergenceWarning
        If `y_pred` has too few distinct values for the mapping, and a straight line is used.

    Notes
    -----
    Unmapped equal to ``scipy.stats.pearsonr`` wherever that is finite, and accurate from 1e-320 to
    1e308. O(n) time unmapped; :func:`fit_logistic` says what a mapping costs. Which mapping, if
    any, a paper used changes its third digit: say it next to the number.

    Mapped predictions never correlate negatively, whatever they are made of; the usual mapped PLCC
    is the absolute value of this one. A curve with four or five parameters also follows noise: for
    predictions that know nothing the median absolute value after "logistic4" is .68 for 6 images,
    .50 for 12, .34 for 30 and .20 for 100 (of SROCC .37, .20, .13 and .07).

    Examples
    --------
    >>> from skiqa.metrics import plcc_score
    >>> mos, predicted = [1, 2, 3, 5, 5, 5], [-2, -1, 0, 1, 2, 3]
    >>> round(plcc_score(mos, predicted), 4)
    0.9411
    >>> round(plcc_score(mos, predicted, mapping="logistic4"), 4)
    0.9894
    >>> round(plcc_score(mos, [-p for p in predicted], mapping="logistic4"), 4)
    -0.9894
    """
    true, predicted = check_scores(y_true, y_pred)
    check_mapping(mapping)
    if len(true) < 2:
        return _undefined("PLCC", len(true), at_least=2)
    if mapping is None:
        return _pearson(true, predicted)
    curve = fit_mapping(true, predicted, mapping)
    return (-1 if curve.falls else 1) * _pearson(true, curve(predicted))


def rmse_error(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, mapping: str | None = None
) -> float:
    """Root mean squared error, in the units of `y_true`.

    Parameters
    ----------
    y_true : array-like of float, shape (n_samples,)
        Opinion scores.
    y_pred : array-like of float, shape (n_samples,)
        Predictions; without a mapping on the scale of `y_true`.
    mapping : {None, "logistic4", "logistic5"}, default=None
        Curve that is fitted to map `y_pred` to `y_true` first, see :func:`fit_logistic`. It may
        fall: the error of a model that is upside down is then as small as that of a good one.

    Returns
    -------
    error : float
        0 is best. NaN, with an ``UndefinedMetricWarning``, for no sample, or with a mapping for
        fewer than two.

    Raises
    ------
    ValueError
        If the lengths differ, a value is NaN or infinite (the message names its index), or the
        mapping is unknown.
    TypeError
        If the values are not real numbers.

    Warns
    -----
    ConvergenceWarning
        If `y_pred` has too few distinct values for the mapping, and a straight line is used.

    Examples
    --------
    >>> from skiqa.metrics import rmse_error
    >>> rmse_error([1, 2, 3], [1, 2, 6]) == 3**0.5
    True
    """
    true, predicted = check_scores(y_true, y_pred)
    check_mapping(mapping)
    at_least = 1 if mapping is None else 2
    if len(true) < at_least:
        return _undefined("RMSE", len(true), at_least=at_least)
    if mapping is not None:
        predicted = fit_mapping(true, predicted, mapping)(predicted)
    with np.errstate(over="ignore"):
        error = np.abs(true - predicted)
    largest = error.max()
    if largest == 0 or np.isinf(largest):
        return float(largest)
    return float(largest * np.sqrt(np.mean((error / largest) ** 2)))  # no under- or overflow


def dense_order(values: Floats) -> Integers:
    """Return integers in the order of the values: what ranks are made from, sorted once."""
    return np.unique(values, return_inverse=True)[1]


def weighted_srocc(x: Integers, y: Integers, weights: Floats) -> float:
    """SROCC of a sample in which the i-th pair stands weights[i] times, in O(n).

    Parameters
    ----------
    x, y : ndarray of shape (n,), int
        Values, as small integers in their order.
    weights : ndarray of shape (n,), float

    Returns
    -------
    float
        NaN if there is no pair, 0 if a side is constant.
    """
    total = weights.sum()
    if total == 0:
        return np.nan
    centered = []
    for values in (x, y):
        counts = np.bincount(values, weights)
        rank = np.cumsum(counts) - counts / 2  # the mean of a value's ranks, less 1/2
        centered.append((rank - total / 2)[values])
    a, b = centered
    norm = np.sqrt((weights @ a**2) * (weights @ b**2))
    return float(weights @ (a * b) / norm) if norm > 0 else 0.0


def _pearson(x: Floats, y: Floats) -> float:
    if _is_constant(x) or _is_constant(y):
        return 0.0
    x, y = Affine.standardising(x)(x), Affine.standardising(y)(y)
    # the norms are those of rounded numbers, n to 1e-16: divide, so that r(x, x) is 1
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def _is_constant(v: Floats) -> bool:
    return bool((v == v[0]).all())


def _undefined(name: str, n_samples: int, *, at_least: int) -> float:
    """Warn that a figure is not defined for so few samples, and return NaN."""
    warnings.warn(
        f"{name} is not defined for {n_samples} samples, at least {at_least} are needed: NaN.",
        UndefinedMetricWarning,
        stacklevel=3,
    )
    return np.nan
