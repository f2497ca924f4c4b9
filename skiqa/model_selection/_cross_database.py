"""cross_database: train on each database, test on every other."""

from numbers import Integral

import numpy as np
from sklearn.utils import Bunch, _safe_indexing
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.parallel import Parallel, delayed

from skiqa.model_selection._evaluate import (
    CONSTRAINTS,
    evaluate,
    fit_by_content,
    frozen_once,
    mapped_by,
    samples_of,
    scores_of,
)
from skiqa.model_selection._tables import METRICS, aligned, import_pandas, markdown, number


@validate_params(
    {
        **CONSTRAINTS,
        "datasets": [dict, list, tuple],
        "n_repeats": [Interval(Integral, 0, None, closed="left")],
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
    samples = {name: samples_of(data, None, None, None) for name, data in named.items()}
    inputs = [X for X, *_ in samples.values()]
    with frozen_once(estimator, inputs) as estimator:
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
        return import_pandas().DataFrame(rows)

    def to_markdown(self, metric="srocc"):
        """Return the matrix of one metric as a table in Markdown.

        Parameters
        ----------
        metric : {"srocc", "plcc", "krocc", "rmse"}, default="srocc"

        Returns
        -------
        str
        """
        return markdown([f"{metric.upper()}, train \\ test", *self.names], self._cells(metric))

    def _cells(self, metric):
        return [
            [name, *(number(metric, value) for value in values)]
            for name, values in zip(self.names, self[metric], strict=True)
        ]

    def __repr__(self):
        title = "SROCC, a row for each database trained on, a column for each tested on"
        if self.n_repeats:
            title += f";\non the diagonal the median of {self.n_repeats} splits within the database"
        return f"{title}\n\n" + aligned(["", *self.names], self._cells("srocc"))

    def __dir__(self):
        return [*super().__dir__(), "frame", "to_markdown"]


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


def _one_database(estimator, samples, name, mapping):
    X, y, groups, *_ = samples[name]
    model, _ = fit_by_content(estimator, X, y, groups)
    row = {}
    for other, (X, y, *_) in samples.items():
        if other != name:
            labelled = np.flatnonzero(~np.isnan(y))
            predicted = np.asarray(model.predict(_safe_indexing(X, labelled)), dtype=np.float64)
            mapped = mapped_by(y[labelled], predicted, mapping)
            row[other] = scores_of(y[labelled], predicted, mapped)
    return row
