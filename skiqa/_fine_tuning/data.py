"""Rated images, and the part of them that is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import Ridge
from sklearn.utils.validation import column_or_1d

from skiqa._fine_tuning.heads import Heads, cross_fitted, ridge_within
from skiqa._inputs.images import ImageList
from skiqa._matched_noise import matched_pairs
from skiqa._ridge import fitted_ridge
from skiqa._training.schedule import epoch_order
from skiqa._types import Floats, Integers


@dataclass(frozen=True)
class RatedImages:
    """What is fitted: n images and, (n,) each, what is known of them."""

    images: ImageList
    y: Floats  # standardised within datasets
    groups: Integers  # content groups
    datasets: Integers

    @property
    def n_datasets(self) -> int:
        """How many datasets there are."""
        return int(self.datasets.max()) + 1


def distinct_labels(
    labels: npt.ArrayLike | None, n: int, name: str, default: Integers
) -> tuple[list[Any], Integers]:
    """Return the distinct labels, and of each image its place among them."""
    if labels is None:
        return [], default
    column: npt.NDArray[Any] = column_or_1d(labels)
    if len(column) != n:
        raise ValueError(f"{name} has {len(column)} entries for {n} images.")
    distinct, places = np.unique(column, return_inverse=True)
    return distinct.tolist(), places


def level_and_spread(y: Floats, datasets: Integers) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of each dataset's y, (n_datasets,); 1 where it is 0."""
    parts = [y[datasets == d] for d in range(datasets.max() + 1)]
    spread = [p.std() if np.ptp(p) else 1.0 for p in parts]
    return np.array([p.mean() for p in parts]), np.array(spread)


def ridge_of_largest(
    rows: Floats, rated: RatedImages, level: Floats, spread: Floats, alpha: float
) -> tuple[Ridge, list[tuple[float, float]]]:
    """Fit a ridge to all images, on the scale of the largest dataset.

    Returns
    -------
    ridge : Ridge
    scales : list of (slope, offset)
        Of each dataset's scale, from that one.
    """
    coef, intercept = ridge_within(rows, rated.y, rated.datasets, rated.n_datasets, alpha)
    largest = np.bincount(rated.datasets).argmax()
    slope = spread / spread[largest]
    offset = level + spread * (intercept - intercept[largest]) - slope * level[largest]
    base = float(level[largest] + spread[largest] * intercept[largest])
    ridge = fitted_ridge(spread[largest] * coef, base, alpha)
    return ridge, list(zip(slope.tolist(), offset.tolist(), strict=True))


class BatchTargets(NamedTuple):
    """What the images of a batch are trained to, and the linear head that predicts each."""

    y: torch.Tensor  # (n,) float32, in units of the standard deviation of its dataset
    datasets: torch.Tensor  # (n,) int
    coef: torch.Tensor  # (n, d) float32, of the image's head
    intercept: torch.Tensor  # (n,) float32


@dataclass(frozen=True)
class TrainingSet:
    """The images that are trained on, each with its head and, under semantic noise, a partner.

    Parameters
    ----------
    indices : intp ndarray of shape (n,)
        Which of the rated images they are.
    y, datasets : ndarray of shape (n,)
        As of the rated images.
    heads : Heads
    partners : intp ndarray of shape (n,) or None
        Places in this set: images of nearly equal quality and distant features.
    """

    indices: Integers
    y: Floats
    datasets: Integers
    heads: Heads
    partners: Integers | None

    @classmethod
    def of(
        cls,
        rated: RatedImages,
        indices: Integers,
        rows: Floats,
        *,
        alpha: float,
        seed: int,
        with_partners: bool,
    ) -> TrainingSet:
        """Fit the heads of some rated images to the features of all, and look for partners."""
        rows, y = rows[indices], rated.y[indices]
        groups, datasets = rated.groups[indices], rated.datasets[indices]
        heads = cross_fitted(rows, y, groups, datasets, rated.n_datasets, alpha, seed)
        partners = None
        if with_partners:
            # of equal quality: equal y in two datasets may stand on different levels of it
            _, level = ridge_within(rows, y, datasets, rated.n_datasets, alpha)
            partners, _ = matched_pairs(rows, y - level[datasets], groups=groups)
        return cls(indices, y, datasets, heads, partners)

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self, seed: int, epoch: int, size: int) -> list[Integers]:
        """Return the places in this set of each batch of an epoch; partners are a second half."""
        n, partners = len(self), self.partners
        if partners is not None:
            size = max(1, size // 2)
        size = min(size, n)
        order: Integers = epoch_order(seed, epoch, n)
        parts = [order[k : k + size] for k in range(0, n - n % size, size)]
        if partners is not None:
            parts = [np.concatenate([part, partners[part]]) for part in parts]
        return parts

    def targets(self, places: Integers, device: torch.device) -> BatchTargets:
        """Return what images at some places in this set are trained to."""
        head, datasets = self.heads.of_image[places], self.datasets[places]
        arrays = (self.y[places], self.heads.coef[head], self.heads.intercept[head, datasets])
        y, coef, intercept = (
            torch.as_tensor(a, dtype=torch.float32, device=device) for a in arrays
        )
        return BatchTargets(y, torch.as_tensor(datasets, device=device), coef, intercept)
