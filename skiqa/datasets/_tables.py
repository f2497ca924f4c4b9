"""Reading score files: CSV, Excel sheets, MATLAB's, and lines of text."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skiqa._types import Floats


def read_rows(file: Path, sheet: str | None = None) -> list[list[Any]]:
    """Return the rows of a table, lists of str, number or None: .csv, or .xlsx with openpyxl.

    A CSV beside an Excel sheet, of the same name, is read in its place.
    """
    if file.suffix == ".xlsx":
        beside = file.with_suffix(".csv")
        if not beside.exists():
            return _read_excel(file, sheet)
        file = beside
    with open(file, newline="", encoding="utf-8-sig") as lines:
        return [row for row in csv.reader(lines) if row]


def _read_excel(file: Path, sheet: str | None) -> list[list[Any]]:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise ImportError(
            f"{file.name} is an Excel sheet, and openpyxl is not installed: pip install openpyxl, "
            f"or save {'the sheet ' + repr(sheet) if sheet else 'it'} as "
            f"{file.with_suffix('.csv').name} beside it"
        ) from error
    workbook = load_workbook(file, read_only=True, data_only=True)
    try:
        if sheet is not None and sheet not in workbook.sheetnames:
            raise ValueError(f"{file} has no sheet {sheet!r}, only {workbook.sheetnames}")
        rows = workbook[sheet] if sheet else workbook.active
        return [list(row) for row in rows.iter_rows(values_only=True)]
    finally:
        workbook.close()


def read_columns(file: Path, *names: str, sheet: str | None = None) -> list[list[Any]]:
    """Return named columns of a table, as lists, in order; rows that are empty in all are left out.

    The header is the first row that has all the names, whatever their case and spacing.
    """
    rows = read_rows(file, sheet)
    for number, row in enumerate(rows):
        header = [_normalised(cell) for cell in row]
        if all(_normalised(name) in header for name in names):
            places = [header.index(_normalised(name)) for name in names]
            body = [[_cell(row, place) for place in places] for row in rows[number + 1 :]]
            body = [row for row in body if any(cell != "" for cell in row)]
            return [[row[k] for row in body] for k in range(len(names))]
    raise ValueError(
        f"{file} has no columns {list(names)}: its first row is {rows[0] if rows else 'missing'}"
    )


def _normalised(cell: Any) -> str:
    return re.sub(r"[\s_]+", " ", str(cell)).strip().lower()


def _cell(row: Sequence[Any], place: int) -> Any:
    value = row[place] if place < len(row) else None
    return value.strip() if isinstance(value, str) else ("" if value is None else value)


def parse_floats(values: Sequence[Any], file: Path) -> Floats:
    """Return float64; a value that is no number is an error that names its row."""
    parsed = np.empty(len(values))
    for index, value in enumerate(values):
        try:
            parsed[index] = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{file}: {value!r}, row {index}, is no number") from None
    return parsed


def read_floats(file: Path) -> Floats:
    """Return the numbers in a text file, which white space separates."""
    return parse_floats(file.read_text().split(), file)


def read_lines(file: Path, separator: str | None = None) -> list[list[str]]:
    """Return the fields of each line of a text file; None: white space separates them."""
    return [line.split(separator) for line in file.read_text().splitlines() if line.strip()]


def read_mat(file: Path) -> dict[str, Any]:
    """Return the variables of a MATLAB file."""
    from scipy.io import loadmat

    return loadmat(file)


def cell_texts(cells: Any) -> list[str]:
    """Return the str in a MATLAB cell array, as a list."""
    texts = []
    for cell in np.asarray(cells).reshape(-1):
        while isinstance(cell, np.ndarray) and cell.size:
            cell = cell.reshape(-1)[0]
        texts.append(str(cell))
    return texts
