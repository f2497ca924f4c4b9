"""Scores for the batches of engines such as Ray Data and Spark."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from skiqa._sources.named import Named
from skiqa._types import Path
from skiqa.distributed._rows import Row, iter_rows

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = ["QualityScorer"]

Batch = TypeVar("Batch")


class QualityScorer:
    """A callable that takes a batch and returns it with the columns of its scores.

    Parameters
    ----------
    model : Pipeline, str, path or None, default=None
        As of :func:`~skiqa.persistence.iter_quality`, or the file of one, which is loaded where
        the first batch comes. None: the one that comes with skiqa.
    column : str, default="image"
        Where a batch has its pictures: bytes of encoded files, paths, addresses, rows {"bytes",
        "path"}, or arrays.
    interval : float in (0, 1) or None, default=None
        As of :func:`~skiqa.persistence.iter_quality`.
    n_jobs : int or None, default=1
        Photos in work at a time.

    Notes
    -----
    It can be pickled; a model that it loads itself is loaded anew where it comes to.

    The columns are "score" (NaN: it has none), "error" (None: there is none), "flags" (one text,
    several of them parted by "; ") and, with an interval, "low" and "high".

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa.distributed import QualityScorer
    >>> batch = {"id": np.arange(2), "image": np.zeros((2, 64, 96, 3), np.uint8)}
    >>> scored = QualityScorer()(batch)
    >>> list(scored), scored["flags"][0]
    (['id', 'image', 'score', 'error', 'flags'], 'blank; unlike')
    """

    def __init__(
        self,
        model: Pipeline | Path | None = None,
        *,
        column: str = "image",
        interval: float | None = None,
        n_jobs: int | None = 1,
    ) -> None:
        self.model = model
        self.column = column
        self.interval = interval
        self.n_jobs = n_jobs
        self._loaded: Pipeline | None = None

    def __call__(self, batch: Batch) -> Batch:
        """Score a batch.

        Parameters
        ----------
        batch : dict of arrays, pyarrow Table or RecordBatch, or pandas DataFrame

        Returns
        -------
        batch : of the same kind
            With more columns.

        Raises
        ------
        TypeError
            If it is something else.
        ValueError
            If it lacks the column of pictures, or has one of the columns that are added.
        """
        found: Any = batch
        if isinstance(batch, Mapping):
            columns = self._columns(list(batch), batch)
            return found | columns
        if hasattr(batch, "append_column"):  # Arrow
            columns = self._columns(found.schema.names, {self.column: _pylist(found, self.column)})
            for name, values in columns.items():
                found = found.append_column(name, _arrow(values))
            return found
        if hasattr(batch, "assign"):  # pandas
            import pandas as pd

            columns = self._columns(list(found.columns), found)
            # by their own dtypes: pandas makes texts of objects, and NaN of None
            return found.assign(
                **{k: pd.Series(v, found.index, v.dtype) for k, v in columns.items()}
            )
        raise TypeError(
            "A batch is a dict of arrays, a pyarrow Table or RecordBatch, or a pandas DataFrame, "
            f"not {type(batch).__name__}."
        )

    def _columns(self, there: list[Any], batch: Any) -> dict[str, Any]:
        """Return the columns that are added."""
        if self.column not in there:
            raise ValueError(f"A batch has no column {self.column!r}; its columns are {there}.")
        names = ["score", "error", "flags", *(("low", "high") if self.interval else ())]
        if taken := [name for name in names if name in there]:
            raise ValueError(f"A batch has columns {taken} already: drop or rename them before.")
        pictures = (Named(str(row), image) for row, image in enumerate(batch[self.column]))
        rows = list(iter_rows(self._scorer(), pictures, self.n_jobs, self.interval))
        return {name: _values(name, rows) for name in names}

    def _scorer(self) -> Pipeline:
        if self.model is not None and not isinstance(self.model, str | os.PathLike):
            return self.model
        if self._loaded is None:
            from skiqa.persistence import load_model

            self._loaded = load_model(self.model)
        return self._loaded

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loaded": None}


def _values(name: str, rows: list[Row]) -> Any:
    if name in ("error", "flags"):
        texts = [row.error if name == "error" else row.flag_text for row in rows]
        return np.array(texts, dtype=object)
    numbers = [getattr(row, name) for row in rows]
    return np.array([np.nan if number is None else number for number in numbers], dtype=float)


def _pylist(batch: Any, column: str) -> list[Any]:
    return batch.column(column).to_pylist() if column in batch.schema.names else []


def _arrow(values: Any) -> Any:
    import pyarrow as pa

    return pa.array(values, type=pa.string() if values.dtype == object else pa.float64())
