"""Rows of several views to one row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from skiqa._types import Floats

__all__ = ["POOLINGS", "pool_views"]


def _mean(rows: Floats, weights: Floats, worst_part: float) -> Floats:
    return np.average(rows, axis=0, weights=weights)


def _std(rows: Floats, weights: Floats, worst_part: float) -> Floats:
    mean = np.average(rows, axis=0, weights=weights)
    return np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weights))


def _min(rows: Floats, weights: Floats, worst_part: float) -> Floats:
    return rows.min(axis=0)


def _max(rows: Floats, weights: Floats, worst_part: float) -> Floats:
    return rows.max(axis=0)


def _worst(rows: Floats, weights: Floats, worst_part: float) -> Floats:
    n_worst = max(1, round(worst_part * len(rows)))
    return np.sort(rows, axis=0)[:n_worst].mean(axis=0)


def _variation(rows: Floats, weights: Floats, worst_part: float) -> Floats:
    if len(rows) == 1:
        return np.zeros_like(rows[0])
    return np.abs(np.diff(rows, axis=0)).mean(axis=0)


POOLINGS: dict[str, Callable[[Floats, Floats, float], Floats]] = {
    "mean": _mean,
    "std": _std,
    "min": _min,
    "max": _max,
    "worst": _worst,
    "variation": _variation,
}


def pool_views(
    rows: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    pooling: Sequence[str] = ("mean",),
    worst_part: float = 0.1,
) -> Floats:
    """Pool the rows of several views to one.

    Parameters
    ----------
    rows : array-like of shape (n_views, n_features)
        In the order of the views; scores are rows of one.
    weights : array-like of shape (n_views,) or None, default=None
        What each view counts in "mean" and "std". None: all the same.
    pooling : sequence of str, default=("mean",)
        Of "mean", "std" (of the population), "min", "max", "worst" and "variation".
    worst_part : float in (0, 1], default=0.1
        Part of the views, at least one, of whose lowest values "worst" is the mean: people
        remember the worst moments of a film. Of features low need not be bad.

    Returns
    -------
    ndarray of shape (len(pooling) * n_features,), float64
        Pooling by pooling. NaN for a feature that is NaN in any view.

    Notes
    -----
    CONVIQT's is the mean over time. "variation" is the mean absolute difference of a view and the
    next, which the order of the views decides; it is zero for a single view.

    References
    ----------
    Madhusudana et al., "CONVIQT: Contrastive Video Quality Estimator", IEEE TIP 32, 2023.
    Moorthy and Bovik, "Visual Importance Pooling for Image Quality Assessment", IEEE J. Selected
    Topics in Signal Processing 3(2), 2009, for the mean of the lowest percentiles.

    Examples
    --------
    >>> from skiqa.views import pool_views
    >>> pool_views([[1.0], [3.0], [2.0]], pooling=("mean", "min", "variation"))
    array([2. , 1. , 1.5])
    """
    values: Floats = np.asarray(rows, np.float64)
    if values.ndim != 2 or not len(values):
        raise ValueError(f"rows must be of shape (n_views, n_features), not {values.shape}")
    if unknown := [name for name in pooling if name not in POOLINGS]:
        raise ValueError(f"pooling={unknown} must be of {list(POOLINGS)}")
    if not 0 < worst_part <= 1:
        raise ValueError(f"worst_part={worst_part} must be above 0, and at most 1")
    counts = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    if counts.shape != values.shape[:1] or not (counts >= 0).all() or not counts.sum() > 0:
        raise ValueError(f"weights must be {len(values)} numbers, not negative, not all zero")
    missing = np.isnan(values).any(axis=0)  # sorting, and a single view, would hide it
    pooled = (POOLINGS[name](values, counts, worst_part) for name in pooling)
    return np.concatenate([np.where(missing, np.nan, row) for row in pooled])
