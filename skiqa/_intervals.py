"""Intervals that hold the opinion of a photo with a stated probability: split conformal prediction.

How far predictions were off on photos that took no part says how far they will be, of photos that
are exchangeable with these. A calibration is a dict of numbers that a card, and so a file, holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from skiqa._types import Floats

_STEPS = 200  # levels are rounded up to a multiple of 1 / _STEPS
_LARGEST = 1e100  # of the numbers of a card: what is made of them is finite


def calibrate(
    errors: npt.ArrayLike, rows: Floats, groups: npt.ArrayLike | None, unlike_above: float
) -> dict[str, Any]:
    r"""Return what intervals need: how far predictions were off.

    Parameters
    ----------
    errors : array-like of shape (n_samples,)
        Opinion minus prediction, by models that had seen neither the photo nor its content.
    rows : ndarray of shape (n_samples, n_features)
        Features.
    groups : array-like of shape (n_samples,) or None
        Contents. The photos of one count as one together, as they are no independent witnesses.
    unlike_above : float
        Norm of a row beyond which a photo is unlike those that the scorer was fitted to.

    Returns
    -------
    dict
        "errors": for the levels 1 / 200, 2 / 200, ... so far as the groups suffice, the relative
        error that such a part of photos does not exceed. "n": the number of groups. "unlike_above".

    Notes
    -----
    The error of photo i is taken relative to :math:`σ_i = \max(1, |x_i| / u)`, u being
    `unlike_above`: intervals are as wide everywhere among photos that are like those of the
    calibration, for nothing that features say tells their errors apart, and widen beyond. Their
    half width is :math:`σ(x) \, q`, with q the smallest number for which groups of total weight
    :math:`l (n + 1)` have relative errors of at most q (n groups, each of weight 1, and level l).

    References
    ----------
    Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005; normalised errors:
    Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 113, 2018, section
    5.2; groups: Lee, Barber, Willett, "Distribution-free inference with hierarchical data", 2023.
    """
    limit = float(unlike_above) or 1.0  # rows of nothing are all alike
    relative = np.abs(np.asarray(errors, np.float64)) / _spread(rows, limit)
    labels = np.arange(len(relative)) if groups is None else np.asarray(groups)
    _, group, size = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(relative, kind="stable")
    reached = np.cumsum(1 / size[group][order])  # Σ weights of errors up to the i-th
    n = len(size)
    needed = np.arange(1, _STEPS) / _STEPS * (n + 1)
    place = np.searchsorted(reached, needed - 1e-9)
    known = relative[order[place[place < len(relative)]]].tolist()
    return {"n": n, "errors": known, "unlike_above": limit}


class Intervals:
    """Intervals of one level.

    Parameters
    ----------
    card : dict
        Of a scorer. Its "interval" is a calibration, as of :func:`calibrate`.
    level : float in (0, 1)
        Probability with which an interval holds an opinion.

    Attributes
    ----------
    half_width : float
        How far intervals reach to either side, of photos like those of the calibration.

    Raises
    ------
    TypeError
        If `level` is no number.
    ValueError
        If it is not between 0 and 1 or more than so few contents can tell, if the card has no
        calibration, or none that can be read.
    """

    def __init__(self, card: Mapping[str, Any], level: float) -> None:
        if isinstance(level, bool) or not isinstance(level, float | Real):
            raise TypeError(f"interval={level!r} must be a number between 0 and 1, or None.")
        if not 0 < level < 1:
            raise ValueError(
                f"interval={level!r} must be between 0 and 1: the probability with which an "
                "interval holds the opinion, such as 0.8."
            )
        n, errors, limit = _check_calibration(card)
        step = max(1, math.ceil(level * _STEPS - 1e-9))
        if step > len(errors):
            raise ValueError(
                f"interval={level:g} is more than the calibration of this model can tell, which is "
                f"of {n} contents: at most {len(errors) / _STEPS:g}."
            )
        self.half_width, self._unlike_above = errors[step - 1], limit

    def around(self, score: float, row: Floats) -> tuple[float, float]:
        """Return the interval around a score, of a photo with the features `row`."""
        reach = self.half_width * float(_spread(row[None], self._unlike_above)[0])
        return score - reach, score + reach


def _check_calibration(card: Mapping[str, Any]) -> tuple[int, list[float], float]:
    """Return (n, errors, unlike_above) of a card, which may come from anywhere and say anything."""
    calibration = card.get("interval") if isinstance(card, Mapping) else None
    if calibration is None:
        raise ValueError(
            'This model does not say how sure it is: its card has no "interval". The scorer that '
            "comes with skiqa and those of `skiqa fit` have one; to a model fitted in Python "
            "skiqa.persistence.calibrate_intervals(model, X, y, groups) adds it."
        )
    match calibration:
        case {"n": int(n), "errors": [*errors], "unlike_above": limit}:
            numbers = [*errors, limit]
            if (
                all(isinstance(x, int | float) and 0 <= x < _LARGEST for x in numbers)
                and errors == sorted(errors)
                and len(errors) < _STEPS
                and n > 0
                and limit > 1 / _LARGEST
            ):
                return n, [float(error) for error in errors], float(limit)
    raise ValueError(
        'The "interval" of the model\'s card is no calibration: it is to have "n", a number of '
        'contents, "errors", up to 199 numbers in rising order, and "unlike_above", a number above '
        "0. Calibrate again with skiqa.persistence.calibrate_intervals."
    )


def _spread(rows: Floats, unlike_above: float) -> Floats:
    norms = np.linalg.norm(rows.astype(np.float64, copy=False), axis=1)
    return np.maximum(1.0, norms / unlike_above)
