"""The CSV file of `skiqa score`: written row by row, gone on with, and never by two runs at once.

Beside FILE stands FILE.skiqa.json, its companion, which says what the scores are of: the model, the
viewing size, the level of intervals, how films, damage and tables are taken, and the version of
skiqa. It is locked while a run lives.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, cast

import click

from skiqa import __version__
from skiqa._disk import lock_file, whole_file
from skiqa.cli._files import Failure, printable, unwritable
from skiqa.cli._outputs import (
    HEADER,
    WITH_BOUNDS,
    CsvOutput,
    WholeStream,
    from_spreadsheet,
    worst_first,
)
from skiqa.distributed._rows import FLAG_BREAK, Row

if TYPE_CHECKING:
    from skiqa._sources.films import Films
    from skiqa._types import Path as AnyPath

__all__ = ["about_scores", "compare", "is_replaceable", "locked"]

# What two runs must have in common to write one file: key in the companion -> what it is called.
_COMPARED = {
    "model": "model",
    "max_pixels": "viewing size",
    "damaged": "way with damaged files",
    "interval": "interval",
    "films": "choice of frames",
    "column": "column of pictures",
    "skiqa": "version of skiqa",
}

_NO_INTERVAL = "none"


def about_scores(
    model: AnyPath | None,
    max_pixels: int | str | None,
    allow_damaged: bool,
    interval: float | None,
    films: Films,
    column: str | None,
) -> dict[str, str]:
    """Return what decides the scores of a run: the digest of the model's file, the options."""
    from skiqa._network.weight_files import BUNDLED

    with open(BUNDLED if model is None else model, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = "the model's own" if max_pixels is None else str(max_pixels)
    damaged = "scored" if allow_damaged else "unreadable"
    return {
        "model": digest,
        "max_pixels": size,
        "damaged": damaged,
        "interval": _NO_INTERVAL if interval is None else str(interval),
        "films": str(films),
        "column": "the one that can be it" if column is None else column,
        "skiqa": __version__,
    }


def is_replaceable(path: AnyPath) -> bool:
    """Whether a path is, or may become, a file to be locked and rewritten: no pipe, no device."""
    return os.path.isfile(path) or not os.path.lexists(path)


@contextlib.contextmanager
def locked(path: Path, about: dict[str, str]) -> Iterator[CsvRun]:
    """Lock the CSV file `path` for one run, by its companion, of scores as `about_scores` says."""
    companion = path.with_name(path.name + ".skiqa.json")
    try:
        file = open(companion, "a+b", buffering=0)  # noqa: SIM115 - closed below
    except OSError as error:
        raise unwritable(companion, error) from None
    with file:
        _lock(file, path)
        run = CsvRun(path, file, about)
        try:
            yield run
        finally:
            if os.fstat(file.fileno()).st_size == 0:  # nothing was written
                with contextlib.suppress(OSError):
                    os.unlink(companion)


def _lock(file: FileIO, path: Path) -> None:
    busy = Failure(
        f"another run is writing {printable(path)}: wait for it, or give another --csv file"
    )
    try:
        lock_file(cast("IO[bytes]", file))
    except (BlockingIOError, PermissionError):
        raise busy from None
    except OSError:  # a file system without locks
        return
    if not os.path.exists(file.name) or not os.path.samestat(
        os.fstat(file.fileno()), os.stat(file.name)
    ):  # that run ended, and took the file away, between opening and locking
        raise busy


class CsvRun:
    """A locked CSV file.

    Parameters
    ----------
    path : Path
    companion : file object
    about : dict
        What decides the scores of this run.
    """

    def __init__(self, path: Path, companion: FileIO, about: dict[str, str]) -> None:
        self.path, self._companion, self._about = path, companion, about
        self._columns = HEADER if about["interval"] == _NO_INTERVAL else WITH_BOUNDS
        self.scored: dict[str, Row] = {}  # of an earlier run
        self._is_new, self._rewrite = True, False

    def read(self) -> None:
        """Read the scores of an earlier run, which must be of the same model."""
        if not self.path.exists():
            return
        self._is_new = False
        try:
            self.scored, columns, self._rewrite = read_scored(self.path)
        except OSError as error:
            why = error.strerror or error
            raise Failure(f"cannot read {printable(self.path)}: {why}") from None
        if not self.scored:
            self._rewrite |= columns != self._columns
            return
        self._compare()
        if columns != self._columns:  # and the companion is lost
            raise Failure(
                f"cannot go on with {printable(self.path)}: its columns are {','.join(columns)}, "
                "as --interval decides. Give what it was begun with, another --csv file, or "
                "--overwrite to begin anew."
            )

    def _compare(self) -> None:
        self._companion.seek(0)
        compare(self.path, self._companion.name, self._companion.read(), self._about, "--csv file")

    @contextlib.contextmanager
    def opened(self) -> Iterator[CsvOutput]:
        """Open the file for more rows behind those that are `scored`."""
        try:
            if self._rewrite:  # without the torn and the failed rows, which come again
                self._write_whole(self.scored.values())
            # unbuffered: what cannot be written is not tried again when the file is closed
            stream = open(self.path, "wb" if self._is_new else "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise unwritable(self.path, error) from None
        with stream:
            output = CsvOutput(
                cast("BinaryIO", stream), self.path, self._columns, header=self._is_new
            )
            if not self.scored:
                self._write_companion()
            yield output

    def _write_companion(self) -> None:
        """Say what the scores will be of; before the first, and not before the old are gone."""
        self._companion.truncate(0)
        stream = WholeStream(cast("BinaryIO", self._companion), self._companion.name)
        stream.write(json.dumps(self._about, indent=1).encode() + b"\n")

    def sort(self) -> None:
        """Put the worst rows first."""
        _, _, rows = _parse(self.path)
        rows.sort(key=worst_first)
        try:
            self._write_whole(rows)
        except OSError as error:
            raise unwritable(self.path, error) from None

    def _write_whole(self, rows: Iterable[Row]) -> None:
        with whole_file(self.path) as file:
            output = CsvOutput(file, self.path, self._columns)
            for row in rows:
                output.add(row)


def compare(
    path: AnyPath, companion: AnyPath, text: bytes, about: dict[str, str], option: str
) -> None:
    """Fail if scores at `path` are of another run than `about` says, by what `companion` holds."""
    name = printable(path)
    try:
        earlier = json.loads(text)
        since = {key: about[key] for key in ("films", "column")}  # older ones do not say
        earlier = since | earlier
        earlier = {key: str(earlier[key]) for key in _COMPARED}
    except (ValueError, KeyError, TypeError):
        click.echo(
            f"Warning: {printable(companion)} does not say which model gave the scores in {name}: "
            "they are taken for this one's",
            err=True,
        )
        return
    differing = [
        f"{word} ({_short(earlier[key])}, now {_short(about[key])})"
        for key, word in _COMPARED.items()
        if earlier[key] != about[key]
    ]
    if differing:
        raise Failure(
            f"cannot go on with {name}: its scores have another {' and '.join(differing)}. "
            f"Give what it was begun with, another {option}, or --overwrite to begin anew."
        )


def _short(value: str) -> str:
    return f"{value[:12]}.." if len(value) == 64 else value


def read_scored(path: Path) -> tuple[dict[str, Row], list[str], bool]:
    """Return the rows with a score, by file, the columns, and whether a CSV file holds more."""
    whole, columns, rows = _parse(path)
    scored: dict[str, Row] = {}
    twice = 0
    for row in rows:
        if row.score is None:
            continue
        twice += row.file in scored
        if (other := scored.setdefault(row.file, row)).score != row.score:
            raise Failure(
                f"{printable(path)} has two scores of {printable(row.file)}, {other.score} and "
                f"{row.score}: delete the wrong row, or give --overwrite to begin anew."
            )
    if twice:
        click.echo(f"{printable(path)}: {twice} rows stood there twice; one is kept", err=True)
    return scored, columns, not whole or len(scored) < len(rows)


def _parse(path: Path) -> tuple[bool, list[str], list[Row]]:
    """Return whether the file is whole, its columns, and its rows.

    The last line of a run that was killed may be torn. It ends in no newline, or in one that is
    within quotes: every whole row has an even number of these.
    """
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    whole = text[: text.rfind("\n") + 1]
    while whole.count('"') % 2:
        whole = whole[: whole.rfind("\n", 0, -1) + 1]
    columns, *rows = list(csv.reader(io.StringIO(whole, newline=""))) or [[]]
    ours = columns in (HEADER, WITH_BOUNDS) if columns else ",".join(WITH_BOUNDS).startswith(text)
    if not ours or not all(
        len(row) == len(columns) and all(map(_is_number, (row[1], *row[4:]))) for row in rows
    ):
        raise Failure(
            f"{printable(path)} was not written by `skiqa score`: its lines are not "
            f"`{','.join(HEADER)}`. Give another --csv file, or --overwrite to replace it."
        )
    found = [
        Row(
            from_spreadsheet(file),
            float(score) if score else None,
            from_spreadsheet(error) or None,
            tuple(flags.split(FLAG_BREAK)) if flags else (),
            *(float(bound) if bound else None for bound in bounds),
        )
        for file, score, error, flags, *bounds in rows
    ]
    return bool(columns) and whole == text, columns, found


def _is_number(text: str) -> bool:
    try:
        return not text or float(text) == float(text)
    except ValueError:
        return False
