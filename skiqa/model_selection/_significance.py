"""Differences or chance: bootstrap intervals of SROCC, for one model and for two on one ground."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
import numpy.typing as npt
from sklearn.utils import Bunch
from sklearn.utils._param_validation import Interval, validate_params

from skiqa.metrics import srocc_score
from skiqa.model_selection._bootstrap import (
    Tested,
    draws,
    interval,
    median_srocc,
    resampled_srocc,
    scored,
    srocc_with_interval,
    tested_images,
)
from skiqa.model_selection._evaluation import Evaluation
from skiqa.model_selection._samples import check_samples

_BOOTSTRAP = {
    "n_resamples": [Interval(Integral, 100, None, closed="left")],
    "confidence": [Interval(Real, 0, 1, closed="neither")],
    "random_state": ["random_state"],
}


@validate_params(
    _BOOTSTRAP | {"predicted": [Evaluation, "array-like"]}, prefer_skip_nested_validation=True
)
def srocc_interval(
    predicted: Evaluation | npt.ArrayLike,
    y_true: npt.ArrayLike | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    random_state: int | np.random.RandomState | None = 0,
) -> Bunch:
    """How far SROCC would move with other test images: a bootstrap interval.

    Parameters
    ----------
    predicted : Evaluation or array-like of float of shape (n_samples,)
        What :func:`evaluate` returned, or the predictions for images that the model was not
        trained on.
    y_true : array-like of float of shape (n_samples,), default=None
        Opinion scores, with plain predictions.
    groups : array-like of shape (n_samples,), default=None
        Content of each image, with plain predictions. Contents are drawn as wholes: images of one
        content are alike, and tell less than as many different ones.
    n_resamples : int in [100, inf), default=1000
        Draws with replacement.
    confidence : float in (0, 1), default=0.95
        Of the interval.
    random_state : int, RandomState instance or None, default=0
        Decides the draws.

    Returns
    -------
    Bunch
        `srocc`, `low`, `high`: floats; with an Evaluation, of the median over splits.

    Raises
    ------
    ValueError
        If there are fewer than two contents, or lengths differ.

    Notes
    -----
    Percentile interval. With an Evaluation, contents are drawn once for all splits: an image that
    is tested in several counts as one. The models are taken as they are; what another training
    set would change is in the spread over splits, not here. 1,000 draws of 10,000 images take
    less than a second.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa.model_selection import srocc_interval
    >>> mos = np.arange(60.0)
    >>> found = srocc_interval(mos + np.random.default_rng(0).normal(0, 20, 60), mos)
    >>> f"{found.srocc:.2f}, from {found.low:.2f} to {found.high:.2f}"
    '0.78, from 0.68 to 0.85'
    """
    tests = _tests([predicted], y_true, groups)
    srocc, low, high = srocc_with_interval(tests, n_resamples, confidence, random_state)
    return Bunch(srocc=srocc, low=low, high=high)


@validate_params(
    _BOOTSTRAP | {"first": [Evaluation, "array-like"], "second": [Evaluation, "array-like"]},
    prefer_skip_nested_validation=True,
)
def compare(
    first: Evaluation | npt.ArrayLike,
    second: Evaluation | npt.ArrayLike,
    y_true: npt.ArrayLike | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    random_state: int | np.random.RandomState | None = 0,
) -> Comparison:
    """Is one model better, or can the two not be told apart? A paired bootstrap of SROCC.

    Parameters
    ----------
    first, second : Evaluation or array-like of float of shape (n_samples,)
        Two results of :func:`evaluate` on the same images and splits, or two models' predictions
        for the same images.
    y_true : array-like of float of shape (n_samples,), default=None
        Opinion scores, with plain predictions.
    groups : array-like of shape (n_samples,), default=None
        Content of each image, with plain predictions; see :func:`srocc_interval`.
    n_resamples : int in [100, inf), default=1000
        Draws with replacement, the same for both models.
    confidence : float in (0, 1), default=0.95
        Of the interval. If it holds 0, the two cannot be told apart.
    random_state : int, RandomState instance or None, default=0
        Decides the draws.

    Returns
    -------
    Comparison
        `difference`: SROCC of `first` less that of `second`, with Evaluations medians over splits;
        `low`, `high`: its interval; `p_value`: two-sided; `noise`: bool, whether the
        interval holds 0. Prints as a sentence.

    Raises
    ------
    ValueError
        If the two were not evaluated on the same images and splits, or as
        :func:`srocc_interval`.

    Notes
    -----
    Both models are scored on the same draws, so what makes a draw easy or hard for both cancels.
    Comparing many pairs finds a "significant" one by chance: mind how many you tried.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa.model_selection import compare
    >>> rng = np.random.default_rng(0)
    >>> mos = np.arange(200.0)
    >>> good, bad = mos + rng.normal(0, 30, 200), mos + rng.normal(0, 60, 200)
    >>> compare(good, bad, mos)
    The first is better by 0.182 SROCC (95 % interval 0.107 to 0.260, p = 0.002).
    >>> compare(good, good + rng.normal(0, 5, 200), mos)
    The two cannot be told apart on these images: the difference of 0.003 SROCC
    (95 % interval -0.003 to 0.011, p = 0.304) may be chance.
    """
    tests = _tests([first, second], y_true, groups)
    difference = float(np.subtract(*median_srocc(tests)))
    drawn = draws(tests, n_resamples, random_state)
    resampled = np.subtract(*resampled_srocc(tests, drawn).T)
    low, high = interval(resampled, confidence)
    tail = min(np.sum(resampled <= 0), np.sum(resampled >= 0))
    return Comparison(
        difference=difference,
        low=low,
        high=high,
        p_value=float(min(1.0, 2 * (tail + 1) / (len(resampled) + 1))),
        noise=bool(low <= 0 <= high),
        confidence=confidence,
    )


class Comparison(Bunch):
    """Difference between two models, as :func:`compare` returns it. Prints as a sentence."""

    difference: float
    low: float
    high: float
    p_value: float
    noise: bool
    confidence: float

    def __repr__(self) -> str:
        found = f"{100 * self.confidence:g} % interval {self.low:.3f} to {self.high:.3f}"
        found = f"({found}, p = {self.p_value:.3f})"
        size = f"{abs(self.difference):.3f} SROCC"
        if self.noise:
            return (
                f"The two cannot be told apart on these images: the difference of {size}\n"
                f"{found} may be chance."
            )
        better = "first" if self.low > 0 else "second"
        return f"The {better} is better by {size} {found}."


def _tests(
    results: Sequence[Evaluation | npt.ArrayLike],
    y_true: npt.ArrayLike | None,
    groups: npt.ArrayLike | None,
) -> list[Tested]:
    """Return for each split what was tested: opinions, predictions of each result, contents."""
    evaluations = [result for result in results if isinstance(result, Evaluation)]
    if len(evaluations) == len(results):
        one = evaluations[0]
        if not all(_same_splits(one, other) for other in evaluations[1:]):
            raise ValueError(
                "the two were evaluated on different images or splits: call evaluate for both "
                "with the same data, cv, n_repeats, test_size and random_state (not None)"
            )
        target, contents = one.target, one.groups
        tests = scored(target, one.splits)
        predictions = [result.predictions for result in evaluations]
    elif evaluations:
        raise ValueError("compare two Evaluations or two arrays of predictions, not one of each")
    else:
        if y_true is None:
            raise ValueError("y_true is missing: give the opinion scores of the images")
        samples = check_samples(results[0], y_true, groups)
        target, contents = samples.y, samples.groups
        tests = [np.arange(len(target))]
        predictions = [[np.asarray(result, dtype=np.float64)] for result in results]
        for (predicted,) in predictions:
            srocc_score(target, predicted)  # raises for lengths, NaN and infinity
    return tested_images(target, contents, tests, predictions)


def _same_splits(one: Evaluation, other: Evaluation) -> bool:
    return (
        np.array_equal(one.target, other.target, equal_nan=True)
        and len(one.splits) == len(other.splits)
        and all(
            np.array_equal(a, b)
            for split, same in zip(one.splits, other.splits, strict=True)
            for a, b in zip(split, same, strict=True)
        )
    )
