"""The sigmoid that fits best, found for certain: the search behind the logistic mappings.

Both curves are linear in all but two of their parameters, the centre c and the width s of the
sigmoid. The linear ones are eliminated (variable projection), so the search is two-dimensional and
can be exhaustive: a grid over (c, s), every step function (the limit s -> 0, by cumulative sums),
and Levenberg-Marquardt from the best of them, all starts at once.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.optimize import minimize
from scipy.special import expit

from skiqa._types import Floats

# The centre may lie this many widths outside the data (there the curve is exponential to 2e-9), and
# the width may be this many ranges (there it is a straight line, or with five parameters a cubic).
# Farther out nothing changes but the rounding error.
_FAR, _WIDE = 20.0, 1000.0
_MAX_ITER = 30
_MAX_BINS, _MAX_CENTRES = 256, 128  # the grid search sees at most so many points and centres


def sigmoid_offset(centre: Floats | float, low: float, high: float) -> Floats:
    """Return what :func:`sigmoid` subtracts, so that no digits cancel: 0, 1/2 or 1."""
    return np.where(centre > high, 0.0, np.where(centre < low, 1.0, 0.5))


def sigmoid(z: Floats, offset: float) -> Floats:
    """Return σ(z) - offset, accurate to the last digits where this is small."""
    if offset == 0:
        return expit(z)
    return 0.5 * np.tanh(z / 2) if offset == 0.5 else -expit(-z)


class _Projected:
    """Least squares over (centre, width) alone: the linear parameters follow from them.

    With Q an orthonormal basis of the constant (and the straight line, for five parameters), the
    rest of y is r0 = (I - QQ')y and a sigmoid φ explains <p, r0>² / <p, p> of it, p = (I - QQ')φ.
    """

    def __init__(self, t: Floats, y: Floats, weight: Floats, line: bool) -> None:
        self.t, self.root = t, np.sqrt(weight)  # sorted distinct x, with multiplicities
        base = np.stack([self.root, self.root * t], axis=1)[:, : 2 if line else 1]
        self.base = np.linalg.qr(base)[0]
        self.rest = self._project(self.root * y)
        self.total = self.rest @ self.rest
        self.low, self.high = t[0], t[-1]
        self.middle, self.half = (self.low + self.high) / 2, (self.high - self.low) / 2
        gap = np.diff(t)
        self.min_width = max(gap.min() / 40, 1e-15 * (self.high - self.low))
        # the bounds of θ = (τ, log s), where c = middle + (half + FAR s) τ: a rectangular box
        widest = np.log(2 * self.half * _WIDE)
        self.box = np.array([[-1.0, np.log(self.min_width)], [1.0, widest]])

    def _project(self, v: Floats) -> Floats:
        v = v - (v @ self.base) @ self.base.T
        return v - (v @ self.base) @ self.base.T  # twice is enough (Kahan)

    def _column(self, centre: Floats, width: Floats) -> tuple[Floats, Floats]:
        z = (self.t - centre[:, None]) / width[:, None]
        offset = sigmoid_offset(centre, self.low, self.high)
        column = self.root * np.stack([sigmoid(*row) for row in zip(z, offset, strict=True)])
        p = self._project(column)
        pp = np.einsum("kn,kn->k", p, p)
        noise = 1e-24 * np.einsum("kn,kn->k", column, column)
        return p, np.where(pp > noise, pp, np.inf)  # inf: φ is in the span of Q, explains nothing

    def explained(self, centre: Floats, width: Floats) -> Floats:
        """Return the sums of squares that sigmoids explain; arrays (k,) -> (k,)."""
        p, pp = self._column(centre, width)
        return (p @ self.rest) ** 2 / pp

    def steps(self, count: int) -> Floats:
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
            flank = b / a  # the height v of point k within the step
            between = (determinant > tiny * tiny) & (flank > 0) & (flank < 1)
            three = np.where(between, a * step_rest + b * at_rest, 0)
        best = np.argsort(np.maximum(two, three))[::-1][:count]
        gap = np.diff(self.t, prepend=2 * self.t[0] - self.t[1], append=2 * self.t[-1] - self.t[-2])
        width = np.minimum(gap[best], gap[best + 1]) / 36
        flank = np.clip(np.where(three > two, flank, 0)[best], 1e-7, 1 - 1e-7)
        width = np.maximum(width, self.min_width)
        return np.stack([self.t[best] - width * np.log(flank / (1 - flank)), width])

    def refine(self, starts: Floats, n_polish: int) -> tuple[Floats, Floats]:
        """Climb from all starts (2, k) at once; return the ends (2, k) and values, best first.

        Levenberg-Marquardt is safe from anywhere, but slow where the residual is large; L-BFGS
        finishes the best `n_polish` of its ends.
        """
        centre, width = starts
        tau = (centre - self.middle) / (self.half + _FAR * width)
        theta = np.clip(np.stack([tau, np.log(width)], axis=1), *self.box)
        theta, value = self._climb(theta)
        for k in np.argsort(value)[::-1][:n_polish]:
            end = minimize(
                self._loss,
                theta[k],
                jac=True,
                method="L-BFGS-B",
                bounds=self.box.T,
                options={"ftol": 1e-15},
            )
            if -end.fun * self.total > value[k]:
                theta[k], value[k] = end.x, -end.fun * self.total
        order = np.argsort(value)[::-1]
        return np.stack(self._unpack(theta))[:, order], value[order]

    def _unpack(self, theta: Floats) -> tuple[Floats, Floats]:
        """Return (centre, width) of parameters (k, 2)."""
        width = np.exp(theta[:, 1])
        return self.middle + (self.half + _FAR * width) * theta[:, 0], width

    def _climb(self, theta: Floats) -> tuple[Floats, Floats]:
        """Return where Levenberg-Marquardt ends from each of the starts (k, 2), and its values."""
        value = self.explained(*self._unpack(theta))
        damping = np.full(len(theta), 1e-3)
        active = np.arange(len(theta))
        for _ in range(_MAX_ITER):
            now = theta[active]
            gradient, hessian = self._derivatives(now)
            # a parameter pressed against its bound is held, so that the other one moves freely
            low, high = now <= self.box[0], now >= self.box[1]
            held = (low & (gradient < 0)) | (high & (gradient > 0))
            gradient[held] = 0
            hessian[held[:, :, None] | held[:, None, :]] = 0
            diagonal = np.einsum("kii->ki", hessian)
            ridge = damping[active, None] * diagonal + 1e-14 * diagonal.max(1, keepdims=True)
            matrix = hessian + (ridge + 1e-300 + held)[:, :, None] * np.eye(2)
            step = np.linalg.solve(matrix, gradient[:, :, None])[:, :, 0]
            going = 2 * np.einsum("ki,ki->k", gradient, step) > 1e-14 * self.total
            active = active[going]
            if len(active) == 0:
                break
            trial = np.clip(theta[active] + np.clip(step[going], -2, 2), *self.box)
            trial_value = self.explained(*self._unpack(trial))
            better = trial_value > value[active]
            theta[active[better]], value[active[better]] = trial[better], trial_value[better]
            damping[active] = np.maximum(damping[active] * np.where(better, 0.1, 10), 1e-12)
        return theta, value

    def _loss(self, parameters: Floats) -> tuple[float, Floats]:
        """Return the unexplained part of all, less 1, and its gradient, at parameters (2,)."""
        theta = parameters[None]
        gradient, _ = self._derivatives(theta)
        return (
            -self.explained(*self._unpack(theta))[0] / self.total,
            -2 * gradient[0] / self.total,
        )

    def _derivatives(self, theta: Floats) -> tuple[Floats, Floats]:
        """Return the gradient (k, 2) of half the explained sum and the Gauss-Newton matrix."""
        centre, width = self._unpack(theta)
        p, pp = self._column(centre, width)
        height = (p @ self.rest) / pp
        z = (self.t - centre[:, None]) / width[:, None]
        slope = self.root * expit(z) * expit(-z)  # dφ/dz
        to_tau = -(self.half + _FAR * width) / width  # dz/dτ
        d = np.stack([slope * to_tau[:, None], slope * (-_FAR * theta[:, :1] - z)])
        d = self._project(d)
        # Kaufman's Jacobian of the projected residual: its gradient is exact
        d -= p * (np.einsum("kn,ikn->ik", p, d) / pp)[:, :, None]
        d *= height[:, None]
        gradient = d @ self.rest  # d is orthogonal to the fitted part of the rest
        return gradient.T.copy(), np.einsum("ikn,jkn->kij", d, d)


def _binned(t: Floats, y: Floats, weight: Floats) -> tuple[Floats, Floats, Floats]:
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


def _grid(problem: _Projected, count: int) -> Floats:
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


def best_sigmoid(t: Floats, y: Floats, weight: Floats, line: bool) -> tuple[float, float, float]:
    """Return (centre, width, explained sum of squares) of the best sigmoid.

    Parameters
    ----------
    t, y, weight : ndarray of shape (n,)
        Distinct predictions in their order, the mean score of each, and how often each stands.
    line : bool
        Whether a straight line stands beside the sigmoid.

    Returns
    -------
    tuple of 3 float
    """
    problem = _Projected(t, y, weight, line)
    coarse = problem
    if len(t) <= _MAX_BINS:
        starts = np.concatenate([_grid(problem, 8), problem.steps(8)], axis=1)
    else:  # search on the bins; the two best, or better steps, once more on all points
        coarse = _Projected(*_binned(t, y, weight), line)
        ends, _ = coarse.refine(_grid(coarse, 8), n_polish=2)
        starts = np.concatenate([ends, problem.steps(2)], axis=1)
        best = np.argsort(problem.explained(*starts))[::-1][:2]
        starts = starts[:, best]
    ends, explained = problem.refine(starts, n_polish=4 if coarse is problem else 1)
    return float(ends[0, 0]), float(ends[1, 0]), float(explained[0])
