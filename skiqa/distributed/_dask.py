"""Parts as tasks of Dask's."""

from __future__ import annotations

import contextlib
import uuid
from collections import deque
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from distributed import Client, Future, KilledWorker, WorkerPlugin, get_worker

from skiqa._inputs.addresses import MissingPackage, public_name
from skiqa._network.engine import GraphError
from skiqa._sources.films import Films
from skiqa._sources.tables import ColumnError
from skiqa.distributed._parts import Part, rows_of
from skiqa.distributed._rows import Row

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = ["iter_parts_of_workers"]

PARTS_AHEAD = 4  # for each thread of the cluster: in work, or done and waiting

# What a user can mend: handed over, for Dask logs the traceback of what a task raises.
MENDABLE = (ColumnError, GraphError, MemoryError, MissingPackage)


class _Model(WorkerPlugin):
    """A model that each worker is given once, when it joins; scattered data may die with theirs."""

    def __init__(self, model: Pipeline) -> None:
        self.model = model


def iter_parts_of_workers(
    parts: Sequence[Part],
    client: Client,
    model: Pipeline,
    interval: float | None,
    column: str | None,
    films: Films,
) -> Generator[tuple[Part, list[Row]], None, None]:
    """Yield parts and their rows, in order."""
    name = f"skiqa-{uuid.uuid4()}"
    client.register_plugin(_Model(model), name=name)
    remaining = iter(parts)
    waiting: deque[tuple[Part, Future]] = deque()

    def top_up() -> None:
        n_ahead = PARTS_AHEAD * max(1, sum(client.nthreads().values()))
        while len(waiting) < n_ahead and (part := next(remaining, None)) is not None:
            task = client.submit(_rows, name, part, interval, column, films, pure=False)
            waiting.append((part, task))

    try:
        top_up()
        while waiting:
            part, task = waiting.popleft()
            rows = _result(part, task)
            del task  # the cluster need not keep its rows
            top_up()
            yield part, rows
    finally:
        client.cancel([task for _, task in waiting])
        with contextlib.suppress(OSError):  # a worker that is dying needs not be told
            client.unregister_worker_plugin(name)


def _rows(
    name: str, part: Part, interval: float | None, column: str | None, films: Films
) -> list[Row] | Exception:
    """Score a part, in a worker."""
    plugin: Any = get_worker().plugins[name]
    try:
        return list(rows_of(part, plugin.model, interval, column, films, n_jobs=1))
    except MENDABLE as error:
        return error


def _result(part: Part, task: Future) -> list[Row]:
    try:
        rows: list[Row] | Exception = task.result()
    except KilledWorker as error:
        why = f"workers died of what was to be read here ({error.allowed_failures + 1} of them)"
        return [Row(public_name(place), None, why) for place in part.places]
    if isinstance(rows, Exception):
        raise rows
    return rows
