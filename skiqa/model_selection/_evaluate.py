"""evaluate: repeated splits that keep contents apart, a search inside each if there is one."""

import contextlib
import tempfile
from numbers import Integral, Real

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, ShuffleSplit, check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import Bunch, _safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_params
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples

from skiqa._encoder import ContrastiveQualityEncoder
from skiqa._reference_difference import ReferenceDifference
from skiqa.metrics import fit_logistic, krocc_score, plcc_score, rmse_error, srocc_score
from skiqa.model_selection._tables import METRICS, aligned, import_pandas, markdown, number

#: Parameters that evaluate and cross_database share.
CONSTRAINTS = {
    "estimator": [HasMethods(["fit", "predict"])],
    "test_size": [
        Interval(Real, 0, 1, closed="neither"),
        Interval(Integral, 1, None, closed="left"),
    ],
    "mapping": [StrOptions({"logistic4", "logistic5"}), None],
    "random_state": ["random_state"],
    "n_jobs": [Integral, None],
}


@validate_params(
    {
        **CONSTRAINTS,
        "cv": ["cv_object", StrOptions({"official"})],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def evaluate(
    estimator,
    X,
    y=None,
    groups=None,
    *,
    degradation=None,
    cv=None,
    n_repeats=10,
    test_size=0.2,
    mapping="logistic4",
    random_state=0,
    n_jobs=None,
):
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
        Content of each image. None: every image is of a content of its own.
    degradation : array-like of str of shape (n_samples,), default=None
        Type of each image: scores are also given for each type.
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
        RMSE; see :func:`skiqa.metrics.fit_logistic`.
    random_state : int, RandomState instance or None, default=0
        Decides the splits. A number, so that models evaluated by two calls meet the same splits
        and :func:`compare` can compare them. The randomness of `estimator` is its own.
    n_jobs : int or None, default=None
        Splits at a time, in processes of their own. None is 1, -1 all cores.

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
        leak content. A search with ``cv=None`` or a number gets folds of contents.

    See Also
    --------
    compare : Is the difference between two evaluations more than noise?

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
    X, y, groups, degradation, split = samples_of(X, y, groups, degradation)
    splits = _splits(X, y, groups, split, cv, n_repeats, test_size, random_state)
    with frozen_once(estimator, [X]) as estimator:
        results = Parallel(n_jobs=n_jobs)(
            delayed(_one_split)(estimator, X, y, groups, degradation, train, test, mapping)
            for train, test in splits
        )
    return _evaluation(results, splits, y, groups, mapping)


class Evaluation(Bunch):
    """Scores of a model over splits, as :func:`evaluate` returns them.

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

    @classmethod
    @validate_params(
        {
            "y_true": ["array-like"],
            "y_pred": ["array-like"],
            "groups": ["array-like", None],
            "degradation": ["array-like", None],
            "mapping": CONSTRAINTS["mapping"],
        },
        prefer_skip_nested_validation=True,
    )
    def from_predictions(
        cls, y_true, y_pred, *, groups=None, degradation=None, mapping="logistic4"
    ):
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
            Curve before PLCC and RMSE, fitted to all the images.

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
        y_pred = np.asarray(y_pred, dtype=np.float64)
        y_pred, y, groups, degradation, _ = samples_of(y_pred, y_true, groups, degradation)
        test = np.flatnonzero(~np.isnan(y))
        scored = _scored(y, y_pred[test], degradation, test, mapping)
        result = *scored, y_pred[test], None
        return _evaluation([result], [(np.arange(0), test)], y, groups, mapping)

    def summary(self):
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
    def frame(self):
        """The scores as a pandas DataFrame, a row for each split and degradation type."""
        rows = []
        for degradation, scores in {"all": self.scores, **self.by_degradation}.items():
            for split in range(len(self.splits)):
                row = {name: scores[name][split] for name in METRICS}
                rows.append({"split": split, "degradation": degradation, **row})
        return import_pandas().DataFrame(rows)

    def to_markdown(self):
        """Return the summary as a table in Markdown.

        Returns
        -------
        str
        """
        return markdown(["", *map(str.upper, METRICS)], self._cells())

    def _cells(self):
        return [
            [row, *(number(name, value) for name, value in scores.items())]
            for row, scores in self.summary().items()
        ]

    def __repr__(self):
        train, test = self.splits[0]
        apart = "contents apart" if len(np.unique(self.groups)) < len(self.groups) else "by image"
        n = len(self.splits)
        title = (
            f"{n} split{'s' * (n > 1)}, {apart}: {len(train):,} images to train on, "
            f"{len(test):,} to test on"
        )
        if not len(train):
            title = f"{len(test):,} images, nothing fitted here"
        return f"{title}\n\n" + aligned(["", *map(str.upper, METRICS)], self._cells())

    def __dir__(self):  # Bunch's names its keys only
        return [*super().__dir__(), "frame", "summary", "to_markdown"]


def _evaluation(results, splits, y, groups, mapping):
    scores, types, predictions, best_params = zip(*results, strict=True)
    return Evaluation(
        scores=_stacked(scores),
        by_degradation={
            name: _stacked([of_split[name] for of_split in types]) for name in types[0]
        },
        predictions=list(predictions),
        splits=splits,
        target=y,
        groups=groups,
        best_params=None if best_params[0] is None else list(best_params),
        mapping=mapping,
    )


def samples_of(X, y, groups, degradation):
    """Return X, y (float64), groups (0..n-1), degradation and official split, of one length."""
    split = None
    if isinstance(X, dict):
        bunch = X
        if "data" not in bunch:
            raise ValueError(f"the Bunch has no 'data', only {sorted(bunch)}")
        X, split = bunch["data"], bunch.get("split")
        y = bunch.get("target") if y is None else y
        groups = bunch.get("groups") if groups is None else groups
        degradation = bunch.get("degradation") if degradation is None else degradation
    if y is None:
        raise ValueError("y is missing: give the opinion scores, or a Bunch with 'target'")
    n = _num_samples(X)
    y = np.asarray(y, dtype=np.float64)
    groups = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    degradation = None if degradation is None else np.asarray(degradation)
    for name, values in (("y", y), ("groups", groups), ("degradation", degradation)):
        if values is not None and values.shape != (n,):
            raise ValueError(f"{name} must have shape ({n},), one for each image: {values.shape}")
    return X, y, groups, degradation, split


def _splits(X, y, groups, split, cv, n_repeats, test_size, random_state):
    if isinstance(cv, str):
        part = np.asarray([] if split is None else split)
        if not {"train", "test"} <= set(part.tolist()):
            raise ValueError(
                'cv="official" needs a Bunch whose `split` names "train" and "test" images; '
                f"this one's holds {sorted(set(part.tolist())) or 'nothing'}. "
                "cv=None draws random splits."
            )
        return [(np.flatnonzero(np.isin(part, ["train", "val"])), np.flatnonzero(part == "test"))]
    if cv is None:
        alone = groups.max() + 1 == len(groups)
        kind = ShuffleSplit if alone else GroupShuffleSplit
        cv = kind(n_repeats, test_size=test_size, random_state=random_state)
        groups = None if alone else groups
    elif isinstance(cv, Integral):
        cv = GroupKFold(cv)
    return [(np.asarray(a), np.asarray(b)) for a, b in check_cv(cv).split(X, y, groups)]


@contextlib.contextmanager
def frozen_once(estimator, inputs):
    """Yield a clone whose frozen encoders know the features of all inputs, while the block lasts.

    They are computed here, before any split: processes that split X would compute them each.
    """
    estimator = clone(estimator)
    with contextlib.ExitStack() as stack:
        for encoder, transformer in _front(estimator):
            if encoder.epochs or encoder.weights is None:  # other features after each fit
                continue
            if encoder.cache_dir is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="skiqa-"))
                encoder.set_params(cache_dir=folder)
            for X in inputs:
                clone(transformer).fit(X).transform(X)
        yield estimator


def _front(estimator):
    """Yield (encoder, transformer that holds it) for the encoders that meet X as it is."""
    if isinstance(estimator, ContrastiveQualityEncoder):
        yield estimator, estimator
    elif isinstance(estimator, ReferenceDifference):
        for encoder, _ in _front(estimator.encoder):
            yield encoder, estimator
    elif isinstance(estimator, Pipeline):
        yield from _front(estimator.steps[0][1])
    elif isinstance(estimator, FeatureUnion):
        for _, part in estimator.transformer_list:
            yield from _front(part)
    elif isinstance(estimator, TransformedTargetRegressor):
        yield from _front(estimator.regressor)
    elif isinstance(estimator, BaseSearchCV):
        yield from _front(estimator.estimator)


def fit_by_content(estimator, X, y, groups):
    """Fit a clone; a search in it splits by content. Returns it and what the search chose."""
    estimator = clone(estimator)
    search, name = estimator, "groups"
    while isinstance(search, Pipeline):
        step, search = search.steps[-1]
        name = f"{step}__{name}"
    params = {}
    if isinstance(search, BaseSearchCV):
        if search.cv is None or isinstance(search.cv, Integral):
            search.set_params(cv=GroupKFold(min(search.cv or 5, len(np.unique(groups)))))
        params = {"groups" if get_config()["enable_metadata_routing"] else name: groups}
    estimator.fit(X, y, **params)
    fitted = estimator
    while isinstance(fitted, Pipeline):
        fitted = fitted[-1]
    return estimator, getattr(fitted, "best_params_", None)


def _one_split(estimator, X, y, groups, degradation, train, test, mapping):
    model, best_params = fit_by_content(
        estimator, _safe_indexing(X, train), y[train], groups[train]
    )
    test = test[~np.isnan(y[test])]
    predicted = np.asarray(model.predict(_safe_indexing(X, test)), dtype=np.float64)
    return *_scored(y, predicted, degradation, test, mapping), predicted, best_params


def _scored(y, predicted, degradation, test, mapping):
    """Return the scores of the images `test`, all of them and those of each type."""
    mapped = mapped_by(y[test], predicted, mapping)
    types = {}
    for name in () if degradation is None else np.unique(degradation).tolist():
        of_type = degradation[test] == name
        types[name] = scores_of(y[test][of_type], predicted[of_type], mapped[of_type])
    return scores_of(y[test], predicted, mapped), types


def mapped_by(y, predicted, mapping):
    return predicted if mapping is None else fit_logistic(y, predicted, mapping)(predicted)


def scores_of(y, predicted, mapped):
    if len(y) < 2:
        return dict.fromkeys(METRICS, np.nan)
    return {
        "srocc": srocc_score(y, predicted),
        "plcc": plcc_score(y, mapped),
        "krocc": krocc_score(y, predicted),
        "rmse": rmse_error(y, mapped),
    }


def _stacked(rows):
    return {name: np.array([row[name] for row in rows]) for name in METRICS}


def _nanmedian(values):
    values = values[~np.isnan(values)]
    return float(np.median(values)) if len(values) else np.nan
