"""The field's protocols: content-separated splits, cross-database tables, differences or noise.

Images of one content (degraded copies of one photograph, frames of one scene) must not stand on
both sides of a split: a model that recognizes the content then looks better than it is. Here every
split keeps contents together, and so do the folds of a search inside it.
"""

import contextlib
import tempfile
from numbers import Integral, Real

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    ShuffleSplit,
    check_cv,
)
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import Bunch, _safe_indexing, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_params
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples

from skiqa._encoder import ContrastiveQualityEncoder
from skiqa._reference import ReferenceDifference
from skiqa.metrics import fit_logistic, krocc_score, plcc_score, rmse_error, srocc_score

__all__ = ["CrossDatabase", "Evaluation", "compare", "cross_database", "evaluate", "srocc_interval"]

METRICS = ("srocc", "plcc", "krocc", "rmse")
_MAPPING = StrOptions({"logistic4", "logistic5"})


@validate_params(
    {
        "estimator": [HasMethods(["fit", "predict"])],
        "cv": ["cv_object", StrOptions({"official"})],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "test_size": [
            Interval(Real, 0, 1, closed="neither"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "mapping": [_MAPPING, None],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
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
    X, y, groups, degradation, split = _samples(X, y, groups, degradation)
    splits = _splits(X, y, groups, split, cv, n_repeats, test_size, random_state)
    with _frozen_once(estimator, [X]) as estimator:
        results = Parallel(n_jobs=n_jobs)(
            delayed(_one_split)(estimator, X, y, groups, degradation, train, test, mapping)
            for train, test in splits
        )
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
            for number in range(len(self.splits)):
                row = {name: scores[name][number] for name in METRICS}
                rows.append({"split": number, "degradation": degradation, **row})
        return _pandas().DataFrame(rows)

    def to_markdown(self):
        """Return the summary as a table in Markdown.

        Returns
        -------
        str
        """
        return _markdown(["", *map(str.upper, METRICS)], self._cells())

    def _cells(self):
        return [
            [row, *(_number(name, value) for name, value in scores.items())]
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
        return f"{title}\n\n" + _aligned(["", *map(str.upper, METRICS)], self._cells())

    def __dir__(self):  # Bunch's names its keys only
        return [*super().__dir__(), "frame", "summary", "to_markdown"]


@validate_params(
    {
        "estimator": [HasMethods(["fit", "predict"])],
        "datasets": [dict, list, tuple],
        "n_repeats": [Interval(Integral, 0, None, closed="left")],
        "test_size": [
            Interval(Real, 0, 1, closed="neither"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "mapping": [_MAPPING, None],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    },
    prefer_skip_nested_validation=True,
)
def cross_database(
    estimator,
    datasets,
    *,
    n_repeats=10,
    test_size=0.2,
    mapping="logistic4",
    random_state=0,
    n_jobs=None,
):
    """Train on each database, test on every other: does a model know more than one database?

    Parameters
    ----------
    estimator : regressor
        As for :func:`evaluate`. It is cloned, and fitted to all images of a database.
    datasets : list of Bunch, or dict of Bunch
        Two or more of what the loaders of :mod:`skiqa.datasets` return: `data`, `target` and, where
        there are any, `groups`. In a dict the keys are the names, in a list ``name`` of each.
    n_repeats : int in [0, inf), default=10
        Splits within one database, for the diagonal: the median of :func:`evaluate`. 0 leaves the
        diagonal empty and saves its time.
    test_size : float in (0, 1) or int in [1, inf), default=0.2
        Of the splits for the diagonal.
    mapping : {"logistic4", "logistic5"} or None, default="logistic4"
        Curve before PLCC and RMSE. Databases rate on different scales: without it RMSE across
        them means nothing.
    random_state : int, RandomState instance or None, default=0
        Decides the splits for the diagonal.
    n_jobs : int or None, default=None
        Databases to train on at a time, in processes of their own.

    Returns
    -------
    CrossDatabase
        Prints as a table of SROCC, a row for each database trained on.

    Raises
    ------
    ValueError
        If there are fewer than two databases, or two have one name.

    Notes
    -----
    Features are computed once, as in :func:`evaluate`. Databases may share content: LIVE, TID2008
    and TID2013 degrade photographs of the same Kodak set, KonIQ-10k, SPAQ and others come from the
    same sites. A number across such a pair is not one of unseen content.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.utils import Bunch
    >>> from skiqa.model_selection import cross_database
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.standard_normal((2, 100, 3))
    >>> lab, web = Bunch(data=a, target=a[:, 0]), Bunch(data=b, target=b[:, 0] + b[:, 1])
    >>> cross_database(Ridge(), {"lab": lab, "web": web}, n_repeats=0)
    SROCC, a row for each database trained on, a column for each tested on
    <BLANKLINE>
           lab    web
    lab      -  0.607
    web  0.740      -
    """
    named = _named(datasets)
    samples = {name: _samples(data, None, None, None) for name, data in named.items()}
    inputs = [X for X, *_ in samples.values()]
    with _frozen_once(estimator, inputs) as estimator:
        rows = Parallel(n_jobs=n_jobs)(
            delayed(_one_database)(estimator, samples, name, mapping) for name in samples
        )
        for name, row in zip(samples, rows, strict=True):
            row[name] = dict.fromkeys(METRICS, np.nan)
            if n_repeats:
                X, y, groups, *_ = samples[name]
                row[name] = evaluate(
                    estimator, X, y, groups, n_repeats=n_repeats, test_size=test_size,
                    mapping=mapping, random_state=random_state, n_jobs=n_jobs,
                ).summary()["median"]  # fmt: skip
    table = {
        metric: np.array([[row[name][metric] for name in samples] for row in rows])
        for metric in METRICS
    }
    return CrossDatabase(names=list(samples), **table, n_repeats=n_repeats, mapping=mapping)


class CrossDatabase(Bunch):
    """Scores across databases, as :func:`cross_database` returns them.

    Attributes
    ----------
    names : list of str
        Of the databases.
    srocc, plcc, krocc, rmse : ndarray of shape (n_databases, n_databases)
        [i, j]: trained on database i, tested on j. On the diagonal medians over splits within the
        database, or NaN.
    n_repeats : int
        Splits behind each number on the diagonal.
    mapping : str or None
        Curve before PLCC and RMSE.
    """

    @property
    def frame(self):
        """The scores as a pandas DataFrame, a row for each pair of databases."""
        rows = [
            {"train": train, "test": test, **{metric: self[metric][i, j] for metric in METRICS}}
            for i, train in enumerate(self.names)
            for j, test in enumerate(self.names)
        ]
        return _pandas().DataFrame(rows)

    def to_markdown(self, metric="srocc"):
        """Return the matrix of one metric as a table in Markdown.

        Parameters
        ----------
        metric : {"srocc", "plcc", "krocc", "rmse"}, default="srocc"

        Returns
        -------
        str
        """
        return _markdown([f"{metric.upper()}, train \\ test", *self.names], self._cells(metric))

    def _cells(self, metric):
        return [
            [name, *(_number(metric, value) for value in values)]
            for name, values in zip(self.names, self[metric], strict=True)
        ]

    def __repr__(self):
        title = "SROCC, a row for each database trained on, a column for each tested on"
        if self.n_repeats:
            title += f";\non the diagonal the median of {self.n_repeats} splits within the database"
        return f"{title}\n\n" + _aligned(["", *self.names], self._cells("srocc"))

    def __dir__(self):
        return [*super().__dir__(), "frame", "to_markdown"]


_BOOTSTRAP = {
    "n_resamples": [Interval(Integral, 100, None, closed="left")],
    "confidence": [Interval(Real, 0, 1, closed="neither")],
    "random_state": ["random_state"],
}


@validate_params(
    {"predicted": [Evaluation, "array-like"], **_BOOTSTRAP}, prefer_skip_nested_validation=True
)
def srocc_interval(
    predicted, y_true=None, *, groups=None, n_resamples=1000, confidence=0.95, random_state=0
):
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
    tests, draws = _tests([predicted], y_true, groups, n_resamples, random_state)
    srocc = float(_median_srocc(tests)[0])
    low, high = _interval(_resampled(tests, draws)[:, 0], confidence)
    return Bunch(srocc=srocc, low=low, high=high)


@validate_params(
    {"first": [Evaluation, "array-like"], "second": [Evaluation, "array-like"], **_BOOTSTRAP},
    prefer_skip_nested_validation=True,
)
def compare(
    first, second, y_true=None, *, groups=None, n_resamples=1000, confidence=0.95, random_state=0
):
    """Is one model better than another, or is the difference noise? A paired bootstrap of SROCC.

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
        Of the interval; a difference is noise if the interval holds 0.
    random_state : int, RandomState instance or None, default=0
        Decides the draws.

    Returns
    -------
    Comparison
        `difference`: SROCC of `first` less that of `second`, with Evaluations medians over splits;
        `low`, `high`: its interval; `p_value`: two-sided; `noise`: bool. Prints as a sentence.

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
    The difference of 0.003 SROCC (95 % interval -0.003 to 0.011, p = 0.304) is noise: these images
    do not tell the two apart.
    """
    tests, draws = _tests([first, second], y_true, groups, n_resamples, random_state)
    difference = float(np.subtract(*_median_srocc(tests)))
    resampled = np.subtract(*_resampled(tests, draws).T)
    low, high = _interval(resampled, confidence)
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

    def __repr__(self):
        found = f"{100 * self.confidence:g} % interval {self.low:.3f} to {self.high:.3f}"
        found = f"({found}, p = {self.p_value:.3f})"
        size = f"{abs(self.difference):.3f} SROCC"
        if self.noise:
            return (
                f"The difference of {size} {found} is noise: these images\n"
                "do not tell the two apart."
            )
        better = "first" if self.low > 0 else "second"
        return f"The {better} is better by {size} {found}."


# --- what is to be evaluated


def _samples(X, y, groups, degradation):
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


def _named(datasets):
    if isinstance(datasets, dict) and "data" not in datasets:
        named = dict(datasets)
    else:
        datasets = [datasets] if isinstance(datasets, dict) else list(datasets)
        names = [data.get("name", f"database {n}") for n, data in enumerate(datasets, 1)]
        named = dict(zip(names, datasets, strict=True))
        if len(named) < len(names):
            raise ValueError(f"two databases have one name: {names}. Give a dict of names.")
    if len(named) < 2:
        raise ValueError("cross_database needs two or more databases")
    return named


# --- fitting


@contextlib.contextmanager
def _frozen_once(estimator, inputs):
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


def _fit(estimator, X, y, groups):
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
    model, best_params = _fit(estimator, _safe_indexing(X, train), y[train], groups[train])
    test = test[~np.isnan(y[test])]
    predicted = np.asarray(model.predict(_safe_indexing(X, test)), dtype=np.float64)
    mapped = _mapped(y[test], predicted, mapping)
    types = {}
    for name in () if degradation is None else np.unique(degradation).tolist():
        of_type = degradation[test] == name
        types[name] = _scores(y[test][of_type], predicted[of_type], mapped[of_type])
    return _scores(y[test], predicted, mapped), types, predicted, best_params


def _one_database(estimator, samples, name, mapping):
    X, y, groups, *_ = samples[name]
    model, _ = _fit(estimator, X, y, groups)
    row = {}
    for other, (X, y, *_) in samples.items():
        if other != name:
            labelled = np.flatnonzero(~np.isnan(y))
            predicted = np.asarray(model.predict(_safe_indexing(X, labelled)), dtype=np.float64)
            mapped = _mapped(y[labelled], predicted, mapping)
            row[other] = _scores(y[labelled], predicted, mapped)
    return row


def _mapped(y, predicted, mapping):
    return predicted if mapping is None else fit_logistic(y, predicted, mapping)(predicted)


def _scores(y, predicted, mapped):
    if len(y) < 2:
        return dict.fromkeys(METRICS, np.nan)
    return {
        "srocc": srocc_score(y, predicted),
        "plcc": plcc_score(y, mapped),
        "krocc": krocc_score(y, predicted),
        "rmse": rmse_error(y, mapped),
    }


# --- bootstrap


def _tests(results, y_true, groups, n_resamples, random_state):
    """Return for each split (a pair (opinions, predictions) for each result, contents), and draws.

    A draw is how often each content was drawn, shape (n_contents,).
    """
    if all(isinstance(result, Evaluation) for result in results):
        one = results[0]
        for other in results[1:]:
            same = np.array_equal(one.target, other.target, equal_nan=True)
            same = same and len(one.splits) == len(other.splits)
            if not same or not all(
                np.array_equal(a, b)
                for a, b in zip(one.splits, other.splits, strict=True)
                for a, b in zip(a, b, strict=True)
            ):
                raise ValueError(
                    "the two were evaluated on different images or splits: call evaluate for both "
                    "with the same data, cv, n_repeats, test_size and random_state (not None)"
                )
        target, groups = one.target, one.groups
        tests = [test[~np.isnan(target[test])] for _, test in one.splits]
        predictions = [result.predictions for result in results]
    elif any(isinstance(result, Evaluation) for result in results):
        raise ValueError("compare two Evaluations or two arrays of predictions, not one of each")
    else:
        if y_true is None:
            raise ValueError("y_true is missing: give the opinion scores of the images")
        _, target, groups, *_ = _samples(results[0], y_true, groups, None)
        tests = [np.arange(len(target))]
        predictions = [[np.asarray(result, dtype=np.float64)] for result in results]
        for result in predictions:
            srocc_score(target, result[0])  # raises for lengths, NaN and infinity
    contents = np.unique(groups[np.concatenate(tests)])
    if len(contents) < 2:
        raise ValueError("at least two contents are needed to draw from")
    number = np.searchsorted(contents, groups)
    tests = [
        ([(_dense(target[test]), _dense(of[n])) for of in predictions], number[test])
        for n, test in enumerate(tests)
    ]
    random = check_random_state(random_state)
    even = np.full(len(contents), 1 / len(contents))
    return tests, (random.multinomial(len(contents), even) for _ in range(n_resamples))


def _dense(values):
    """Return integers in the order of the values: what ranks are made from, sorted once."""
    return np.unique(values, return_inverse=True)[1]


def _median_srocc(tests):
    """Return the median over splits of each model's SROCC, shape (n_models,)."""
    return np.median(
        [
            [weighted_srocc(*pair, np.ones(len(number))) for pair in pairs]
            for pairs, number in tests
        ],
        axis=0,
    )


def weighted_srocc(x, y, weights):
    """SROCC of a sample in which the i-th pair stands weights[i] times, in O(n).

    Parameters
    ----------
    x, y : ndarray of shape (n,), int
        Values, as small integers in their order.
    weights : ndarray of shape (n,), float

    Returns
    -------
    float
        NaN if there is no pair, 0 if a side is constant.
    """
    total = weights.sum()
    if total == 0:
        return np.nan
    centered = []
    for values in (x, y):
        counts = np.bincount(values, weights)
        rank = np.cumsum(counts) - counts / 2  # the mean of a value's ranks, less 1/2
        centered.append((rank - total / 2)[values])
    x, y = centered
    norm = np.sqrt((weights @ x**2) * (weights @ y**2))
    return float(weights @ (x * y) / norm) if norm > 0 else 0.0


def _resampled(tests, draws):
    """Return the median over splits of each model's SROCC, shape (n_resamples, n_models)."""
    found = []
    for draw in draws:
        values = np.array(
            [
                [weighted_srocc(*pair, draw[number].astype(float)) for pair in pairs]
                for pairs, number in tests
            ]
        )
        drawn = values[~np.isnan(values[:, 0])]  # a split may have none of the drawn contents
        if len(drawn):
            found.append(np.median(drawn, axis=0))
    return np.array(found)


def _interval(values, confidence):
    return tuple(map(float, np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])))


# --- tables


def _stacked(rows):
    return {name: np.array([row[name] for row in rows]) for name in METRICS}


def _nanmedian(values):
    values = values[~np.isnan(values)]
    return float(np.median(values)) if len(values) else np.nan


def _number(metric, value):
    if np.isnan(value):
        return "-"
    return f"{value:.4g}" if metric == "rmse" else f"{value:.3f}"


def _aligned(header, rows):
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in (header, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def _markdown(header, rows):
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _pandas():
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "A frame needs pandas, which is not installed: pip install pandas"
        ) from error
    return pd
