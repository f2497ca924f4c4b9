"""Evaluation: the scores of a model over splits, and how they are made of its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.utils import Bunch
from sklearn.utils._param_validation import StrOptions, validate_params

from skiqa._types import Floats, Integers
from skiqa.metrics import fit_logistic, krocc_score, plcc_score, rmse_error, srocc_score
from skiqa.model_selection._bootstrap import scored, srocc_with_interval, tested_images
from skiqa.model_selection._samples import Samples, check_samples
from skiqa.model_selection._tables import (
    METRICS,
    aligned_table,
    format_score,
    import_pandas,
    markdown_table,
)

if TYPE_CHECKING:
    import pandas as pd

MAPPING = [StrOptions({"logistic4", "logistic5"}), None]  # what the parameter may be

# Of fewer images nothing can be told. Of models that know nothing one in 20 passes an absolute
# SROCC of .77 with 6 images, .52 with 12, .35 with 30, and half pass a PLCC after logistic4 of .68,
# .50, .34; the 95 % interval of a true SROCC of .79 is 1.12, .68, .36 wide
# (benchmarks/few_images.py).
FEW = 30

Scores: TypeAlias = dict[str, Floats]  # metric -> (n_splits,)
Splits: TypeAlias = list[tuple[Integers, Integers]]  # indices of the images to train and test on


class Outcome(NamedTuple):
    """What came of one split."""

    scores: dict[str, float]
    by_degradation: dict[str, dict[str, float]]
    predictions: Floats
    best_params: dict[str, Any] | None = None


class Evaluation(Bunch):
    """Scores of a model over splits, as :func:`evaluate` returns them.

    Prints as a table; below it, of fewer than 30 tested images, the 95 % interval of SROCC.

    Attributes
    ----------
    scores : dict of ndarray of shape (n_splits,)
        "srocc", "plcc", "krocc" and "rmse" of each split.
    by_degradation : dict of dict of ndarray of shape (n_splits,)
        The same for each degradation type; NaN where a split has fewer than two of its images.
        Empty without types.
    predictions : list of ndarray of shape (n_test,)
        For each split, of its test images with a score.
    splits : list of (ndarray, ndarray)
        Indices of the images to train and to test on.
    target : ndarray of shape (n_samples,)
    groups : ndarray of shape (n_samples,)
        Number of the content of each image.
    best_params : list of dict, or None
        What a search chose in each split.
    mapping : str or None
        Curve before PLCC and RMSE.
    """

    scores: Scores
    by_degradation: dict[str, Scores]
    predictions: list[Floats]
    splits: Splits
    target: Floats
    groups: Integers
    best_params: list[dict[str, Any]] | None
    mapping: str | None

    @classmethod
    @validate_params(
        {
            "y_true": ["array-like"],
            "y_pred": ["array-like"],
            "groups": ["array-like", None],
            "degradation": ["array-like", None],
            "mapping": MAPPING,
        },
        prefer_skip_nested_validation=True,
    )
    def from_predictions(
        cls,
        y_true: npt.ArrayLike,
        y_pred: npt.ArrayLike,
        *,
        groups: npt.ArrayLike | None = None,
        degradation: npt.ArrayLike | None = None,
        mapping: str | None = "logistic4",
    ) -> Evaluation:
        """Score what a model that was fitted before predicts: one split, nothing to train on.

        Parameters
        ----------
        y_true : array-like of float of shape (n_samples,)
            Opinion scores, higher is better. Images whose score is NaN are left out.
        y_pred : array-like of float of shape (n_samples,)
            Predictions, on any scale, for images that the model was not fitted to.
        groups : array-like of shape (n_samples,), default=None
            Content of each image, for :func:`srocc_interval` and :func:`compare`. None: every image
            is of a content of its own.
        degradation : array-like of str of shape (n_samples,), default=None
            Type of each image: scores are also given for each type.
        mapping : {"logistic4", "logistic5"} or None, default="logistic4"
            Curve before PLCC and RMSE, fitted to all the images; where it falls, PLCC is negative.

        Returns
        -------
        Evaluation

        Raises
        ------
        ValueError
            If lengths differ, or the prediction for a scored image is not finite.

        Examples
        --------
        >>> import numpy as np
        >>> from skiqa.model_selection import Evaluation, srocc_interval
        >>> mos = np.arange(60.0)
        >>> found = Evaluation.from_predictions(
        ...     mos, mos + np.random.default_rng(0).normal(0, 20, 60)
        ... )
        >>> found
        60 images, nothing fitted here
        <BLANKLINE>
                SROCC   PLCC  KROCC   RMSE
        median  0.778  0.779  0.569  10.87
        std         -      -      -      -
        >>> round(srocc_interval(found).low, 2)
        0.68
        """
        predicted = np.asarray(y_pred, dtype=np.float64)
        samples = check_samples(predicted, y_true, groups, degradation)
        test = np.flatnonzero(~np.isnan(samples.y))
        outcome = score_split(samples, test, predicted[test], mapping)
        return gather([outcome], [(np.arange(0), test)], samples, mapping)

    def summary(self) -> dict[str, dict[str, float]]:
        """Return the median and the standard deviation over splits.

        Returns
        -------
        dict of dict of float
            Rows "median", "std" (NaN for one split), and the median of each degradation type; in
            each, "srocc", "plcc", "krocc" and "rmse".
        """
        rows = {
            "median": {name: float(np.median(v)) for name, v in self.scores.items()},
            "std": {
                name: float(np.std(v, ddof=1)) if len(v) > 1 else np.nan
                for name, v in self.scores.items()
            },
        }
        for degradation, scores in self.by_degradation.items():
            rows[degradation] = {name: _nanmedian(v) for name, v in scores.items()}
        return rows

    @property
    def frame(self) -> pd.DataFrame:
        """The scores as a pandas DataFrame, a row for each split and degradation type."""
        rows = []
        for degradation, scores in {"all": self.scores, **self.by_degradation}.items():
            for split in range(len(self.splits)):
                row = {name: scores[name][split] for name in METRICS}
                rows.append({"split": split, "degradation": degradation, **row})
        return import_pandas().DataFrame(rows)

    def to_markdown(self) -> str:
        """Return the summary as a table in Markdown.

        Returns
        -------
        str
        """
        return markdown_table(["", *map(str.upper, METRICS)], self._cells())

    def _cells(self) -> list[list[str]]:
        return [
            [row, *(format_score(name, value) for name, value in scores.items())]
            for row, scores in self.summary().items()
        ]

    def __repr__(self) -> str:
        train, test = self.splits[0]
        apart = "contents apart" if len(np.unique(self.groups)) < len(self.groups) else "by image"
        n = len(self.splits)
        title = (
            f"{n} split{'s' * (n > 1)}, {apart}: {len(train):,} images to train on, "
            f"{len(test):,} to test on"
        )
        if not len(train):
            title = f"{len(test):,} images, nothing fitted here"
        table = aligned_table(["", *map(str.upper, METRICS)], self._cells())
        return f"{title}\n\n{table}" + self._caution()

    def _caution(self) -> str:
        """Return what has to be said of few images, below the table."""
        tested = np.unique(np.concatenate([test for _, test in self.splits]))
        tested = tested[~np.isnan(self.target[tested])]
        if len(tested) >= FEW:
            return ""
        text = f"\n\nOf fewer than {FEW} images ({len(tested)}) nothing can be told"
        if len(np.unique(self.groups[tested])) < 2:
            return f"{text}."
        splits = scored(self.target, self.splits)
        tests = tested_images(self.target, self.groups, splits, [self.predictions])
        _, low, high = srocc_with_interval(tests)
        return f"{text}: SROCC, 95 % interval {low:.3f} to {high:.3f}."

    def __dir__(self) -> list[str]:  # Bunch's names its keys only
        return [*super().__dir__(), "frame", "summary", "to_markdown"]


def gather(
    outcomes: Sequence[Outcome], splits: Splits, samples: Samples, mapping: str | None
) -> Evaluation:
    """Make the Evaluation of what came of each split."""
    types = [outcome.by_degradation for outcome in outcomes]
    chosen = [outcome.best_params for outcome in outcomes if outcome.best_params is not None]
    return Evaluation(
        scores=_stacked([outcome.scores for outcome in outcomes]),
        by_degradation={name: _stacked([scores[name] for scores in types]) for name in types[0]},
        predictions=[outcome.predictions for outcome in outcomes],
        splits=splits,
        target=samples.y,
        groups=samples.groups,
        best_params=chosen or None,
        mapping=mapping,
    )


def score_split(
    samples: Samples,
    test: Integers,
    predicted: Floats,
    mapping: str | None,
    best_params: dict[str, Any] | None = None,
) -> Outcome:
    """Score the predictions for the images `test`, for all of them and for those of each type."""
    y = samples.y[test]
    mapped, sign = apply_mapping(y, predicted, mapping)
    types = {}
    if samples.degradation is not None:
        for name in np.unique(samples.degradation).tolist():
            kept = samples.degradation[test] == name
            types[name] = score_predictions(y[kept], predicted[kept], mapped[kept], sign)
    return Outcome(score_predictions(y, predicted, mapped, sign), types, predicted, best_params)


def apply_mapping(y: Floats, predicted: Floats, mapping: str | None) -> tuple[Floats, int]:
    """Return mapped predictions, and -1 if the curve falls, else 1."""
    if mapping is None:
        return predicted, 1
    curve = fit_logistic(y, predicted, mapping)
    return curve(predicted), -1 if curve.falls else 1


def score_predictions(y: Floats, predicted: Floats, mapped: Floats, sign: int) -> dict[str, float]:
    """Return all metrics, PLCC and RMSE of the mapped predictions; NaN for fewer than two."""
    if len(y) < 2:
        return dict.fromkeys(METRICS, np.nan)
    return {
        "srocc": srocc_score(y, predicted),
        "plcc": sign * plcc_score(y, mapped),
        "krocc": krocc_score(y, predicted),
        "rmse": rmse_error(y, mapped),
    }


def _stacked(rows: Sequence[dict[str, float]]) -> Scores:
    return {name: np.array([row[name] for row in rows]) for name in METRICS}


def _nanmedian(values: Floats) -> float:
    values = values[~np.isnan(values)]
    return float(np.median(values)) if len(values) else np.nan
