"""What the loaders share: finding files, reading tables, and saying what is wrong with either."""

import csv
import functools
import inspect
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

SUFFIXES = {".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}
SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "dev": "val", "test": "test", "testing": "test",
}  # fmt: skip

_PARAMETERS = """
Parameters
----------
data_home : str or path
    Folder of the unpacked database, or one that holds it; see Notes for the layout.
split : {"train", "val", "test"} or None, default=None
    Only the images of this part of the official split. None: all images.
return_X_y : bool, default=False
    Return (data, target) alone.
as_frame : bool, default=False
    Data and target as pandas Series, and all columns as the DataFrame `frame`.

Returns
-------
Bunch
    `data` (n,) object array of paths as str; `target` (n,) float64, higher is better;
    `target_std` (n,) float64 or None, spread of the opinions where published; `groups` (n,), name
    of the content (the reference or scene; each photo its own where they are unrelated);
    `degradation` (n,) str or None; `level` (n,) int64 or None; `split` (n,) of "train", "val" and
    "test", or None; `frame` DataFrame or None; `name`; `DESCR`. With `return_X_y` the tuple
    (data, target).

Raises
------
FileNotFoundError
    If files are missing; the message names the first few and the layout.
ValueError
    If there are images that the score file does not know, a score is out of the published range,
    a column is missing, or `split` names what the database does not have.
ImportError
    If a score file is an Excel sheet and openpyxl is not installed (a CSV of the same name beside
    it will do), or for `as_frame` without pandas.

Notes
-----
Opens the score file and lists folders; opens no image and downloads nothing.

"""


@dataclass(frozen=True)
class Database:
    """What is to be known about a database, for people and for checks."""

    name: str
    content: str  # how many images of what
    opinions: str  # MOS or DMOS, range, how it was flipped
    layout: str
    source: str  # where the layout is from, and what could not be confirmed
    citation: str
    url: str
    license: str = "not confirmed here: see the source"
    scores: tuple | None = None  # (lowest, highest) that a score file can hold

    @property
    def description(self):
        return "\n".join(
            [
                self.name,
                "",
                *_field("Images", self.content),
                *_field("Opinions", self.opinions),
                *_field("Layout from", self.source),
                *_field("Citation", self.citation),
                *_field("License", self.license),
                *_field("Get it from", self.url),
                "",
                "Layout::",
                "",
                textwrap.indent(self.expected, "    "),
            ]
        )

    @property
    def expected(self):
        return textwrap.dedent(self.layout).strip("\n")


def _field(name, text):
    return textwrap.wrap(f"{name}: {' '.join(text.split())}", 96, subsequent_indent="  ")


def loader(**database):
    """Make a public loader of a function from (root folder, Database) to columns.

    The function returns a dict with `data`, paths relative to the root; `target`, as published, or
    flipped; and any of `target_std`, `groups`, `degradation`, `level`, `split`, `also` (relative
    paths of images that may lie beside them), `strict` (False: any others may) and `root` (where it
    is not `data_home`).
    """
    database = Database(**database)

    def decorate(read):
        @functools.wraps(read)
        def load(data_home, *, split=None, return_X_y=False, as_frame=False):
            root = Path(data_home).expanduser()
            if not root.is_dir():
                raise FileNotFoundError(
                    f"data_home={str(data_home)!r} is no folder. Unpack {database.name} there "
                    f"({database.url}):\n{database.expected}"
                )
            columns = read(root, database)
            _check_scores(columns["target"], database)
            columns["data"] = locate(
                columns.pop("root", root),
                columns["data"],
                database.name,
                database.expected,
                also=columns.pop("also", ()),
                strict=columns.pop("strict", True),
            )
            return make_bunch(
                columns, database.name, database.description, split, return_X_y, as_frame
            )

        del load.__wrapped__  # its signature is not the loader's
        load.__doc__ = f"{inspect.getdoc(read)}\n{_PARAMETERS}{database.description}\n"
        return load

    return decorate


def _check_scores(target, database):
    if database.scores is None:
        return
    low, high = database.scores
    bad = np.flatnonzero(~((target >= low) & (target <= high)))
    if len(bad):
        raise ValueError(
            f"{database.name}: score {target[bad[0]]} of image {bad[0]} is not between {low} and "
            f"{high} ({len(bad)} in all): is this the official score file?"
        )


def make_bunch(columns, name, description, split=None, return_X_y=False, as_frame=False):
    """Return the Bunch of a database, or (data, target), from columns of one length.

    Parameters
    ----------
    columns : dict
        `data` list of str, `target`, and any of `target_std`, `groups`, `degradation`, `level`,
        `split`; each of shape (n,) or None.
    name, description : str
    split, return_X_y, as_frame
        As of the loaders.

    Returns
    -------
    Bunch or tuple
    """
    n = len(columns["data"])
    kinds = {"data": object, "target": np.float64, "target_std": np.float64, "groups": None,
             "degradation": np.str_, "level": np.int64, "split": np.str_}  # fmt: skip
    arrays = {}
    for key, kind in kinds.items():
        values = columns.get(key)
        arrays[key] = None if values is None else np.asarray(values, dtype=kind)
        if values is not None and len(values) != n:
            raise ValueError(f"{name}: {key} has {len(values)} values for {n} images")
    if arrays["groups"] is None:
        arrays["groups"] = np.arange(n)
    if split is not None:
        there = [] if arrays["split"] is None else sorted(set(arrays["split"].tolist()))
        if split not in there:
            found = f"its split has {there}" if there else "it has no official split"
            raise ValueError(f"split={split!r}: {name}: {found}. split=None gives all images.")
        kept = arrays["split"] == split
        arrays = {key: None if v is None else v[kept] for key, v in arrays.items()}
    frame = None
    if as_frame:
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("as_frame=True needs pandas: pip install pandas") from error
        frame = pd.DataFrame({key: v for key, v in arrays.items() if v is not None})
        arrays["data"], arrays["target"] = frame["data"], frame["target"]
    if return_X_y:
        return arrays["data"], arrays["target"]
    return Bunch(**arrays, frame=frame, name=name, DESCR=description)


def locate(root, names, title, expected, *, also=(), strict=True):
    """Return the paths of images, found whatever the case of their names.

    Parameters
    ----------
    root : Path
    names : list of str
        Relative to `root`, with forward slashes.
    title, expected : str
        For messages: what this is, and what the folder should look like.
    also : iterable of str
        Images that may be there besides.
    strict : bool, default=True
        Whether any other image, in a folder that holds a named one, is an error.

    Returns
    -------
    list of str
    """
    names = [str(name).replace("\\", "/") for name in names]
    there = {}
    for folder in {name.rpartition("/")[0] for name in names}:
        for path in _files(root / folder):
            # TID's lists say i01 where the disk says I01, and people rename .JPG
            there[f"{folder}/{path.name}".lstrip("/").lower()] = path
    missing = [name for name in names if name.lower() not in there]
    if missing:
        raise FileNotFoundError(
            f"{title}: {len(missing)} of {len(names)} images are missing in {root}: "
            f"{_few(missing)}. Expected:\n{expected}"
        )
    if strict:
        known = {name.lower() for name in (*names, *also)}
        unknown = sorted(
            key
            for key, path in there.items()
            if key not in known and path.suffix.lower() in SUFFIXES
        )
        if unknown:
            raise ValueError(
                f"{title}: {len(unknown)} images in {root} are not in the score file: "
                f"{_few(unknown)}. Move them away. Expected:\n{expected}"
            )
    return [str(there[name.lower()]) for name in names]


def _files(folder):
    """Return the files of a folder, hidden ones left out (macOS leaves ._a.jpg beside a.jpg)."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _few(names, at_most=3):
    return ", ".join(names[:at_most]) + (", ..." if len(names) > at_most else "")


def find(root, *names, database, required=True):
    """Return the first of some files or folders, in `root` or one folder below; or None.

    Archives unpack into a folder of their own, and people point at either.
    """
    below = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for folder in (root, *below):
        for name in names:
            if (folder / name).exists():
                return folder / name
    if required:
        raise FileNotFoundError(
            f"{database.name}: there is no {' or '.join(names)} in {root} or in a folder of it. "
            f"Expected:\n{database.expected}"
        )
    return None


def first_folder(root, folders, name):
    """Return which of some folders (relative, "" for none) holds the image; the first if none."""
    for folder in folders:
        if any(path.name.lower() == name.lower() for path in _files(root / folder)):
            return f"{folder}/" if folder else ""
    return f"{folders[0]}/" if folders[0] else ""


def read_rows(file, sheet=None):
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


def _read_excel(file, sheet):
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


def read_columns(file, *names, sheet=None):
    """Return named columns of a table, as lists, in order; rows that are empty in all are left out.

    The header is the first row that has all the names, whatever their case and spacing.
    """
    rows = read_rows(file, sheet)
    for number, row in enumerate(rows):
        header = [_plain(cell) for cell in row]
        if all(_plain(name) in header for name in names):
            places = [header.index(_plain(name)) for name in names]
            body = [[_cell(row, place) for place in places] for row in rows[number + 1 :]]
            body = [row for row in body if any(cell != "" for cell in row)]
            return [[row[k] for row in body] for k in range(len(names))]
    raise ValueError(
        f"{file} has no columns {list(names)}: its first row is {rows[0] if rows else 'missing'}"
    )


def _plain(cell):
    return re.sub(r"[\s_]+", " ", str(cell)).strip().lower()


def _cell(row, place):
    value = row[place] if place < len(row) else None
    return value.strip() if isinstance(value, str) else ("" if value is None else value)


def numbers(values, file):
    """Return float64; a value that is no number is an error that names its row."""
    out = np.empty(len(values))
    for index, value in enumerate(values):
        try:
            out[index] = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{file}: {value!r}, row {index}, is no number") from None
    return out


def read_mat(file):
    """Return the variables of a MATLAB file."""
    from scipy.io import loadmat

    return loadmat(file)


def texts(cells):
    """Return the str in a MATLAB cell array, as a list."""
    out = []
    for cell in np.asarray(cells).reshape(-1):
        while isinstance(cell, np.ndarray) and cell.size:
            cell = cell.reshape(-1)[0]
        out.append(str(cell))
    return out
