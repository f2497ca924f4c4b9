"""The logistic mappings of the Video Quality Experts Group, fitted to the global optimum.

Both curves are linear in all but two of their parameters, the centre c and the width s of the
sigmoid. The linear ones are eliminated (variable projection), so the search is two-dimensional and
can be exhaustive: a grid over (c, s), every step function (the limit s -> 0, by cumulative sums),
and Levenberg-Marquardt from the best of them, all starts at once.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

MAPPINGS = {"logistic4": 4, "logistic5": 5}  # name -> number of parameters

# The centre may lie this many widths outside the data (there the curve is exponential to 2e-9), and
# the width may be this many ranges (there it is a straight line, or with five parameters a cubic).
# Farther out nothing changes but the rounding error.
_FAR, _WIDE = 20.0, 1000.0
_MAX_ITER = 30
_MAX_BINS, _MAX_CENTRES = 256, 128  # the grid search sees at most so many points and centres


@dataclass(frozen=True)
class Affine:
    """u = ((v / 2^exponent - origin) - centre) / scale: exact from 1e-320 to 1e308, far from 0."""

    exponent: int
    origin: float
    centre: float
    scale: float

    @classmethod
    def standardising(cls, v):
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

    def __call__(self, v):
        return ((np.ldexp(v, -self.exponent) - self.origin) - self.centre) / self.scale

    def inverse(self, u):
        return np.ldexp((u * self.scale + self.centre) + self.origin, self.exponent)


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
    """

    name: str
    parameters: tuple
    _x: Affine
    _y: Affine
    _standardised: tuple  # intercept, slope, height, centre, width, offset; standardised units

    def __call__(self, y_pred):
        """Map predictions.

        Parameters
        ----------
        y_pred : array-like of float, any shape

        Returns
        -------
        mapped : ndarray of float64, same shape
        """
        u = self._x(np.asarray(y_pred, dtype=np.float64))
        intercept, slope, height, centre, width, offset = self._standardised
        mapped = intercept + slope * u
        if height:
            mapped = mapped + height * _sigmoid((u - centre) / width, offset)
        return self._y.inverse(mapped)


def _offset(centre, low, high):
    """Return what :func:`_sigmoid` subtracts, so that no digits cancel: 0, 1/2 or 1."""
    return np.where(centre > high, 0.0, np.where(centre < low, 1.0, 0.5))


def _sigmoid(z, offset):
    """Return σ(z) - offset, accurate to the last digits where this is small."""
    if offset == 0:
        return expit(z)
    return 0.5 * np.tanh(z / 2) if offset == 0.5 else -expit(-z)


class _Projected:
    """Least squares over (centre, width) alone: the linear parameters follow from them.

    With Q an orthonormal basis of the constant (and the straight line, for five parameters), the
    rest of y is r0 = (I - QQ')y and a sigmoid φ explains <p, r0>² / <p, p> of it, p = (I - QQ')φ.
    """

    def __init__(self, t, y, weight, line):
        self.t, self.root = t, np.sqrt(weight)  # sorted distinct x, with multiplicities
        base = np.stack([self.root, self.root * t], axis=1)[:, : 2 if line else 1]
        self.base = np.linalg.qr(base)[0]
        self.rest = self._project(self.root * y)
        self.low, self.high = t[0], t[-1]
        gap = np.diff(t)
        self.min_width = max(gap.min() / 40, 1e-15 * (self.high - self.low))

    def _project(self, v):
        v = v - (v @ self.base) @ self.base.T
        return v - (v @ self.base) @ self.base.T  # twice is enough (Kahan)

    def _column(self, centre, width):
        z = (self.t - centre[:, None]) / width[:, None]
        offset = _offset(centre, self.low, self.high)
        column = self.root * np.stack([_sigmoid(*row) for row in zip(z, offset, strict=True)])
        p = self._project(column)
        pp = np.einsum("kn,kn->k", p, p)
        noise = 1e-24 * np.einsum("kn,kn->k", column, column)
        return p, np.where(pp > noise, pp, np.inf)  # inf: φ is in the span of Q, explains nothing

    def explained(self, centre, width):
        """Return the sums of squares that sigmoids explain; arrays (k,) -> (k,)."""
        p, pp = self._column(centre, width)
        return (p @ self.rest) ** 2 / pp

    def steps(self, count):
        """Return (centre, width), (2, count), of the best steps, one point of each on the flank."""
        # φ = 1[t > t_k] + v e_k, 0 <= v < 1: sums over n > k are reversed cumulative sums.
        after = np.stack([self.root * self.rest, self.root**2], axis=1)
        after = np.concatenate([after, self.root[:, None] * self.base], axis=1)
        after = np.cumsum(after[::-1], axis=0)[::-1]
        after = np.concatenate([after[1:], np.zeros_like(after[:1])])
        at_rest, at_base = self.root * self.rest, self.root[:, None] * self.base
        step_rest, step_base = after[:, 0], after[:, 2:]
        step_step = after[:, 1] - np.sum(step_base**2, axis=1)
        at_at = self.root**2 - np.sum(at_base**2, axis=1)
        step_at = -np.sum(step_base * at_base, axis=1)
        tiny = 1e-12 * self.root.sum()
        determinant = step_step * at_at - step_at**2
        with np.errstate(divide="ignore", invalid="ignore"):
            two = np.where(step_step > tiny, step_rest**2 / step_step, 0)
            a = (at_at * step_rest - step_at * at_rest) / determinant
            b = (step_step * at_rest - step_at * step_rest) / determinant
            share = b / a  # the height v of point k within the step
            three = np.where(
                (determinant > tiny * tiny) & (share > 0) & (share < 1),
                a * step_rest + b * at_rest,
                0,
            )
        best = np.argsort(np.maximum(two, three))[::-1][:count]
        gap = np.diff(self.t, prepend=2 * self.t[0] - self.t[1], append=2 * self.t[-1] - self.t[-2])
        width = np.minimum(gap[best], gap[best + 1]) / 36
        share = np.clip(np.where(three > two, share, 0)[best], 1e-7, 1 - 1e-7)
        width = np.maximum(width, self.min_width)
        return np.stack([self.t[best] - width * np.log(share / (1 - share)), width])

    def refine(self, centre, width, n_polish):
        """Climb from all starts (k,) at once; return the ends (centre, width, value), best first.

        Levenberg-Marquardt is safe from anywhere, but slow where the residual is large; L-BFGS
        finishes the best `n_polish` of its ends.
        """
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        box = np.array([[-1.0, np.log(self.min_width)], [1.0, np.log(2 * half * _WIDE)]])

        def unpack(theta):  # theta = (τ, log s), c = middle + (half + FAR s) τ: a rectangular box
            width = np.exp(theta[:, 1])
            return middle + (half + _FAR * width) * theta[:, 0], width

        theta = np.stack([(centre - middle) / (half + _FAR * width), np.log(width)], axis=1)
        theta = np.clip(theta, *box)
        value, total = self.explained(*unpack(theta)), self.rest @ self.rest
        damping = np.full(len(theta), 1e-3)
        active = np.arange(len(theta))
        for _ in range(_MAX_ITER):
            now = theta[active]
            gradient, hessian = self._derivatives(*unpack(now), now[:, 0], half)
            # a parameter pressed against its bound is held, so that the other one moves freely
            held = ((now <= box[0]) & (gradient < 0)) | ((now >= box[1]) & (gradient > 0))
            gradient[held] = 0
            hessian[held[:, :, None] | held[:, None, :]] = 0
            diagonal = np.einsum("kii->ki", hessian)
            ridge = damping[active, None] * diagonal + 1e-14 * diagonal.max(1, keepdims=True)
            matrix = hessian + (ridge + 1e-300 + held)[:, :, None] * np.eye(2)
            step = np.linalg.solve(matrix, gradient[:, :, None])[:, :, 0]
            going = 2 * np.einsum("ki,ki->k", gradient, step) > 1e-14 * total
            active = active[going]
            if len(active) == 0:
                break
            trial = np.clip(theta[active] + np.clip(step[going], -2, 2), *box)
            trial_value = self.explained(*unpack(trial))
            better = trial_value > value[active]
            theta[active[better]], value[active[better]] = trial[better], trial_value[better]
            damping[active] = np.maximum(damping[active] * np.where(better, 0.1, 10), 1e-12)

        def loss(row):
            row = row[None]
            gradient, _ = self._derivatives(*unpack(row), row[:, 0], half)
            return -self.explained(*unpack(row))[0] / total, -2 * gradient[0] / total

        for k in np.argsort(value)[::-1][:n_polish]:
            end = minimize(
                loss, theta[k], jac=True, method="L-BFGS-B", bounds=box.T, options={"ftol": 1e-15}
            )
            if -end.fun * total > value[k]:
                theta[k], value[k] = end.x, -end.fun * total
        order = np.argsort(value)[::-1]
        return *(v[order] for v in unpack(theta)), value[order]

    def _derivatives(self, centre, width, tau, half):
        """Return the gradient (k, 2) of half the explained sum and the Gauss-Newton matrix."""
        p, pp = self._column(centre, width)
        height = (p @ self.rest) / pp
        z = (self.t - centre[:, None]) / width[:, None]
        slope = self.root * expit(z) * expit(-z)  # dφ/dz
        to_tau = -(half + _FAR * width) / width  # dz/dτ
        d = np.stack([slope * to_tau[:, None], slope * (-_FAR * tau[:, None] - z)])
        d = self._project(d)
        # Kaufman's Jacobian of the projected residual: its gradient is exact
        d -= p * (np.einsum("kn,ikn->ik", p, d) / pp)[:, :, None]
        d *= height[:, None]
        gradient = d @ self.rest  # d is orthogonal to the fitted part of the rest
        return gradient.T.copy(), np.einsum("ikn,jkn->kij", d, d)


def _binned(t, y, weight):
    """Merge neighbours into at most _MAX_BINS points; both ends stay, where outliers are."""
    if len(t) <= _MAX_BINS:
        return t, y, weight
    ends = _MAX_BINS // 16
    inner = np.linspace(ends, len(t) - ends, _MAX_BINS - 2 * ends + 1).astype(int)[:-1]
    start = np.r_[np.arange(ends), inner, np.arange(len(t) - ends, len(t))]
    total = np.add.reduceat(weight, start)
    return (
        np.add.reduceat(weight * t, start) / total,
        np.add.reduceat(weight * y, start) / total,
        total,
    )


def _grid(problem, count):
    """Return (centre, width), (2, count), of the best peaks of a grid over all scales."""
    t = problem.t
    centres = np.sort(np.r_[t, (t[1:] + t[:-1]) / 2])
    if len(centres) > _MAX_CENTRES:
        centres = centres[np.linspace(0, len(centres) - 1, _MAX_CENTRES).astype(int)]
    extent = problem.high - problem.low
    finest = max(np.quantile(np.diff(t), 0.05) / 4, problem.min_width, 1e-9 * extent)
    n_widths = max(12, int(np.log2(_WIDE * extent / finest)) + 1)
    width = np.geomspace(finest, _WIDE * extent, n_widths)[:, None]
    away = np.array([0.5, 2.0, 6.0, 18.0]) * width
    centre = np.concatenate(
        [
            problem.low - away[:, ::-1],
            np.broadcast_to(centres, (len(width), len(centres))),
            problem.high + away,
        ],
        axis=1,
    )
    width = np.broadcast_to(width, centre.shape)
    value = np.stack([problem.explained(c, s) for c, s in zip(centre, width, strict=True)])
    peaks = np.where(value == maximum_filter(value, 3, mode="nearest"), value, -1.0)
    best = np.argsort(peaks, axis=None)[::-1][:count]
    return np.stack([centre.ravel()[best], width.ravel()[best]])


def _best_sigmoid(t, y, weight, line):
    """Return (centre, width, explained sum of squares) of the best sigmoid."""
    problem = _Projected(t, y, weight, line)
    coarse = problem
    if len(t) <= _MAX_BINS:
        starts = np.concatenate([_grid(problem, 8), problem.steps(8)], axis=1)
    else:  # search on the bins; the two best, or better steps, once more on all points
        coarse = _Projected(*_binned(t, y, weight), line)
        ends = coarse.refine(*_grid(coarse, 8), n_polish=2)[:2]
        starts = np.concatenate([np.stack(ends), problem.steps(2)], axis=1)
        best = np.argsort(problem.explained(*starts))[::-1][:2]
        starts = starts[:, best]
    return tuple(end[0] for end in problem.refine(*starts, n_polish=4 if coarse is problem else 1))


def fit_mapping(y_true, y_pred, name):
    """Fit the mapping to float64 arrays, finite, of one length >= 1 (see metrics.fit_logistic)."""
    x, y = y_pred, y_true
    n_distinct = len(np.unique(x))
    if n_distinct == 1 or (y == y[0]).all():
        centre_y = Affine(0, 0.0, 0.0, 1.0)
        mean = float(y[0]) if (y == y[0]).all() else float(y.mean())
        return Mapping("linear", (0.0, mean), centre_y, centre_y, (mean, 0.0, 0.0, 0.0, 1.0, 0.0))
    to_u, to_v = Affine.standardising(x), Affine.standardising(y)
    u, v = to_u(x), to_v(y)
    slope = u @ v / (u @ u)
    linear = _in_units("linear", to_u, to_v, (0.0, slope, 0.0, 0.0, 1.0, 0.0))
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
    mean = np.bincount(group, weights=v) / weight
    line = name == "logistic5"
    centre, width, explained = _best_sigmoid(t, mean, weight, line)
    if line:
        explained += slope**2 * (u @ u)
    if explained <= slope**2 * (u @ u) + 1e-11 * len(v):
        return linear  # the limit of ever wider sigmoids: as good, and exact
    offset = float(_offset(centre, t[0], t[-1]))
    columns = [np.ones_like(t), t, _sigmoid((t - centre) / width, offset)]
    if not line:
        columns.pop(1)
    design = np.stack(columns, axis=1)
    norm = np.sqrt(weight @ design**2)
    root = np.sqrt(weight)[:, None]
    coefficients = np.linalg.lstsq(root * design / norm, root[:, 0] * mean, rcond=1e-15)[0] / norm
    if not line:
        coefficients = np.insert(coefficients, 1, 0.0)
    standardised = (*map(float, coefficients), float(centre), float(width), offset)
    return _in_units(name, to_u, to_v, standardised)


def _in_units(name, to_u, to_v, standardised):
    """Make the Mapping, its parameters translated to the units of the data."""
    intercept, slope, height, centre, width, offset = standardised
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
    return Mapping(name, tuple(map(float, parameters)), to_u, to_v, standardised)
