"""The part of the images that chooses the epoch."""

from typing import NamedTuple

import numpy as np
import torch

from skiqa._fine_tuning.heads import ridge_within
from skiqa._inputs.images import ImageList
from skiqa.metrics import srocc_score

_RESAMPLES = 200  # of the bootstrap that says how much two SROCC may differ by chance


class Rated(NamedTuple):
    """What is fitted: n images and, (n,) each, what is known of them."""

    images: ImageList
    y: np.ndarray  # standardised within datasets
    groups: np.ndarray  # int
    datasets: np.ndarray  # int

    @property
    def n_datasets(self):
        return int(self.datasets.max()) + 1


class HeldOut:
    """The part that chooses the epoch, ranked by the ridge on the other part's first features."""

    def __init__(self, rows, data, parts, alpha):
        train, test = parts
        of_train = (rows[train], data.y[train], data.datasets[train])
        self.coef, _ = ridge_within(*of_train, data.n_datasets, alpha)
        self.y, self.datasets = data.y[test], data.datasets[test]
        _, groups = np.unique(data.groups[test], return_inverse=True)
        self.groups = [np.flatnonzero(groups == g) for g in range(groups.max() + 1)]
        self.start = self.rank(rows[test])
        self.best = torch.from_numpy(rows[test] @ self.coef)  # scores of the best network so far

    def rank(self, rows):
        """Return the SROCC of features, the weighted mean over datasets."""
        return mean_srocc(self.y, rows @ self.coef, self.datasets)

    def takes(self, rows):
        """Whether a network beats the start and is, to one standard error, as good as the best.

        Such a later one is preferred: it has seen more, at smaller rates, and what epochs differ
        by is mostly noise.
        """
        scores, best = rows @ self.coef, self.best.numpy()

        def lead(i=slice(None)):
            y, datasets = self.y[i], self.datasets[i]
            return mean_srocc(y, best[i], datasets) - mean_srocc(y, scores[i], datasets)

        if lead() < 0:
            self.best = torch.from_numpy(scores)
            return True
        n, rng = len(self.groups), np.random.default_rng(0)
        drawn = [rng.integers(n, size=n) for _ in range(_RESAMPLES)]  # whole contents
        error = np.std([lead(np.concatenate([self.groups[g] for g in d])) for d in drawn])
        return self.rank(rows) > self.start and bool(lead() <= error)


def mean_srocc(y, predicted, datasets):
    """Return the mean SROCC of the datasets, weighted by their sizes.

    -1 where predictions are all equal: a network that ranks nothing is the worst.
    """
    parts = [datasets == d for d in np.unique(datasets)]
    parts = [part for part in parts if np.ptp(y[part])]
    values = [
        srocc_score(y[part], predicted[part]) if np.ptp(predicted[part]) else -1.0 for part in parts
    ]
    return float(np.average(values, weights=[part.sum() for part in parts])) if parts else -1.0
