"""evaluate: repeated splits that keep contents apart, a search inside each if there is one."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.model_selection import (
    BaseCrossValidator,
    GroupKFold,
    GroupShuffleSplit,
    ShuffleSplit,
    check_cv,
)
from sklearn.utils import Bunch, _safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_params
from sklearn.utils.parallel import Parallel, delayed

from skiqa._progress import progress_bar
from skiqa._types import Images, Integers
from skiqa.model_selection._evaluation import (
    MAPPING,
    Evaluation,
    Outcome,
    Splits,
    gather,
    score_split,
)
from skiqa.model_selection._fitting import (
    features_cached,
    fit_by_content,
    warned_once,
    warnings_told,
)
from skiqa.model_selection._samples import Samples, check_samples

#: Parameters that evaluate and cross_database share.
CONSTRAINTS = {
    "estimator": [HasMethods(["fit", "predict"])],
    "test_size": [
        Interval(Real, 0, 1, closed="neither"),
        Interval(Integral, 1, None, closed="left"),
    ],
    "mapping": MAPPING,
    "random_state": ["random_state"],
    "n_jobs": [Integral, None],
}


@validate_params(
    CONSTRAINTS
    | {
        "cv": ["cv_object", StrOptions({"official"})],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def evaluate(
    estimator: BaseEstimator,
    X: Images | Bunch,
    y: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    *,
    degradation: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
    cv: str | int | BaseCrossValidator | Iterable[tuple[Integers, Integers]] | None = None,
    n_repeats: int = 10,
    test_size: float = 0.2,
    mapping: str | None = "logistic4",
    random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> Evaluation:
    """Evaluate a model as papers do: train and test on repeated splits that keep contents apart.

    Parameters
    ----------
    estimator : regressor
        A pipeline from images to scores, or a search over one (``GridSearchCV``), which then
        searches within the training part of each split. It is cloned.
    X : array-like of shape (n_samples, ...) or Bunch
        What `estimator` takes: image paths, features. Or what a loader of :mod:`skiqa.datasets`
        returned; `y`, `groups` and `degradation` are then its own unless given.
    y : array-like of float of shape (n_samples,), default=None
        Opinion scores, higher is better. Images whose score is NaN are for training only.
    groups : array-like of shape (n_samples,), default=None
        Content of each image; one without a name (None, NaN, "") is of its own. None: all are.
    degradation : array-like of str of shape (n_samples,), default=None
        Type of each image: scores are also given for each type.
    sample_weight : array-like of float of shape (n_samples,), default=None
        What each image counts in fitting, for estimators that take it. In testing each counts once.
    cv : None, "official", int, splitter or iterable of (train, test), default=None
        None: `n_repeats` random splits. "official": the one split of the database, its "train"
        and "val" images against its "test" images. Anything else as for scikit-learn's
        ``cross_validate``; an int means folds of contents.
    n_repeats : int in [1, inf), default=10
        Random splits.
    test_size : float in (0, 1) or int in [1, inf), default=0.2
        Share, or number, of *contents* to test on.
    mapping : {"logistic4", "logistic5"} or None, default="logistic4"
        Curve from predictions to scores, fitted to the test images of each split, before PLCC and
        RMSE; see :func:`skiqa.metrics.fit_logistic`. Where it falls, PLCC is negative.
    random_state : int, RandomState instance or None, default=0
        Decides the splits. A number, so that models evaluated by two calls meet the same splits
        and :func:`compare` can compare them. The randomness of `estimator` is its own.
    n_jobs : int or None, default=None
        Splits at a time, in processes of their own. None is 1, -1 all cores.
    verbose : int, default=0
        Above 0 a bar on standard error shows the splits that are done.

    Returns
    -------
    Evaluation
        Prints as a table.

    Raises
    ------
    ValueError
        If y is missing, lengths differ, there are too few contents to split, or there is no
        official split.

    Warns
    -----
    UserWarning
        By scikit-learn, if a search has a splitter of its own that ignores groups: its folds then
        leak content. A search with ``cv=None`` or a number gets folds of contents. Of warnings of
        one kind there is one, which says in how many splits it came.

    See Also
    --------
    compare : Can two evaluations be told apart?

    Notes
    -----
    Features of frozen encoders (``epochs=0``) are computed once for all splits and candidates: an
    encoder at the front of `estimator` without a `cache_dir` gets a temporary one. Fitting then
    costs what the regressor costs. Memory: the predictions.

    Scores of one degradation type use the mapping of all test images of the split, so that types
    are judged on one scale. Medians over types leave out splits with fewer than two images.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import RidgeCV
    >>> from skiqa.model_selection import evaluate
    >>> rng = np.random.default_rng(0)
    >>> X, content = rng.standard_normal((200, 5)), np.repeat(np.arange(20), 10)
    >>> y = X @ [1, 2, 0, 0, 1] + rng.standard_normal(200)
    >>> evaluate(RidgeCV(), X, y, groups=content, n_repeats=5)
    5 splits, contents apart: 160 images to train on, 40 to test on
    <BLANKLINE>
            SROCC   PLCC  KROCC    RMSE
    median  0.929  0.934  0.774  0.8338
    std     0.013  0.013  0.030  0.1172
    """
    samples = check_samples(X, y, groups, degradation, sample_weight)
    if isinstance(cv, str):
        splits = [_official_split(samples)]
    else:
        splits = _splits(samples, cv, n_repeats, test_size, random_state)
    told = []
    with (
        features_cached(estimator, [samples.X]) as prepared,
        progress_bar("Evaluating", len(splits), enabled=verbose > 0, unit="splits") as advance,
    ):
        for outcome in Parallel(n_jobs=n_jobs, return_as="generator")(
            delayed(warnings_told)(_fit_and_score, prepared, samples, train, test, mapping)
            for train, test in splits
        ):
            told.append(outcome)
            advance()
    outcomes = warned_once(told, "splits")
    return gather(outcomes, splits, samples, mapping)


def _official_split(samples: Samples) -> tuple[Integers, Integers]:
    part = np.asarray([] if samples.split is None else samples.split)
    if not {"train", "test"} <= set(part.tolist()):
        raise ValueError(
            'cv="official" needs a Bunch whose `split` names "train" and "test" images; '
            f"this one's holds {sorted(set(part.tolist())) or 'nothing'}. "
            "cv=None draws random splits."
        )
    return np.flatnonzero(np.isin(part, ["train", "val"])), np.flatnonzero(part == "test")


def _splits(
    samples: Samples,
    cv: int | BaseCrossValidator | Iterable[tuple[Integers, Integers]] | None,
    n_repeats: int,
    test_size: float,
    random_state: int | np.random.RandomState | None,
) -> Splits:
    groups: Integers | None = samples.groups
    if cv is None:
        alone = samples.groups.max() + 1 == len(samples.groups)
        kind = ShuffleSplit if alone else GroupShuffleSplit
        cv = kind(n_repeats, test_size=test_size, random_state=random_state)
        groups = None if alone else groups
    elif isinstance(cv, Integral):
        cv = GroupKFold(cv)
    splits = check_cv(cv).split(samples.X, samples.y, groups)
    return [(np.asarray(train), np.asarray(test)) for train, test in splits]


def _fit_and_score(
    estimator: BaseEstimator, samples: Samples, train: Integers, test: Integers, mapping: str | None
) -> Outcome:
    X, y, groups = samples.X, samples.y, samples.groups
    weights = None if samples.weights is None else samples.weights[train]
    model, best_params = fit_by_content(
        estimator, _safe_indexing(X, train), y[train], groups[train], weights
    )
    test = test[~np.isnan(y[test])]
    predicted = np.asarray(model.predict(_safe_indexing(X, test)), dtype=np.float64)
    return score_split(samples, test, predicted, mapping, best_params)
