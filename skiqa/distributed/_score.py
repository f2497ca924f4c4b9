"""Rows of a whole collection, by this process or by a cluster's workers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING

from skiqa._inputs.addresses import MissingPackage
from skiqa._sources.films import EVENLY, Films
from skiqa._types import Path
from skiqa.distributed._parts import Part, parts_of, rows_of
from skiqa.distributed._rows import Row

if TYPE_CHECKING:
    from distributed import Client
    from sklearn.pipeline import Pipeline

__all__ = ["iter_parts", "score"]

FILES = 200  # that a worker is given at a time: what is lost when it dies


def score(
    source: Path | Iterable[Path],
    client: Client | None = None,
    *,
    model: Pipeline | None = None,
    interval: float | None = None,
    column: str | None = None,
    n_jobs: int | None = None,
) -> Generator[Row, None, None]:
    """Score the pictures of files, addresses and shards, on the workers of a cluster of Dask's.

    Parameters
    ----------
    source : str, path, or iterable of these
        Paths and addresses of pictures and shards, as of :func:`~skiqa.sources.iter_images`; the
        workers must be able to read them under these names.
    client : distributed.Client or None, default=None
        None: this process does the work.
    model : Pipeline or None, default=None
        As of :func:`~skiqa.persistence.iter_quality`. None: the one that comes with skiqa.
    interval, column
        As of :func:`~skiqa.persistence.iter_quality` and :func:`~skiqa.sources.iter_images`.
    n_jobs : int or None, default=None
        Photos in work at a time in this process; None: the model's own. A worker has one for each
        of its threads.

    Yields
    ------
    Row
        One for each picture, in order; without a score where it could not be had.

    Raises
    ------
    ImportError
        If a package is missing that reads a source, here or there.
    ValueError
        If it cannot be told which column of a table holds pictures, or `interval` is none that the
        model can tell.

    Notes
    -----
    A shard, or 200 files, is a task. The model goes to each worker once, also to one that comes
    later. A task whose worker dies is done again by another one, and gives the same rows; where
    four have died of it, each of its files, or the shard, is a row that says so.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skiqa.distributed import score
    >>> rows = list(score(load_sample_images().filenames))
    >>> [row.file[-10:] for row in rows], rows[0].error
    (['/china.jpg', 'flower.jpg'], None)
    """
    listed = [source] if isinstance(source, str | os.PathLike) else source
    places = [os.fspath(place) for place in listed]
    if model is None:
        from skiqa.persistence import load_model

        model = load_model()
    parts = parts_of(places, FILES if client is not None else max(len(places), 1))
    found = iter_parts(parts, client, model, interval=interval, column=column, n_jobs=n_jobs)
    with contextlib.closing(found):
        for _, rows in found:
            yield from rows


def iter_parts(
    parts: Sequence[Part],
    client: Client | None,
    model: Pipeline,
    *,
    interval: float | None = None,
    column: str | None = None,
    films: Films = EVENLY,
    n_jobs: int | None = None,
) -> Generator[tuple[Part, Iterable[Row]], None, None]:
    """Yield parts and their rows, in order; without a cluster rows are computed as they are drawn.

    Parameters
    ----------
    parts : sequence of Part
    client, model, interval, column, films, n_jobs
        As of `score`.
    """
    if client is None:
        for part in parts:
            yield part, rows_of(part, model, interval, column, films, n_jobs)
        return
    try:
        from skiqa.distributed._dask import iter_parts_of_workers
    except ImportError:
        raise MissingPackage("Dask needs an extra: pip install 'skiqa[dask]'") from None
    yield from iter_parts_of_workers(parts, client, model, interval, column, films)
