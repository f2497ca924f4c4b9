"""The bootstrap of SROCC over contents: of one model, or of several on the same draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from skiqa._types import Floats, Integers
from skiqa.metrics._scores import dense_order, weighted_srocc


class Tested(NamedTuple):
    """The test images of one split."""

    pairs: list[tuple[Integers, Integers]]  # of each model (opinions, predictions), in their order
    content: Integers  # of each image, a number below that of all contents tested


def scored(target: Floats, splits: Iterable[tuple[Integers, Integers]]) -> list[Integers]:
    """Return of each split the images to test on that have a score."""
    return [test[~np.isnan(target[test])] for _, test in splits]


def tested_images(
    target: Floats,
    groups: Integers,
    tests: Sequence[Integers],
    predictions: Sequence[Sequence[Floats]],
) -> list[Tested]:
    """Return for each split what was tested.

    Parameters
    ----------
    target : ndarray of shape (n_samples,)
    groups : ndarray of shape (n_samples,)
        Content of each image.
    tests : sequence of ndarray
        The images of each split.
    predictions : sequence of sequences of ndarray
        Of each model, for the images of each split.

    Raises
    ------
    ValueError
        If all images are of one content.
    """
    contents = np.unique(groups[np.concatenate(tests)])
    if len(contents) < 2:
        raise ValueError("at least two contents are needed to draw from")
    content = np.searchsorted(contents, groups)
    return [
        Tested(
            [(dense_order(target[test]), dense_order(of[n])) for of in predictions], content[test]
        )
        for n, test in enumerate(tests)
    ]


def srocc_with_interval(
    tests: Sequence[Tested],
    n_resamples: int = 1000,
    confidence: float = 0.95,
    random_state: int | np.random.RandomState | None = 0,
) -> tuple[float, float, float]:
    """Return the SROCC of one model, and the ends of its interval."""
    drawn = resampled_srocc(tests, draws(tests, n_resamples, random_state))
    return (float(median_srocc(tests)[0]), *interval(drawn[:, 0], confidence))


def draws(
    tests: Sequence[Tested], n_resamples: int, random_state: int | np.random.RandomState | None
) -> Iterator[Integers]:
    """Yield draws with replacement: how often each content was drawn, shape (n_contents,)."""
    n_contents = 1 + max(test.content.max(initial=0) for test in tests)
    random = check_random_state(random_state)
    even = np.full(n_contents, 1 / n_contents)
    for _ in range(n_resamples):
        yield random.multinomial(n_contents, even)


def median_srocc(tests: Sequence[Tested]) -> Floats:
    """Return the median over splits of each model's SROCC, shape (n_models,)."""
    once = [_srocc_of_models(test, np.ones(len(test.content))) for test in tests]
    return np.asarray(np.median(once, axis=0))


def resampled_srocc(tests: Sequence[Tested], drawn: Iterable[Integers]) -> Floats:
    """Return the median over splits of each model's SROCC, shape (n_resamples, n_models)."""
    medians = []
    for draw in drawn:
        values = np.array(
            [_srocc_of_models(test, draw[test.content].astype(np.float64)) for test in tests]
        )
        found = values[~np.isnan(values[:, 0])]  # a split may have none of the drawn contents
        if len(found):
            medians.append(np.median(found, axis=0))
    return np.array(medians)


def interval(values: Floats, confidence: float) -> tuple[float, float]:
    """Return the quantiles between which so large a part of the values lies."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _srocc_of_models(test: Tested, weights: Floats) -> list[float]:
    return [weighted_srocc(x, y, weights) for x, y in test.pairs]
