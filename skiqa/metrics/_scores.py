"""The field's four figures of merit and their scorers for scikit-learn.

SROCC asks whether a model puts images in the right order, PLCC whether its scores follow the
opinions on a straight line, KROCC how many pairs it orders rightly and RMSE how far off it is. The
Video Quality Experts Group maps the predictions by a fitted logistic before PLCC and RMSE, which
forgives a model its non-linear scale; ``mapping="logistic4"`` does that.

Constant input on either side has no correlation. scipy returns NaN there, these functions 0.0, as
scikit-learn's ``r2_score`` does with ``force_finite``: a search can rank a constant model last.
"""

import warnings

import numpy as np
from scipy.stats import kendalltau, rankdata
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import make_scorer

from skiqa.metrics._logistic import MAPPINGS, Affine, fit_mapping

__all__ = [
    "SCORERS",
    "fit_logistic",
    "krocc_score",
    "krocc_scorer",
    "neg_rmse_scorer",
    "plcc_score",
    "plcc_scorer",
    "rmse_error",
    "srocc_score",
    "srocc_scorer",
]


def srocc_score(y_true, y_pred):
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
    y_true, y_pred = _check(y_true, y_pred)
    return _pearson(rankdata(y_true), rankdata(y_pred)) if _enough(y_true, "SROCC") else np.nan


def krocc_score(y_true, y_pred):
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
    y_true, y_pred = _check(y_true, y_pred)
    if not _enough(y_true, "KROCC"):
        return np.nan
    if _constant(y_true) or _constant(y_pred):
        return 0.0
    return float(kendalltau(y_true, y_pred).statistic)


def plcc_score(y_true, y_pred, *, mapping=None):
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
        ``UndefinedMetricWarning``, for fewer than two samples. With a mapping never below the
        absolute value of the unmapped coefficient: the curve may fall, so that the sign, and with
        it a model that is upside down, is lost. Look at :func:`srocc_score` for that.

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

    Examples
    --------
    >>> from skiqa.metrics import plcc_score
    >>> mos, predicted = [1, 2, 3, 5, 5, 5], [-2, -1, 0, 1, 2, 3]
    >>> round(plcc_score(mos, predicted), 4)
    0.9411
    >>> round(plcc_score(mos, predicted, mapping="logistic4"), 4)
    0.9894
    """
    y_true, y_pred = _check(y_true, y_pred)
    _check_mapping(mapping)
    if not _enough(y_true, "PLCC"):
        return np.nan
    if mapping is not None:
        y_pred = fit_mapping(y_true, y_pred, mapping)(y_pred)
    return _pearson(y_true, y_pred)


def rmse_error(y_true, y_pred, *, mapping=None):
    """Root mean squared error, in the units of `y_true`.

    Parameters
    ----------
    y_true : array-like of float, shape (n_samples,)
        Opinion scores.
    y_pred : array-like of float, shape (n_samples,)
        Predictions; without a mapping on the scale of `y_true`.
    mapping : {None, "logistic4", "logistic5"}, default=None
        Curve that is fitted to map `y_pred` to `y_true` first, see :func:`fit_logistic`.

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
    y_true, y_pred = _check(y_true, y_pred)
    _check_mapping(mapping)
    if not _enough(y_true, "RMSE", at_least=1 if mapping is None else 2):
        return np.nan
    if mapping is not None:
        y_pred = fit_mapping(y_true, y_pred, mapping)(y_pred)
    with np.errstate(over="ignore"):
        error = np.abs(y_true - y_pred)
    largest = error.max()
    if largest == 0 or np.isinf(largest):
        return float(largest)
    return float(largest * np.sqrt(np.mean((error / largest) ** 2)))  # no under- or overflow


def fit_logistic(y_true, y_pred, mapping="logistic4"):
    r"""Fit the curve that maps predictions to opinion scores with the least squared error.

    Parameters
    ----------
    y_true : array-like of float, shape (n_samples,)
        Opinion scores, n_samples >= 2.
    y_pred : array-like of float, shape (n_samples,)
        Predictions.
    mapping : {"logistic4", "logistic5"}, default="logistic4"
        The four-parameter logistic of [1]_,

        .. math:: f(x) = \frac{b_1 - b_2}{1 + \exp(-(x - b_3) / |b_4|)} + b_2,

        or the five-parameter one of [2]_,

        .. math:: f(x) = b_1 \left(\frac12 - \frac{1}{1 + \exp(b_2 (x - b_3))}\right) + b_4 x + b_5.

    Returns
    -------
    fitted : callable
        ``fitted(y_pred)`` maps predictions; ``fitted.name`` and ``fitted.parameters`` describe the
        curve. ``name`` is "linear", with parameters (slope, intercept), where no curve is better
        than a straight line.

    Raises
    ------
    ValueError
        If the lengths differ, there are fewer than two samples, a value is NaN or infinite (the
        message names its index), or the mapping is unknown.
    TypeError
        If the values are not real numbers.

    Warns
    -----
    ConvergenceWarning
        If `y_pred` has fewer distinct values than the curve has parameters; the result is then the
        straight line.

    Notes
    -----
    The usual routine, one local search from one starting point, ends in the wrong place for
    falling data, outliers and steps. Here the linear parameters are eliminated, the two others
    searched on a grid that knows the limits of the family (steps, exponentials, straight lines)
    and the best peaks climbed with analytic derivatives, in standardised units. About 50 ms up to
    1,000 samples, a few seconds and 300 MB for a million.

    References
    ----------
    .. [1] Video Quality Experts Group, "Final report on the validation of objective models of
       video quality assessment, phase II", 2003.
    .. [2] H. R. Sheikh, M. F. Sabir and A. C. Bovik, "A statistical evaluation of recent full
       reference image quality assessment algorithms", IEEE Trans. Image Process. 15(11), 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa.metrics import fit_logistic
    >>> x = np.linspace(-3, 3, 50)
    >>> curve = fit_logistic(1 + 4 / (1 + np.exp(-2 * (x - 0.5))), x)
    >>> np.round(curve.parameters, 6) + 0
    array([5. , 1. , 0.5, 0.5])
    >>> np.round(curve([0.5]), 6)
    array([3.])
    """
    y_true, y_pred = _check(y_true, y_pred)
    if mapping is None:
        raise ValueError(f"mapping must be one of {sorted(MAPPINGS)}, got None")
    _check_mapping(mapping)
    if len(y_true) < 2:
        raise ValueError(f"a mapping needs at least two samples, got {len(y_true)}")
    return fit_mapping(y_true, y_pred, mapping)


def _pearson(x, y):
    if _constant(x) or _constant(y):
        return 0.0
    x, y = Affine.standardising(x)(x), Affine.standardising(y)(y)
    # the norms are those of rounded numbers, n to 1e-16: divide, so that r(x, x) is 1
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1.0, 1.0))


def _constant(v):
    return bool((v == v[0]).all())


def _enough(y_true, name, at_least=2):
    if len(y_true) >= at_least:
        return True
    warnings.warn(
        f"{name} is not defined for {len(y_true)} samples, at least {at_least} are needed: NaN.",
        UndefinedMetricWarning,
        stacklevel=3,
    )
    return False


def _check_mapping(mapping):
    if mapping not in (None, *MAPPINGS):
        raise ValueError(f"mapping must be None or one of {sorted(MAPPINGS)}, got {mapping!r}")


def _vector(values, name):
    """Return `values` as float64 (n,); NaN and infinity may be in it."""
    if hasattr(values, "isna") and hasattr(values, "to_numpy"):  # pandas, whose NA is no float
        values = values.to_numpy(dtype=np.float64, na_value=np.nan)
    values = np.asarray(values)
    if values.dtype.kind not in "biuf":
        try:
            if values.dtype.kind != "O":
                raise TypeError
            values = values.astype(np.float64)
        except (TypeError, ValueError):
            raise TypeError(
                f"{name} must hold real numbers, got an array of dtype {values.dtype}"
            ) from None
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"{name} must have shape (n_samples,), got {values.shape}: pass one score per image"
        )
    return values.astype(np.float64)


def _check(y_true, y_pred):
    y_true, y_pred = _vector(y_true, "y_true"), _vector(y_pred, "y_pred")
    _check_lengths(y_true, y_pred)
    for name, values in (("y_true", y_true), ("y_pred", y_pred)):
        _check_finite(values, name, np.arange(len(values)))
    return y_true, y_pred


def _check_lengths(y_true, y_pred):
    if len(y_true) != len(y_pred):
        raise ValueError(
            f"y_true has {len(y_true)} samples and y_pred {len(y_pred)}: they must be of one length"
        )


def _check_finite(values, name, index):
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        remedy = (
            "predictions must be finite: leave unreadable images out, or look at the model"
            if name == "y_pred"
            else "drop unlabelled images first (the scorers do)"
        )
        raise ValueError(
            f"{name} holds {values[bad[0]]} at index {index[bad[0]]} ({len(bad)} in all): {remedy}"
        )


def _labelled(y_true, y_pred):
    """Drop the rows without a label; refuse bad predictions for the others, by their own index."""
    y_true, y_pred = _vector(y_true, "y_true"), _vector(y_pred, "y_pred")
    _check_lengths(y_true, y_pred)
    index = np.flatnonzero(~np.isnan(y_true))
    _check_finite(y_pred[index], "y_pred", index)
    return y_true[index], y_pred[index]


# Named functions, not closures: scorers are pickled by parallel searches.
def _srocc_labelled(y_true, y_pred):
    return srocc_score(*_labelled(y_true, y_pred))


def _plcc_labelled(y_true, y_pred):
    return plcc_score(*_labelled(y_true, y_pred))


def _krocc_labelled(y_true, y_pred):
    return krocc_score(*_labelled(y_true, y_pred))


def _rmse_labelled(y_true, y_pred):
    return rmse_error(*_labelled(y_true, y_pred))


#: Scorers for ``scoring=`` of scikit-learn: higher is better, rows whose y is NaN (unlabelled) are
#: left out, NaN predictions are refused. PLCC and RMSE are unmapped: a mapping fitted to the
#: validation fold hides a wrong scale and a wrong sign.
srocc_scorer = make_scorer(_srocc_labelled)
plcc_scorer = make_scorer(_plcc_labelled)
krocc_scorer = make_scorer(_krocc_labelled)
neg_rmse_scorer = make_scorer(_rmse_labelled, greater_is_better=False)

#: All four, for multi-metric ``cross_validate`` and searches (the model predicts once for all).
SCORERS = {
    "srocc": srocc_scorer,
    "plcc": plcc_scorer,
    "krocc": krocc_scorer,
    "neg_rmse": neg_rmse_scorer,
}
