"""cross_database: train on each database, test on every other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch, _safe_indexing
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.parallel import Parallel, delayed

from skiqa._types import Floats
from skiqa.model_selection._evaluate import CONSTRAINTS, evaluate
from skiqa.model_selection._evaluation import FEW, apply_mapping, score_predictions
from skiqa.model_selection._fitting import (
    features_cached,
    fit_by_content,
    warned_once,
    warnings_told,
)
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


@validate_params(
    CONSTRAINTS
    | {
        "datasets": [dict, list, tuple],
        "n_repeats": [Interval(Integral, 0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def cross_database(
    estimator: BaseEstimator,
    datasets: Sequence[Bunch] | Mapping[str, Bunch],
    *,
    n_repeats: int = 10,
    test_size: float = 0.2,
    mapping: str | None = "logistic4",
    random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
) -> CrossDatabase:
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
    samples = {name: check_samples(data) for name, data in _by_name(datasets).items()}
    splitting = {"n_repeats": n_repeats, "test_size": test_size, "random_state": random_state}
    with features_cached(estimator, [of_one.X for of_one in samples.values()]) as prepared:
        told = Parallel(n_jobs=n_jobs)(
            delayed(warnings_told)(_scores_on_others, prepared, samples, name, mapping)
            for name in samples
        )
        rows = warned_once(told, "databases")
        for (name, own), row in zip(samples.items(), rows, strict=True):
            row[name] = dict.fromkeys(METRICS, np.nan)
            if n_repeats:
                options = {**splitting, "mapping": mapping, "n_jobs": n_jobs}
                found = evaluate(prepared, own.X, own.y, own.groups, **options)
                row[name] = found.summary()["median"]
    table = {
        metric: np.array([[row[name][metric] for name in samples] for row in rows])
        for metric in METRICS
    }
    few = [name for name, of_one in samples.items() if np.isfinite(of_one.y).sum() < FEW]
    return CrossDatabase(
        names=list(samples), **table, n_repeats=n_repeats, mapping=mapping, few=few
    )


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
    few : list of str
        Names of databases of fewer than 30 images: of those nothing can be told.
    """

    names: list[str]
    srocc: Floats
    plcc: Floats
    krocc: Floats
    rmse: Floats
    n_repeats: int
    mapping: str | None
    few: list[str]

    @property
    def frame(self) -> pd.DataFrame:
        """The scores as a pandas DataFrame, a row for each pair of databases."""
        rows = [
            {"train": train, "test": test, **{metric: self[metric][i, j] for metric in METRICS}}
            for i, train in enumerate(self.names)
            for j, test in enumerate(self.names)
        ]
        return import_pandas().DataFrame(rows)

    def to_markdown(self, metric: str = "srocc") -> str:
        """Return the matrix of one metric as a table in Markdown.

        Parameters
        ----------
        metric : {"srocc", "plcc", "krocc", "rmse"}, default="srocc"

        Returns
        -------
        str
        """
        return markdown_table(
            [f"{metric.upper()}, train \\ test", *self.names], self._cells(metric)
        )

    def _cells(self, metric: str) -> list[list[str]]:
        return [
            [name, *(format_score(metric, value) for value in values)]
            for name, values in zip(self.names, self[metric], strict=True)
        ]

    def __repr__(self) -> str:
        title = "SROCC, a row for each database trained on, a column for each tested on"
        if self.n_repeats:
            title += f";\non the diagonal the median of {self.n_repeats} splits within the database"
        text = f"{title}\n\n" + aligned_table(["", *self.names], self._cells("srocc"))
        if self.few:
            text += f"\n\nOf fewer than {FEW} images ({', '.join(self.few)}) nothing can be told."
        return text

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), "frame", "to_markdown"]


def _by_name(datasets: Sequence[Bunch] | Mapping[str, Bunch]) -> dict[str, Bunch]:
    if isinstance(datasets, Mapping) and "data" not in datasets:
        databases = dict(datasets)
    else:
        listed = [datasets] if isinstance(datasets, Mapping) else list(datasets)  # one Bunch
        names = [data.get("name", f"database {n}") for n, data in enumerate(listed, 1)]
        databases = dict(zip(names, listed, strict=True))
        if len(databases) < len(names):
            raise ValueError(f"two databases have one name: {names}. Give a dict of names.")
    if len(databases) < 2:
        raise ValueError("cross_database needs two or more databases")
    return databases


def _scores_on_others(
    estimator: BaseEstimator, samples: Mapping[str, Samples], name: str, mapping: str | None
) -> dict[str, dict[str, float]]:
    """Train on one database; return the scores on each of the others."""
    own = samples[name]
    model, _ = fit_by_content(estimator, own.X, own.y, own.groups)
    row = {}
    for other, tested in samples.items():
        if other != name:
            labelled = np.flatnonzero(~np.isnan(tested.y))
            y, X = tested.y[labelled], _safe_indexing(tested.X, labelled)
            predicted = np.asarray(model.predict(X), dtype=np.float64)
            row[other] = score_predictions(y, predicted, *apply_mapping(y, predicted, mapping))
    return row
