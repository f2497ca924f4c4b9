"""How scores are shown and written: CSV, JSON or a table."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, BinaryIO, Protocol

from skiqa.cli._files import printable, unwritable
from skiqa.distributed._rows import Row

if TYPE_CHECKING:
    from skiqa._types import Path as AnyPath

__all__ = [
    "HEADER",
    "WITH_BOUNDS",
    "CsvOutput",
    "JsonOutput",
    "Output",
    "TableOutput",
    "Together",
    "WholeStream",
    "WorstFirst",
    "csv_line",
    "drop_standard_output",
    "from_spreadsheet",
    "to_spreadsheet",
    "worst_first",
]


WITH_BOUNDS = list(Row._fields)
HEADER = WITH_BOUNDS[:-2]  # which columns there are without --interval


def worst_first(row: Row) -> tuple[bool, float]:
    """Return what rows are sorted by: the lowest score first, those without one last."""
    return row.score is None, row.score or 0


class Output(Protocol):
    """What scores are given to, file by file."""

    streams: bool  # whether each appears at once

    def add(self, row: Row) -> None: ...

    def close(self) -> None: ...


# What a spreadsheet takes for a formula, also behind the apostrophes that are put before it here.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def to_spreadsheet(text: str) -> str:
    """Return a text as a cell that no spreadsheet runs: what looks like a formula gets a '."""
    return "'" + text if _FORMULA.match(text) else text


def from_spreadsheet(cell: str) -> str:
    """Return the text that `to_spreadsheet` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def csv_line(fields: Iterable[str]) -> bytes:
    """Encode a row; bytes of file names that are no UTF-8 come out as they went in."""
    quoted = [
        '"' + field.replace('"', '""') + '"' if any(c in field for c in ',"\r\n') else field
        for field in fields
    ]
    return (",".join(quoted) + "\n").encode("utf-8", "surrogateescape")


def drop_standard_output() -> None:
    """Let what is still to be written to standard output go nowhere: nobody can take it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class WholeStream:
    """A stream whose bytes are out when `write` returns; Failure, and none of them, if not."""

    def __init__(self, stream: BinaryIO, name: AnyPath) -> None:
        self._stream, self._name = stream, name

    def write(self, data: bytes) -> None:
        start = None
        try:
            start = self._stream.tell() if self._stream.seekable() else None
            rest = memoryview(data)
            while rest:  # an unbuffered file may take a part
                rest = rest[self._stream.write(rest) :]
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:  # the disk is full
            if start is not None:
                with contextlib.suppress(OSError):
                    self._stream.truncate(start)  # no torn row
            if self._stream is getattr(sys.stdout, "buffer", None):
                drop_standard_output()  # or Python tries again at the end, with a traceback
            raise unwritable(self._name, error) from None


class CsvOutput:
    """One line a file, written as soon as it is known."""

    streams = True

    def __init__(
        self,
        stream: BinaryIO,
        name: AnyPath = "the output",
        columns: Sequence[str] = HEADER,
        header: bool = True,
    ) -> None:
        self._stream, self._columns = WholeStream(stream, name), columns
        if header:
            self._stream.write(csv_line(columns))

    def add(self, row: Row) -> None:
        """Write a line."""
        self._stream.write(csv_line(_cell(row, column) for column in self._columns))

    def close(self) -> None:
        """Do nothing: all lines are out."""


def _cell(row: Row, column: str) -> str:
    if column == "flags":
        return row.flag_text
    value = getattr(row, column)
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else to_spreadsheet(value)


class JsonOutput:
    """One list of objects; whole also after an interruption, whenever that comes."""

    streams = True

    def __init__(self, stream: BinaryIO, columns: Sequence[str] = HEADER) -> None:
        self._stream, self._columns = WholeStream(stream, "the output"), columns
        self._stream.write(b"[")
        self._before, self._end = b"\n", b"]\n"

    def add(self, row: Row) -> None:
        """Write an object."""
        # ASCII: file names that are no UTF-8 become \udc80.. and load as Python spells them
        text = json.dumps({column: getattr(row, column) for column in self._columns})
        self._stream.write(self._before + text.encode("ascii"))
        self._before, self._end = b",\n", b"\n]\n"

    def close(self) -> None:
        """End the list."""
        self._stream.write(self._end)


class TableOutput:
    """A table for people, in the order of `add`, with a note below it."""

    streams = False

    def __init__(self, note: str = "", columns: Sequence[str] = HEADER) -> None:
        self._rows: list[Row] = []
        self._note = note
        self._numbers = [name for name in ("score", "low", "high") if name in columns]

    def add(self, row: Row) -> None:
        """Keep a row."""
        self._rows.append(row)

    def close(self) -> None:
        """Print the table."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        if not self._rows:
            return
        table = Table(box=None, pad_edge=False)
        for column in self._numbers:
            table.add_column(column, justify="right")
        table.add_column("file", overflow="fold")
        for row in self._rows:
            name = Text(printable(row.file))
            if row.error:
                name.append(f"  {printable(row.error)}", style="red")
            if row.flags:
                name.append(f"  {row.flag_text}", style="yellow")
            values = [getattr(row, column) for column in self._numbers]
            table.add_row(*("-" if value is None else f"{value:.1f}" for value in values), name)
        console = Console()
        console.print(table)
        if self._note:
            console.print(Text(self._note, style="dim"))


class WorstFirst:
    """Rows that another output gets at the end, the worst ones first, or only these.

    Parameters
    ----------
    output : Output
    count : callable or None
        From the number of files with a score to that of the worst that are shown; None: all files.
    """

    streams = False

    def __init__(self, output: Output, count: Callable[[int], int] | None = None) -> None:
        self._output, self._count = output, count
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Keep a row: only all of them can be ordered."""
        self._rows.append(row)

    def shown(self) -> list[Row]:
        """Return the rows that are shown."""
        rows = sorted(self._rows, key=worst_first)
        if self._count is None:
            return rows
        n_scored = sum(row.score is not None for row in rows)
        return rows[: self._count(n_scored)]

    def close(self) -> None:
        """Show them."""
        for row in self.shown():
            self._output.add(row)
        self._output.close()


class Together:
    """Several outputs of the same rows."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self._outputs = outputs
        self.streams = any(output.streams for output in outputs)

    def add(self, row: Row) -> None:
        """Give each the row."""
        for output in self._outputs:
            output.add(row)

    def close(self) -> None:
        """Close each."""
        for output in self._outputs:
            output.close()
