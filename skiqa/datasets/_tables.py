"""Reading score files: CSV, Excel sheets, MATLAB's, and lines of text."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from skiqa._types import Floats

Rows: TypeAlias = list[list[Any]]  # cells are str, number or None

# what programs write where there is nothing, in lower case
MISSING = {"", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "none", "-"}

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_MARKS = {  # of the encodings that begin with one; UTF-32's begins with UTF-16's
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_rows(
    file: Path, sheet: str | None = None, fits: Callable[[Rows], object] | None = None
) -> Rows:
    """Return the rows of a table that are not empty: text, or .xlsx with openpyxl.

    A CSV beside an Excel sheet, of the same name, is read in its place. Of text the encoding is
    told by its mark, else it is UTF-8, else Windows-1252; the delimiter is the one that the csv
    module sniffs or, should `fits` refuse the rows that it gives, the first other one that fits.

    Warns
    -----
    UserWarning
        Of an encoding other than UTF-8, and of a delimiter other than the comma.
    """
    if file.suffix.lower() == ".xlsx":
        beside = file.with_suffix(".csv")
        if not beside.exists():
            return _read_excel(file, sheet)
        file = beside
    text, encoding = _decode(file)
    rows, delimiter = _split(text, file, fits or bool)
    decisions = [f"its encoding is taken to be {encoding}"] if encoding else []
    if delimiter != ",":
        decisions.append(f"its cells are taken to be separated by {_DELIMITERS[delimiter]}")
    if decisions:
        warnings.warn(f"{file}: {', '.join(decisions)}.", UserWarning, stacklevel=4)
    return rows


def _decode(file: Path) -> tuple[str, str | None]:
    """Return the text of a file, and its encoding where that is not UTF-8."""
    data = file.read_bytes()
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ValueError(f"{file} is a spreadsheet by its content: save it as .csv, or as .xlsx")
    marked = next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)
    if marked is None and b"\0" in data:  # Latin letters in UTF-16 are every other byte
        marked = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    for encoding in [marked] if marked else ["utf-8", "cp1252"]:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        name = encoding.upper().replace("CP1252", "Windows-1252")
        return text, None if encoding.startswith("utf-8") else name
    raise ValueError(f"{file} is no text in UTF-8, UTF-16 or Windows-1252: save it as UTF-8")


def _split(text: str, file: Path, fits: Callable[[Rows], object]) -> tuple[Rows, str]:
    """Return the rows of a text, and their delimiter."""
    named = re.match(r"sep=(.)\r?\n", text)  # Excel's own way to say it
    delimiters = [named[1]] if named and named[1] in _DELIMITERS else list(_candidates(text))
    text = text[named.end() :] if named else text
    first: Rows | None = None
    trouble = None
    for delimiter in delimiters:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            rows = [row for row in lines if any(cell.strip() for cell in row)]
        except csv.Error as error:
            if first is None and trouble is None:
                trouble = f"{file}, line {lines.line_num}: {error}: is a quote not closed?"
            continue
        if fits(rows):
            return rows, delimiter
        first = rows if first is None else first
    if trouble is not None:
        raise ValueError(trouble)
    return first or [], ","


def _candidates(text: str) -> Iterator[str]:
    """Yield the delimiter that the csv module sniffs, then the others."""
    sample = text[:8192]
    if len(text) > len(sample):
        sample = sample[: sample.rfind("\n") + 1] or sample
    try:
        sniffed = csv.Sniffer().sniff(sample, "".join(_DELIMITERS)).delimiter
    except csv.Error:  # one column, or nothing
        sniffed = ","
    yield sniffed
    yield from (delimiter for delimiter in _DELIMITERS if delimiter != sniffed)


def _read_excel(file: Path, sheet: str | None) -> list[list[Any]]:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise ImportError(
            f"{file.name} is an Excel sheet, and openpyxl is not installed: pip install openpyxl, "
            f"or save {'the sheet ' + repr(sheet) if sheet else 'it'} as "
            f"{file.with_suffix('.csv').name} beside it"
        ) from error
    data = io.BytesIO(file.read_bytes())
    with _reading(file, "Excel sheet"):
        workbook = load_workbook(data, read_only=True, data_only=True)
    try:
        if sheet is not None and sheet not in workbook.sheetnames:
            raise ValueError(f"{file} has no sheet {sheet!r}, only {workbook.sheetnames}")
        with _reading(file, "Excel sheet"):
            rows = workbook[sheet] if sheet else workbook.active
            return [list(row) for row in rows.iter_rows(values_only=True)]
    finally:
        workbook.close()


@contextlib.contextmanager
def _reading(file: Path, kind: str) -> Iterator[None]:
    """Turn whatever a library raises of a file that it cannot make sense of into a ValueError."""
    try:
        yield
    except Exception as error:
        why = error if str(error) else type(error).__name__
        raise ValueError(f"{file} is no {kind}, or it is damaged: {why}") from error


def read_columns(file: Path, *names: str, sheet: str | None = None) -> list[list[Any]]:
    """Return named columns of a table, as lists, in order; rows that are empty in all are left out.

    The header is the first row that has all the names, whatever their case and spacing.
    """
    rows = read_rows(file, sheet, fits=lambda rows: _header_place(rows, names) is not None)
    place = _header_place(rows, names)
    if place is None:
        first = rows[0] if rows else "missing"
        raise ValueError(f"{file} has no columns {list(names)}: its first row is {first}")
    return columns_of(rows[place:], names)


def _header_place(rows: Rows, names: Sequence[str]) -> int | None:
    """Return the first row that has all the names."""
    wanted = {normalised(name) for name in names}
    return next((n for n, row in enumerate(rows) if wanted <= {*map(normalised, row)}), None)


def columns_of(rows: Rows, names: Sequence[str]) -> list[list[Any]]:
    """Return named columns of rows whose first is the header; rows empty in all are left out."""
    header = [normalised(cell) for cell in rows[0]]
    places = [header.index(normalised(name)) for name in names]
    body = [[_cell(row, place) for place in places] for row in rows[1:]]
    body = [row for row in body if any(cell != "" for cell in row)]
    return [[row[k] for row in body] for k in range(len(names))]


def normalised(cell: Any) -> str:
    """Return the text of a cell of a header, whatever its case and spacing."""
    return re.sub(r"[\s_]+", " ", str(cell)).strip().lower()


def _cell(row: Sequence[Any], place: int) -> Any:
    value = row[place] if place < len(row) else None
    return value.strip() if isinstance(value, str) else ("" if value is None else value)


def is_missing(cell: Any) -> bool:
    """Whether nothing stands in a cell."""
    return str(cell).strip().lower() in MISSING


def parse_floats(values: Sequence[Any], file: Path | str, *, missing: bool = False) -> Floats:
    """Return finite float64; NaN, if that is allowed, where nothing stands in a cell.

    Raises
    ------
    ValueError
        If a value is no finite number; the message names its row, the first below a header is 1.

    Warns
    -----
    UserWarning
        Of decimal commas, and of words such as "NA" that are taken for empty cells.
    """
    texts = [str(value).strip() for value in values]
    if any("," in text for text in texts) and not any("." in text for text in texts):
        texts = [text.replace(",", ".") for text in texts]
        # of the second column the same words from the same place, which Python shows once
        message = f"{file}: numbers are taken to be written with decimal commas."
        warnings.warn(message, UserWarning, stacklevel=1)
    parsed, words = np.empty(len(values)), []
    for index, text in enumerate(texts):
        if missing and text.lower() in MISSING:
            parsed[index] = np.nan
            words += [text] if text else []
            continue
        try:
            parsed[index] = float(text)
        except ValueError:
            parsed[index] = np.nan
        if not np.isfinite(parsed[index]):
            raise ValueError(f"{file}: {values[index]!r}, row {index + 1}, is no finite number")
    if words:
        message = f"{file}: {len(words)} cells such as {words[0]!r} are taken to be empty."
        warnings.warn(message, UserWarning, stacklevel=3)
    return parsed


def read_floats(file: Path) -> Floats:
    """Return the numbers in a text file, which white space separates."""
    return parse_floats(_decode(file)[0].split(), file)


def read_lines(file: Path, separator: str | None = None) -> list[list[str]]:
    """Return the fields of each line of a text file; None: white space separates them."""
    return [line.split(separator) for line in _decode(file)[0].splitlines() if line.strip()]


def read_mat(file: Path) -> dict[str, Any]:
    """Return the variables of a MATLAB file; one that is not there is a ValueError."""
    from scipy.io import loadmat

    data = io.BytesIO(file.read_bytes())
    with _reading(file, "file of MATLAB"):
        return _Variables(file, loadmat(data))


class _Variables(dict[str, Any]):
    """The variables of a file; ValueError for one that is not there."""

    def __init__(self, file: Path, variables: dict[str, Any]) -> None:
        super().__init__(variables)
        self._file = file

    def __missing__(self, name: str) -> Any:
        there = [key for key in self if not key.startswith("__")]
        raise ValueError(f"{self._file} has no variable {name!r}, only {there}")


def cell_texts(cells: Any) -> list[str]:
    """Return the str in a MATLAB cell array, as a list."""
    texts = []
    for cell in np.asarray(cells).reshape(-1):
        while isinstance(cell, np.ndarray) and cell.size:
            cell = cell.reshape(-1)[0]
        texts.append(str(cell))
    return texts
