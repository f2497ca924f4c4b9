"""The part of the images that chooses the epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.model_selection import GroupShuffleSplit

from skiqa._fine_tuning.data import RatedImages
from skiqa._fine_tuning.heads import ridge_within
from skiqa._types import Floats, Integers
from skiqa.metrics._scores import dense_order, weighted_srocc

_RESAMPLES = 200  # of the bootstrap that says how much two SROCC may differ by chance


def split_by_content(groups: Integers, fraction: float, seed: int) -> tuple[Integers, Integers]:
    """Return the indices that are trained on and the held-out ones, of other content groups.

    Raises
    ------
    ValueError
        If all images are of one group.
    """
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        raise ValueError(
            f"n_samples = {len(groups)} in {n_groups} group: a held-out part of other content "
            "needs two groups or more."
        )
    n_held_out = min(n_groups - 1, max(1, round(fraction * n_groups)))
    split = GroupShuffleSplit(1, test_size=n_held_out, random_state=seed)
    return next(split.split(groups, groups=groups))


class HeldOut:
    """The part that chooses the epoch, ranked by the ridge on the other part's first features.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Features of all images by the network that training starts from.
    rated : RatedImages
    train, indices : intp ndarray
        Which images are trained on, and which are held out.
    alpha : float
        Penalty of the ridge.

    Attributes
    ----------
    start_srocc : float
        Of the network that training starts from.
    best_scores : ndarray of shape (n_held_out,), float64
        Of the best network so far.
    """

    def __init__(
        self, rows: Floats, rated: RatedImages, train: Integers, indices: Integers, alpha: float
    ) -> None:
        y, datasets, weights = rated.y, rated.datasets, rated.weights
        of_train = (rows[train], y[train], datasets[train], weights[train])
        self.coef, _ = ridge_within(*of_train, rated.n_datasets, alpha)
        self.indices, self.y, self.datasets = indices, y[indices], datasets[indices]
        self.weights = weights[indices]
        _, groups = np.unique(rated.groups[indices], return_inverse=True)
        self.groups = [np.flatnonzero(groups == g) for g in range(groups.max() + 1)]
        self.best_scores = self.scores(rows[indices])
        self.start_srocc = self.srocc(self.best_scores)

    def scores(self, rows: Floats) -> Floats:
        """Return the scores of features of the held-out images."""
        return rows @ self.coef

    def srocc(self, scores: Floats) -> float:
        """Return the SROCC of scores, the weighted mean over datasets."""
        return mean_srocc(self.y, scores, self.datasets, self.weights)

    def is_better(self, scores: Floats) -> bool:
        """Whether scores rank the images better than any before."""
        return self._lead_of_best(scores) < 0

    def is_as_good(self, scores: Floats) -> bool:
        """Whether scores beat the start's and are, to one standard error, as good as the best.

        Such a later network is preferred: it has seen more, at smaller rates, and what epochs
        differ by is mostly noise.
        """
        if self.is_better(scores):
            return True
        n, rng = len(self.groups), np.random.default_rng(0)
        leads = []
        for _ in range(_RESAMPLES):
            drawn = rng.integers(n, size=n)  # whole contents
            images = np.concatenate([self.groups[g] for g in drawn])
            leads.append(self._lead_of_best(scores, images))
        lead, error = self._lead_of_best(scores), np.std(leads)
        return self.srocc(scores) > self.start_srocc and bool(lead <= error)

    def keep(self, scores: Floats) -> None:
        """Let scores be those that later ones are compared with."""
        self.best_scores = scores

    def state_dict(self) -> dict[str, Any]:
        """Return all that resuming needs."""
        return {"best_scores": torch.from_numpy(self.best_scores)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where `state` was made."""
        self.best_scores = state["best_scores"].numpy()

    def _lead_of_best(self, scores: Floats, images: Integers | slice = slice(None)) -> float:
        """Return by how much the best scores so far rank some of the images better than these."""
        y, datasets, weights = self.y[images], self.datasets[images], self.weights[images]
        best = mean_srocc(y, self.best_scores[images], datasets, weights)
        return best - mean_srocc(y, scores[images], datasets, weights)


def mean_srocc(y: Floats, predicted: Floats, datasets: Integers, weights: Floats) -> float:
    """Return the mean SROCC of the datasets, weighted by their sizes.

    -1 where predictions are all equal: a network that ranks nothing is the worst.
    """
    parts = [datasets == d for d in np.unique(datasets)]
    parts = [part for part in parts if np.ptp(y[part])]
    values = [
        weighted_srocc(dense_order(y[part]), dense_order(predicted[part]), weights[part])
        if np.ptp(predicted[part])
        else -1.0
        for part in parts
    ]
    sizes = [weights[part].sum() for part in parts]
    return float(np.average(values, weights=sizes)) if parts else -1.0
