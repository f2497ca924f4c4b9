"""Linear heads under which a network is trained."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from skiqa._types import Floats, Integers


class Heads(NamedTuple):
    """Linear heads, and which of them predicts an image: one that has not seen it."""

    coef: Floats  # (k, d) float64
    intercept: Floats  # (k, n_datasets) float64
    of_image: Integers  # (n,) intp


def ridge_within(
    rows: Floats, y: Floats, datasets: Integers, weights: Floats, n_datasets: int, alpha: float
) -> tuple[Floats, Floats]:
    """Fit one ridge to several datasets, each of which has an intercept of its own.

    Parameters
    ----------
    rows : ndarray of shape (n, d), float
    y : ndarray of shape (n,), float
    datasets : ndarray of shape (n,), int in [0, n_datasets)
    weights : ndarray of shape (n,), float above 0
        How many times each sample counts.
    n_datasets : int
    alpha : float

    Returns
    -------
    coef : ndarray of shape (d,), float64
    intercept : ndarray of shape (n_datasets,), float64
        Of all samples where a dataset has none here.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa._fine_tuning.heads import ridge_within
    >>> rows, y = np.array([[0.0], [1.0], [5.0], [6.0]]), np.array([0.0, 2, 0, 2])
    >>> coef, intercept = ridge_within(rows, y, np.array([0, 0, 1, 1]), np.ones(4), 2, 1e-9)
    >>> print(coef.round(3), intercept.round(3))
    [2.] [  0. -10.]
    """
    rows = rows.astype(np.float64)
    mean = np.tile(np.average(rows, axis=0, weights=weights), (n_datasets, 1))
    level = np.full(n_datasets, np.average(y, weights=weights))
    for d in np.unique(datasets):
        part = datasets == d
        mean[d] = np.average(rows[part], axis=0, weights=weights[part])
        level[d] = np.average(y[part], weights=weights[part])
    ridge = Ridge(alpha, fit_intercept=False)
    coef = ridge.fit(rows - mean[datasets], y - level[datasets], sample_weight=weights).coef_
    return coef, level - mean @ coef


def cross_fitted(
    rows: Floats,
    y: Floats,
    groups: Integers,
    datasets: Integers,
    weights: Floats,
    n_datasets: int,
    alpha: float,
    seed: int,
    n_folds: int = 5,
) -> Heads:
    """Fit a ridge for each of some folds, without its groups: Heads that have not seen an image.

    What a head gets wrong on images that it was fitted to says little: on 3,136 features, that it
    did not memorise them.
    """
    n_groups = len(np.unique(groups))
    if n_groups < 2:  # nothing can be left out
        coef, intercept = ridge_within(rows, y, datasets, weights, n_datasets, alpha)
        return Heads(coef[None], intercept[None], np.zeros(len(y), np.intp))
    folds = GroupKFold(min(n_folds, n_groups), shuffle=True, random_state=seed)
    of_image = np.empty(len(y), np.intp)
    ridges: list[tuple[Floats, Floats]] = []
    for fitted, left_out in folds.split(rows, groups=groups):
        of_image[left_out] = len(ridges)
        part = (rows[fitted], y[fitted], datasets[fitted], weights[fitted])
        ridges.append(ridge_within(*part, n_datasets, alpha))
    coefs, intercepts = zip(*ridges, strict=True)
    return Heads(np.stack(coefs), np.stack(intercepts), of_image)
