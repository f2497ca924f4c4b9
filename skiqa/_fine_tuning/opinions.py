"""Opinions on images, some of which nobody rated: as they are, and completed by a teacher."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import _check_sample_weight

from skiqa._fine_tuning.confidence import confidence
from skiqa._fine_tuning.data import PartOfImages, RatedImages, Ratings, distinct_labels, rate
from skiqa._inputs.images import ImageList
from skiqa._types import Floats, Integers


@dataclass(frozen=True)
class Opinions:
    """Images, and of each what was given to `fit`.

    Parameters
    ----------
    images : ImageList
    y : ndarray of shape (n,), float64
        NaN where nobody rated.
    counts : ndarray of shape (n,), float64
        How many times each counts.
    groups, datasets : array-like of shape (n,) or None
    deviations : ndarray of shape (n,), float64, or None
        Of the ratings; 1 where nobody rated.
    """

    images: ImageList
    y: Floats
    counts: Floats
    groups: npt.ArrayLike | None
    datasets: npt.ArrayLike | None
    deviations: Floats | None

    @classmethod
    def of(
        cls,
        images: ImageList,
        y: Floats,
        sample_weight: npt.ArrayLike | None,
        groups: npt.ArrayLike | None,
        datasets: npt.ArrayLike | None,
        y_std: npt.ArrayLike | None,
    ) -> Opinions:
        """Check what was given to `fit`.

        Raises
        ------
        ValueError
            If fewer than two images are rated, a dataset has no rated image, or weights or
            deviations are of no use.
        """
        how: dict[str, Any] = {"dtype": np.float64, "ensure_non_negative": True}
        counts = _check_sample_weight(sample_weight, y, **how)
        deviations = _checked_deviations(y_std, np.where(counts > 0, y, np.nan))
        opinions = cls(images, y, counts, groups, datasets, deviations)
        if (n_rated := len(opinions.rated)) < 2:
            raise ValueError(
                f"y has a score for {n_rated} of n_samples = {len(y)} images, without those of "
                "weight 0; two or more are needed. NaN means: nobody rated it."
            )
        labels = opinions._labels()  # before a teacher is trained for nothing
        known = {labels[k] for k in opinions.rated}
        if strange := sorted({labels[k] for k in opinions.unrated} - known, key=str):
            raise ValueError(
                f"datasets {strange} have no rated image: on which scale should theirs be "
                "rated? Give them the name of one that has."
            )
        return opinions

    @property
    def rated(self) -> Integers:
        """The places of images that somebody rated; those of weight 0 are not there."""
        return np.flatnonzero(np.isfinite(self.y) & (self.counts > 0))

    @property
    def unrated(self) -> Integers:
        """The places of images that nobody rated; those of weight 0 are not there."""
        return np.flatnonzero(np.isnan(self.y) & (self.counts > 0))

    def ratings(self) -> Ratings:
        """Return what can be fitted: rated images, copies as one."""
        rated = np.isfinite(self.y)
        y, counts = np.where(rated, self.y, 0.0), self.counts * rated
        return rate(self.images, y, counts, self.groups, self.datasets, self.deviations)

    def unrated_images(self) -> ImageList:
        """Return the images that nobody rated."""
        return PartOfImages(self.images, self.unrated)

    def completed(
        self,
        scores: Floats,
        spread: Floats,
        weight: float,
        scales: dict[Any, tuple[float, float]],
    ) -> tuple[Opinions, Floats]:
        """Let a teacher rate the images that nobody rated.

        Parameters
        ----------
        scores, spread : ndarray of shape (n_unrated,)
            Of the teacher.
        weight : float
            What its ratings count, times its confidence.
        scales : dict of {label: (slope, offset)}
            From its scores to those of each dataset.

        Returns
        -------
        opinions : Opinions
        sure : ndarray of shape (n,), float64
            Confidence of the teacher; 1 where there was a rating.
        """
        rated, unrated, labels = self.rated, self.unrated, self._labels()
        if self.datasets is not None:
            slope, offset = np.array([scales[labels[k]] for k in unrated]).T
            scores = slope * scores + offset
        y, counts, sure = self.y.copy(), self.counts.copy(), np.ones(len(self.y))
        sure[unrated] = confidence(spread)
        y[unrated] = scores
        counts[unrated] *= weight * sure[unrated]
        deviations = self.deviations
        if deviations is not None:
            given, deviations = deviations, deviations.copy()
            of_dataset = {  # each has units of its own
                name: np.median([given[k] for k in rated if labels[k] == name])
                for name in {labels[k] for k in unrated}
            }
            deviations[unrated] = [of_dataset[labels[k]] for k in unrated]
        return replace(self, y=y, counts=counts, deviations=deviations), sure

    def _labels(self) -> list[Any]:
        """Return the name of each image's dataset; None where all are of one."""
        if self.datasets is None:
            return [None] * len(self.y)
        names, places = distinct_labels(self.datasets, len(self.y), "datasets")
        return [names[k] for k in places]


def _checked_deviations(y_std: npt.ArrayLike | None, y: Floats) -> Floats | None:
    """Return the deviations of ratings, 1 where y is NaN; ValueError if one is of no use."""
    if y_std is None:
        return None
    given = np.asarray(y_std, np.float64)
    if given.shape != y.shape:
        raise ValueError(f"y_std has shape {given.shape} for {len(y)} images.")
    deviations = np.where(np.isnan(y), 1.0, given)
    strange = np.flatnonzero(~(np.isfinite(deviations) & (deviations > 0)))
    if len(strange):
        raise ValueError(
            f"y_std[{strange[0]}] = {deviations[strange[0]]}: the standard deviation of ratings is "
            "a number above 0. Leave y_std out where it is not known."
        )
    return deviations


def split_again(rated: RatedImages, held_out: Integers) -> tuple[Integers, Integers]:
    """Return what is trained on and what is held out, where it is known what was held out.

    Parameters
    ----------
    rated : RatedImages
    held_out : intp ndarray
        Places in what was given to `fit`. All else of their content is neither.
    """
    tested = np.isin(rated.places, held_out)
    of_their_content = np.isin(rated.groups, rated.groups[tested])
    return np.flatnonzero(~of_their_content), np.flatnonzero(tested)
