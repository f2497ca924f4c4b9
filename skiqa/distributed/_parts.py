"""A collection cut into parts: what a worker does at a time, and what a file of Parquet holds."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from skiqa._disk import whole_file
from skiqa._inputs.addresses import public_name
from skiqa._sources.films import Films, film_of
from skiqa._sources.kinds import is_shard
from skiqa.distributed._rows import Row, iter_rows

if TYPE_CHECKING:
    import pyarrow as pa
    from sklearn.pipeline import Pipeline

__all__ = ["ROWS", "Part", "left_of", "parts_of", "parts_there", "rows_of", "write_part"]

ROWS = 10_000  # of a part of single files; and of what is written of a shard at a time


class Part(NamedTuple):
    """Some files, or one shard.

    Parameters
    ----------
    number : int
        Counted up from 0.
    places : tuple of str
        Paths and addresses, as of :func:`~skiqa.sources.iter_images`.
    """

    number: int
    places: tuple[str, ...]

    @property
    def digest(self) -> str:
        """By which the part is known again, whatever its number is then."""
        names = "\0".join(map(public_name, self.places))
        return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    @property
    def file_name(self) -> str:
        """What its file is called."""
        return f"part-{self.number:06d}-{self.digest}.parquet"


def parts_of(places: Sequence[str], rows: int = ROWS) -> list[Part]:
    """Cut places into parts, in order: each shard is one, and each `rows` files between shards."""
    runs: list[list[str]] = []
    room = 0
    for place in places:
        if is_shard(place):
            runs.append([place])
            room = 0
        elif room:
            runs[-1].append(place)
            room -= 1
        else:
            runs.append([place])
            room = rows - 1
    return [Part(number, tuple(run)) for number, run in enumerate(runs)]


def rows_of(
    part: Part,
    model: Pipeline,
    interval: float | None,
    column: str | None,
    films: Films,
    n_jobs: int | None,
) -> Generator[Row, None, None]:
    """Yield the rows of a part."""
    from skiqa.sources import iter_images

    with contextlib.closing(iter_images(part.places, column=column, films=films)) as pictures:
        yield from iter_rows(model, pictures, n_jobs, interval, films.per_view)


def parts_there(folder: Path) -> dict[str, Path]:
    """Return the files of the parts that a folder holds, by digest."""
    return {path.stem.rpartition("-")[2]: path for path in folder.glob("part-*.parquet")}


def left_of(parts: Sequence[Part], folder: Path) -> tuple[list[Part], int]:
    """Return what of parts a folder does not hold, and how many errors are among what it does.

    A shard is there with its part; a file, with a row in whatever part: the files about it may
    have been others then.
    """
    there = parts_there(folder)
    n_errors = 0
    missing: list[Part] = []
    for part in parts:
        if path := there.pop(part.digest, None):
            errors = _read(path)["error"]
            n_errors += len(errors) - errors.null_count
        else:
            missing.append(part)
    files = [place for part in missing for place in part.places if not is_shard(place)]
    names = dict(zip(files, _texts(map(public_name, files)), strict=True))
    wanted, known = set(names.values()), set()
    for path in there.values() if wanted else ():
        for row in _read(path).to_pylist():
            if (file := film_of(row["file"]) or row["file"]) in wanted:
                known.add(file)
                n_errors += row["error"] is not None
    left = (
        part._replace(places=tuple(p for p in part.places if names.get(p) not in known))
        for part in missing
    )
    return [part for part in left if part.places], n_errors


def _read(path: Path) -> pa.Table:
    """Return which files a part is about, and their errors."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = ["file", "error"]
            return file.read(columns).select(columns)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} cannot be read as a part ({error})") from None


def write_part(path: Path, rows: Iterable[Row], model: str) -> Iterator[Row]:
    """Write rows into a file of Parquet that appears when it is whole; they are passed on.

    Parameters
    ----------
    path : Path
    rows : iterable of Row
    model : str
        The digest of the model's file: a column of its own.

    Yields
    ------
    Row
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    some: list[Row] = []
    with whole_file(path) as file, pq.ParquetWriter(file, schema) as writer:
        for row in rows:
            some.append(row)
            if len(some) == ROWS:
                writer.write_table(pa.table(_columns(some, model), schema=schema))
                some.clear()
            yield row
        if some:
            writer.write_table(pa.table(_columns(some, model), schema=schema))


def _columns(rows: Sequence[Row], model: str) -> list[list[object]]:
    columns: list[list[object]] = [_texts(row.file for row in rows)]
    columns += [[getattr(row, name) for row in rows] for name in ("score", "low", "high")]
    columns += [[list(row.flags) for row in rows], _texts(row.error for row in rows)]
    columns.append([model] * len(rows))
    return columns


def _schema() -> pa.Schema:
    import pyarrow as pa

    number, text = pa.float64(), pa.string()
    kinds = {"file": text, "score": number, "low": number, "high": number}
    kinds |= {"flags": pa.list_(text), "error": text, "model": text}
    return pa.schema(list(kinds.items()))


def _texts(values: Iterable[str | None]) -> list[object]:
    """Return texts that UTF-8 can hold: other bytes of file names as escapes."""
    return [
        None if value is None else os.fsencode(value).decode("utf-8", "backslashreplace")
        for value in values
    ]
