"""Rated images, and the part of them that is trained on."""

from __future__ import annotations

from contextlib import _GeneratorContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import Ridge
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from skiqa._fine_tuning.heads import Heads, cross_fitted, ridge_within
from skiqa._inputs.images import ImageList
from skiqa._matched_noise import matched_pairs
from skiqa._ridge import fitted_ridge
from skiqa._training.schedule import epoch_order
from skiqa._types import Floats, Integers, Pixels
from skiqa.datasets._contents import content_numbers


@dataclass(frozen=True)
class RatedImages:
    """What is fitted: n images and, (n,) each, what is known of them."""

    images: ImageList
    y: Floats  # standardised within datasets
    groups: Integers  # content groups
    datasets: Integers
    weights: Floats  # how many times each counts
    places: Integers  # in what was given to `fit`
    deviations: Floats  # of the ratings of each, in units of y

    @property
    def n_datasets(self) -> int:
        """How many datasets there are."""
        return int(self.datasets.max()) + 1


def distinct_labels(labels: npt.ArrayLike, n: int, name: str) -> tuple[list[Any], Integers]:
    """Return the distinct labels, and of each image its place among them."""
    distinct, places = np.unique(_column(labels, n, name), return_inverse=True)
    return distinct.tolist(), places


def _column(labels: npt.ArrayLike, n: int, name: str) -> npt.NDArray[Any]:
    column: npt.NDArray[Any] = column_or_1d(labels)
    if len(column) != n:
        raise ValueError(f"{name} has {len(column)} entries for {n} images.")
    return column


class PartOfImages(ImageList):
    """Some images of a list; errors call them by their places in the whole."""

    def __init__(self, whole: ImageList, places: Integers) -> None:
        self.whole, self.places = whole, places
        self.allow_damaged = whole.allow_damaged

    def __len__(self) -> int:
        return len(self.places)

    def source(self, index: int) -> str:
        return self.whole.source(self.places[index])

    def load(self, index: int, max_pixels: int | None = None) -> Pixels:
        return self.whole.load(self.places[index], max_pixels)

    def footprint(self, index: int, max_pixels: int | None = None) -> int:
        return self.whole.footprint(self.places[index], max_pixels)

    def damage(self, index: int) -> str | None:
        return self.whole.damage(self.places[index])

    def digest(self, index: int) -> bytes:
        return self.whole.digest(self.places[index])

    def naming_errors(self, index: int) -> _GeneratorContextManager[None]:
        return self.whole.naming_errors(self.places[index])


class Counted(NamedTuple):
    """Rows that count, each once."""

    places: Integers  # of the rows
    weights: Floats
    groups: Integers  # content groups


def count_copies(
    images: ImageList,
    y: Floats,
    groups: Integers | None,
    datasets: Integers,
    sample_weight: npt.ArrayLike | None,
) -> Counted:
    """Return rows that are not there twice; copies are one row of their joint weight.

    Rows of weight 0 are not there, and not read. A photo is a content of its own where no groups
    say otherwise. All rows stay as they are where none is a copy and all weights are 1; else they
    come in an order that does not depend on that of X, so that weights are numbers of copies.
    """
    n = len(y)
    counts = np.ones(n)
    if sample_weight is not None:
        how: dict[str, Any] = {"dtype": np.float64, "ensure_non_negative": True}
        counts = _check_sample_weight(sample_weight, y, **how)
    there = np.flatnonzero(counts)
    digests = PartOfImages(images, there).digests()
    names = [str(i) if d is None else d.hex() for i, d in zip(there, digests, strict=True)]
    photo, ratings = (np.unique(v, return_inverse=True)[1] for v in (names, y[there]))
    own = photo if photo.any() else ratings  # all one photo, as [[0.0], [1.0]]: nothing is known
    contents = own if groups is None else groups[there]
    columns = np.stack([photo, ratings, contents, datasets[there]])
    _, rows, number = np.unique(columns, axis=1, return_index=True, return_inverse=True)
    if len(rows) == n and (counts == 1).all():
        _, first, own = np.unique(own, return_index=True, return_inverse=True)
        return Counted(there, counts, first[own] if groups is None else groups)
    weights = np.bincount(number, counts[there]).astype(np.float64)
    return Counted(there[rows], weights, contents[rows])


def level_and_spread(y: Floats, datasets: Integers, weights: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of each dataset's y, (n_datasets,); 1 where it is 0."""
    levels, spreads = [], []
    for d in range(datasets.max() + 1):
        part, of_part = y[datasets == d], weights[datasets == d]
        levels.append(np.average(part, weights=of_part))
        variance = np.average(np.square(part - levels[-1]), weights=of_part)
        spreads.append(np.sqrt(variance) if np.ptp(part) else 1.0)
    return np.array(levels), np.array(spreads)


class Ratings(NamedTuple):
    """Rated images, and of each of their datasets level and spread of y, and the name, if any."""

    images: RatedImages
    level: Floats
    spread: Floats
    names: list[Any]


def rate(
    images: ImageList,
    y: Floats,
    sample_weight: npt.ArrayLike | None,
    groups: npt.ArrayLike | None,
    datasets: npt.ArrayLike | None,
    deviations: Floats | None = None,
) -> Ratings:
    """Return what is fitted.

    Without `deviations` the ratings of an image are taken to differ as those of all images do.
    """
    n = len(images)
    names, places = (
        ([], np.zeros(n, np.intp)) if datasets is None else distinct_labels(datasets, n, "datasets")
    )
    contents = None
    if groups is not None:
        contents = content_numbers(_column(groups, n, "groups"))
    kept = count_copies(images, y, contents, places, sample_weight)
    if len(kept.places) < n or (kept.places != np.arange(n)).any():
        images = PartOfImages(images, kept.places)
    y = y[kept.places]
    present, places = np.unique(places[kept.places], return_inverse=True)
    level, spread = level_and_spread(y, places, kept.weights)
    standard = (y - level[places]) / spread[places]
    spreads = np.ones(len(y)) if deviations is None else deviations[kept.places] / spread[places]
    what = (kept.groups, places, kept.weights, kept.places, spreads)
    rated = RatedImages(images, standard, *what)
    return Ratings(rated, level, spread, [names[k] for k in present] if names else [])


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
    of_all = (rows, rated.y, rated.datasets, rated.weights)
    coef, intercept = ridge_within(*of_all, rated.n_datasets, alpha)
    largest = np.bincount(rated.datasets, rated.weights).argmax()
    slope = spread / spread[largest]
    offset = level + spread * (intercept - intercept[largest]) - slope * level[largest]
    base = float(level[largest] + spread[largest] * intercept[largest])
    ridge = fitted_ridge(spread[largest] * coef, base, alpha)
    return ridge, list(zip(slope.tolist(), offset.tolist(), strict=True))


class BatchTargets(NamedTuple):
    """What the images of a batch are trained to, and the linear head that predicts each."""

    y: torch.Tensor  # (n,) float32, in units of the standard deviation of its dataset
    datasets: torch.Tensor  # (n,) int
    weights: torch.Tensor  # (n,) float32, 1 on the mean over what is trained on
    coef: torch.Tensor  # (n, d) float32, of the image's head
    intercept: torch.Tensor  # (n,) float32
    groups: torch.Tensor  # (n,) int, content groups
    deviations: torch.Tensor  # (n,) float32, of the ratings of each image, in units of y


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
    weights : ndarray of shape (n,)
        How many times each counts, over the mean of that.
    groups, deviations : ndarray of shape (n,)
        As of the rated images.
    """

    indices: Integers
    y: Floats
    datasets: Integers
    heads: Heads
    partners: Integers | None
    weights: Floats
    groups: Integers
    deviations: Floats

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
        counts = rated.weights[indices]
        heads = cross_fitted(rows, y, groups, datasets, counts, rated.n_datasets, alpha, seed)
        partners = None
        if with_partners:
            # of equal quality: equal y in two datasets may stand on different levels of it
            _, level = ridge_within(rows, y, datasets, counts, rated.n_datasets, alpha)
            how: dict[str, Any] = {"groups": groups, "sample_weight": counts}
            partners, _ = matched_pairs(rows, y - level[datasets], **how)
        weights, deviations = counts / counts.mean(), rated.deviations[indices]
        return cls(indices, y, datasets, heads, partners, weights, groups, deviations)

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
        arrays = (self.y[places], self.weights[places], self.heads.coef[head])
        y, weights, coef, intercept, deviations = (
            torch.as_tensor(a, dtype=torch.float32, device=device)
            for a in (*arrays, self.heads.intercept[head, datasets], self.deviations[places])
        )
        numbers = (torch.as_tensor(a, device=device) for a in (datasets, self.groups[places]))
        of, groups = numbers
        return BatchTargets(y, of, weights, coef, intercept, groups, deviations)
