"""The logistic mappings of the Video Quality Experts Group, fitted to the global optimum."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning

from skiqa._types import Floats
from skiqa.metrics._checks import check_scores
from skiqa.metrics._sigmoids import best_sigmoid, sigmoid, sigmoid_offset

MAPPINGS = {"logistic4": 4, "logistic5": 5}  # name -> number of parameters


@dataclass(frozen=True)
class Affine:
    """u = ((v / 2^exponent - origin) - centre) / scale: exact from 1e-320 to 1e308, far from 0."""

    exponent: int
    origin: float
    centre: float
    scale: float

    @classmethod
    def standardising(cls, v: Floats) -> Affine:
        """Return the transform that gives `v`, not constant, mean 0 and variance 1."""
        exponent = int(np.frexp(np.abs(v).max())[1])
        v = np.ldexp(v, -exponent)
        origin = v[0]  # subtracted before the mean: exact when all values are close to each other
        v = v - origin
        largest = np.abs(v).max()
        v = v / largest
        centre = v.mean()
        scale = np.sqrt(np.mean((v - centre) ** 2))
        return cls(exponent, float(origin), float(centre * largest), float(scale * largest))

    def __call__(self, v: Floats | np.float64) -> Floats:
        return ((np.ldexp(v, -self.exponent) - self.origin) - self.centre) / self.scale

    def inverse(self, u: Floats | np.float64) -> Floats:
        return np.ldexp((u * self.scale + self.centre) + self.origin, self.exponent)


class Curve(NamedTuple):
    """A straight line plus a sigmoid, between standardised predictions and scores."""

    intercept: float
    slope: float
    height: float = 0.0
    centre: float = 0.0
    width: float = 1.0
    offset: float = 0.0

    def mirrored(self) -> Curve:
        """Return the curve of -u: σ(-z) - o is minus σ(z) - (1 - o)."""
        slope, height, centre = -self.slope, -self.height, -self.centre
        return Curve(self.intercept, slope, height, centre, self.width, 1 - self.offset)


@dataclass(frozen=True)
class Mapping:
    """A fitted curve from predictions to scores (``logistic5`` need not be monotone).

    Call it on predictions to map them.

    Attributes
    ----------
    name : {"logistic4", "logistic5", "linear"}
        "linear" where no curve fits better than a straight line, the limit of both families.
    parameters : tuple of float
        In the units of the data: (b1, b2, b3, b4), (b1, b2, b3, b4, b5) or (slope, intercept).
    falls : bool
        Whether mapped predictions fall where predictions rise; for ``logistic5``, which may do
        both, whether their SROCC with the predictions that it was fitted to is negative.
    """

    name: str
    parameters: tuple[float, ...]
    falls: bool
    _x: Affine
    _y: Affine
    _curve: Curve

    def __call__(self, y_pred: npt.ArrayLike) -> Floats:
        """Map predictions.

        Parameters
        ----------
        y_pred : array-like of float, any shape

        Returns
        -------
        mapped : ndarray of float64, same shape
        """
        u = self._x(np.asarray(y_pred, dtype=np.float64))
        curve = self._curve
        mapped = curve.intercept + curve.slope * u
        if curve.height:
            z = (u - curve.centre) / curve.width
            mapped = mapped + curve.height * sigmoid(z, curve.offset)
        return self._y.inverse(mapped)


def fit_logistic(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, mapping: str = "logistic4"
) -> Mapping:
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

        .. math::

            f(x) = b_1 \left(\frac{1}{2} - \frac{1}{1 + \exp(b_2 (x - b_3))}\right) + b_4 x + b_5.

    Returns
    -------
    fitted : callable
        ``fitted(y_pred)`` maps predictions; ``fitted.name`` and ``fitted.parameters`` describe the
        curve, ``fitted.falls`` says that the model is upside down. ``name`` is "linear", with
        parameters (slope, intercept), where no curve is better than a straight line.

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
    true, predicted = check_scores(y_true, y_pred)
    if mapping is None:
        raise ValueError(f"mapping must be one of {sorted(MAPPINGS)}, got None")
    check_mapping(mapping)
    if len(true) < 2:
        raise ValueError(f"a mapping needs at least two samples, got {len(true)}")
    return fit_mapping(true, predicted, mapping)


def check_mapping(mapping: str | None) -> None:
    if mapping not in (None, *MAPPINGS):
        raise ValueError(f"mapping must be None or one of {sorted(MAPPINGS)}, got {mapping!r}")


def fit_mapping(y_true: Floats, y_pred: Floats, name: str) -> Mapping:
    """Fit the mapping to float64 arrays, finite, of one length >= 1 (see :func:`fit_logistic`)."""
    x, y = y_pred, y_true
    n_distinct = len(np.unique(x))
    if n_distinct == 1 or (y == y[0]).all():
        same = Affine(0, 0.0, 0.0, 1.0)
        mean = float(y[0]) if (y == y[0]).all() else float(y.mean())
        return Mapping("linear", (0.0, mean), False, same, same, Curve(mean, 0.0))
    to_u, to_v = Affine.standardising(x), Affine.standardising(y)
    u, v = to_u(x), to_v(y)
    slope = float(u @ v / (u @ u))
    linear = _in_units("linear", slope < 0, to_u, to_v, Curve(0.0, slope))
    if n_distinct < MAPPINGS[name]:
        warnings.warn(
            f"{name} has {MAPPINGS[name]} parameters but y_pred has only {n_distinct} distinct "
            "values: a straight line is used instead. Give more samples or mapping=None.",
            ConvergenceWarning,
            stacklevel=3,
        )
        return linear
    t, group = np.unique(u, return_inverse=True)
    weight = np.bincount(group).astype(np.float64)
    means = np.bincount(group, weights=v) / weight
    line = name == "logistic5"
    sign = _orientation(t, means)  # so that p and -p are mapped alike, to the last digit
    # copies: sums over views with a negative stride have another rounding
    t, means, weight = (sign * t)[::sign].copy(), means[::sign].copy(), weight[::sign].copy()
    centre, width, explained = best_sigmoid(t, means, weight, line)
    by_line = float(slope**2 * (u @ u))
    if line:
        explained += by_line
    if explained <= by_line + 1e-11 * len(v):
        return linear  # the limit of ever wider sigmoids: as good, and exact
    offset = float(sigmoid_offset(centre, t[0], t[-1]))
    columns = [np.ones_like(t), *([t] if line else []), sigmoid((t - centre) / width, offset)]
    design = np.stack(columns, axis=1)
    norm = np.sqrt(weight @ design**2)
    root = np.sqrt(weight)[:, None]
    solution = np.linalg.lstsq(root * design / norm, root[:, 0] * means, rcond=1e-15)[0] / norm
    intercept, *of_line, height = map(float, solution)
    curve = Curve(intercept, of_line[0] if line else 0.0, height, centre, width, offset)
    if sign < 0:
        curve = curve.mirrored()
    falls = curve.height < 0
    if line:
        ranks = rankdata((design @ solution)[::sign][group])
        falls = bool(rankdata(u) @ (ranks - ranks.mean()) < 0)
    return _in_units(name, falls, to_u, to_v, curve)


def _orientation(t: Floats, means: Floats) -> int:
    """Return 1 or -1: the direction of t, ascending, in which the curve is searched.

    Both families hold the mirror image of each of their curves, but a search that ends a little
    below its best would end elsewhere for the mirrored points: they are all searched in one of the
    two directions, which is a property of the points alone.
    """
    difference = np.concatenate([t + t[::-1], means - means[::-1]])  # negated by mirroring
    first = difference[np.flatnonzero(difference)[:1]]
    return -1 if (first < 0).any() else 1


def _in_units(name: str, falls: bool, to_u: Affine, to_v: Affine, curve: Curve) -> Mapping:
    """Make the Mapping, its parameters translated to the units of the data."""
    intercept, slope, height, centre, width, offset = curve
    with np.errstate(over="ignore", under="ignore"):  # 1 / 1e-310 has no float; __call__ needs none
        x_scale = np.ldexp(to_u.scale, to_u.exponent)
        y_scale = np.ldexp(to_v.scale, to_v.exponent)
        floor = intercept - height * offset
        c, s = to_u.inverse(np.float64(centre)), np.float64(width) * x_scale
        ratio = np.ldexp(to_v.scale / to_u.scale, to_v.exponent - to_u.exponent)
        at_zero = to_u(np.float64(0.0))  # the standardised position of x = 0
        if name == "logistic4":
            bounds = to_v.inverse(np.array([floor + height, floor]))
            parameters = (*bounds, c, s)
        elif name == "logistic5":
            constant = to_v.inverse(floor + height / 2 + slope * at_zero)
            parameters = (height * y_scale, 1 / s, c, slope * ratio, constant)
        else:
            parameters = (slope * ratio, to_v.inverse(intercept + slope * at_zero))
    return Mapping(name, tuple(map(float, parameters)), falls, to_u, to_v, curve)
