"""Where scores go: CSV, JSON or a table; and CSV read again."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from skiqa._disk import whole_file
from skiqa.cli._files import Failure, printable, unwritable

if TYPE_CHECKING:
    from skiqa._types import Path as AnyPath

__all__ = [
    "CsvOutput",
    "JsonOutput",
    "Output",
    "TableOutput",
    "csv_file",
    "csv_line",
    "read_scored",
]

HEADER = ["file", "score", "error"]


class Output(Protocol):
    """What scores are given to, file by file."""

    streams: bool  # whether each appears at once

    def add(self, file: str, score: float | None, error: str | None) -> None: ...

    def close(self) -> None: ...


def csv_line(fields: Iterable[str]) -> bytes:
    """Encode a row; bytes of file names that are no UTF-8 come out as they went in."""
    quoted = [
        '"' + field.replace('"', '""') + '"' if any(c in field for c in ',"\r\n') else field
        for field in fields
    ]
    return (",".join(quoted) + "\n").encode("utf-8", "surrogateescape")


class CsvOutput:
    """One line a file, written as soon as it is known."""

    streams = True

    def __init__(self, stream: BinaryIO, name: AnyPath = "the output", header: bool = True) -> None:
        self._stream, self._name = stream, name
        if header:
            self._write(HEADER)

    def add(self, file: str, score: float | None, error: str | None) -> None:
        """Write a line."""
        self._write([file, "" if score is None else repr(score), error or ""])

    def close(self) -> None:
        """Do nothing: all lines are out."""

    def _write(self, fields: Sequence[str]) -> None:
        try:
            self._stream.write(csv_line(fields))
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:  # the disk is full
            raise unwritable(self._name, error) from None


class JsonOutput:
    """One list of objects; whole also after an interruption."""

    streams = True

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._separator = b"[\n"

    def add(self, file: str, score: float | None, error: str | None) -> None:
        """Write an object."""
        # ASCII: file names that are no UTF-8 become \udc80.. and load as Python spells them
        row = json.dumps(dict(zip(HEADER, (file, score, error), strict=True)))
        self._stream.write(self._separator + row.encode("ascii"))
        self._stream.flush()
        self._separator = b",\n"

    def close(self) -> None:
        """End the list."""
        self._stream.write(b"[]\n" if self._separator == b"[\n" else b"\n]\n")
        self._stream.flush()


class TableOutput:
    """A table for people, worst first, unreadable files last."""

    streams = False

    def __init__(self) -> None:
        self._rows: list[tuple[str, float | None, str | None]] = []

    def add(self, file: str, score: float | None, error: str | None) -> None:
        """Keep a row: only all of them can be ordered."""
        self._rows.append((file, score, error))

    def close(self) -> None:
        """Print the table."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        if not self._rows:
            return
        table = Table("score", "file", box=None, pad_edge=False)
        table.columns[0].justify = "right"
        table.columns[1].overflow = "fold"
        for file, score, error in sorted(self._rows, key=lambda row: (row[1] is None, row[1] or 0)):
            name = Text(printable(file))
            if error:
                name.append(f"  {printable(error)}", style="red")
            table.add_row("-" if score is None else f"{score:.1f}", name)
        Console().print(table)


def read_scored(path: Path) -> tuple[list[list[str]], bool]:
    """Return the rows with a score of an earlier run, and whether there is anything else.

    The last line of a run that was killed may be torn. It ends in no newline, or in one that is
    within quotes: every whole row has an even number of these.
    """
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    whole = text[: text.rfind("\n") + 1]
    while whole.count('"') % 2:
        whole = whole[: whole.rfind("\n", 0, -1) + 1]
    rows = list(csv.reader(io.StringIO(whole, newline="")))
    header = ",".join(HEADER)
    ours = rows[0] == HEADER if rows else header.startswith(text)
    if not ours or any(len(row) != len(HEADER) for row in rows):
        raise Failure(
            f"{printable(path)} was not written by `skiqa score`: its lines are not "
            f"`{header}`. Give another --csv file, or leave out --resume."
        )
    scored = [row for row in rows[1:] if row[1]]
    return scored, whole != text or len(scored) < len(rows) - 1 or not rows


@contextlib.contextmanager
def csv_file(path: Path, scored: list[list[str]] | None, rewrite: bool) -> Iterator[CsvOutput]:
    """Open the CSV file for more rows behind those `scored` (None: a new file)."""
    try:
        if rewrite:  # without the torn and the failed rows, which come again
            with whole_file(path) as file:
                file.write(b"".join(map(csv_line, [HEADER, *(scored or [])])))
        stream = open(path, "wb" if scored is None else "ab")  # noqa: SIM115 - closed below
    except OSError as error:
        raise unwritable(path, error) from None
    with stream:
        yield CsvOutput(stream, path, header=scored is None)
