"""One's own ratings: a folder of images and a table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skiqa import _types
from skiqa._types import Integers
from skiqa.datasets._base import SPLITS, Columns, make_bunch
from skiqa.datasets._files import copies, locate_images
from skiqa.datasets._tables import (
    Rows,
    columns_of,
    is_missing,
    normalised,
    parse_floats,
    read_rows,
)

# what people call these columns; "dmos" is not here, for nobody can tell which way it runs
_NAMES = {
    "image": ("image", "image_name", "file", "filename", "file_name", "name", "path"),
    "target": ("mos", "score", "rating", "target", "quality"),
    "target_std": ("std", "mos_std", "sd"),
    "groups": ("group", "groups", "content", "scene", "reference"),
    "degradation": ("degradation",),
    "level": ("level",),
    "split": ("split", "set"),
}


class MissingColumn(ValueError):
    """A table has no column of that kind.

    Parameters
    ----------
    what : str
        Of which name, and which columns it has.
    key : str
        The parameter that names the column.
    """

    def __init__(self, what: str, key: str) -> None:
        dmos = " (and higher_is_better=False for a DMOS)" if key == "target" else ""
        super().__init__(f"{what}. Say which one it is: {key}=...{dmos}")
        self.what, self.key = what, key


def load_folder(
    path: _types.Path,
    csv: _types.Path,
    *,
    image: str | None = None,
    target: str | None = None,
    target_std: str | None = None,
    groups: str | None = None,
    degradation: str | None = None,
    level: str | None = None,
    higher_is_better: bool = True,
    split: str | None = None,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load one's own images and ratings: a folder, and a table with a row for each image.

    Parameters
    ----------
    path : str or path
        Folder of the images.
    csv : str or path
        Table with a header: .xlsx with openpyxl, or text in UTF-8, UTF-16 or Windows-1252, cells
        separated by commas, semicolons, tabs or bars.
    image : str or None, default=None
        Column of file names, relative to `path` or absolute, found on disk whatever their case and
        Unicode form. None: the first of "image", "image_name", "file", "filename", "file_name",
        "name" and "path" that is there, whatever its case.
    target : str or None, default=None
        Column of ratings. None: the first of "mos", "score", "rating", "target" and "quality".
        An empty cell, or "NA" and its like, is an image without a rating: NaN.
    target_std, groups, degradation, level : str or None, default=None
        Columns of the spread of ratings; of the content (scene, reference), which splits keep
        together, where an empty cell is a content of its own; of the type of degradation and of its
        level. None: columns "std", "mos_std" or
        "sd"; "group", "groups", "content", "scene" or "reference"; "degradation"; "level", where
        there are any.
    higher_is_better : bool, default=True
        False for ratings of which lower is better (DMOS): their sign is turned.
    split : str or None, default=None
        Only the rows with this value in a column "split" or "set"; "training" and "train" are one,
        as are "validation" and "val". None: all.
    return_X_y : bool, default=False
        Return (data, target) alone.
    as_frame : bool, default=False
        Data and target as pandas Series, and all columns as the DataFrame `frame`.

    Returns
    -------
    Bunch
        As the loaders of databases: `data` (n,) object array of paths as str; `target` (n,)
        float64, higher is better; `target_std`, `groups`, `degradation`, `level` and `split`, (n,)
        or None (groups: each image its own, copies of one file together); `frame`; `name`; `DESCR`.
        With `return_X_y` the tuple (data, target).

    Raises
    ------
    FileNotFoundError
        If the folder, the table or images are missing; the message names the first few.
    ValueError
        If a column is missing, a row has more cells than the header, a rating is no finite number,
        an image stands in two rows (average the ratings first), or one photo, under two names, in
        two parts of the split.

    Warns
    -----
    UserWarning
        Of each decision about the table that another reader might take otherwise (encoding,
        delimiter, decimal commas, words for empty cells), of contents that are not named, and of
        copies of one photo that count as several contents.

    Notes
    -----
    Images in the folder that the table does not name are left out. Opens the table, and of images
    only files of equal size, to see whether they are copies.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skiqa.datasets import load_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a.jpg", "b.jpg"):
    ...         Path(folder, name).touch()
    ...     table = Path(folder, "ratings.csv")
    ...     _ = table.write_text("file,mos,scene\\na.jpg,3.5,beach\\nb.jpg,,beach\\n")
    ...     ratings = load_folder(folder, table)
    >>> ratings.target, ratings.groups.tolist()
    (array([3.5, nan]), ['beach', 'beach'])
    """
    root, file = Path(path).expanduser(), Path(csv).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    if not file.is_file():
        raise FileNotFoundError(f"there is no table {file}")
    given = {
        "image": image,
        "target": target,
        "target_std": target_std,
        "groups": groups,
        "degradation": degradation,
        "level": level,
    }
    rows = read_rows(file, fits=lambda rows: not _lacking(given, rows))
    how = (higher_is_better, split, return_X_y, as_frame)
    return bunch_of_rows(rows, file, root, given, *how)


def bunch_of_rows(
    rows: Rows,
    file: Path | str,
    root: Path,
    given: Mapping[str, str | None],
    higher_is_better: bool = True,
    split: str | None = None,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Return what :func:`load_folder` does of a table that has been read.

    Parameters
    ----------
    rows : list of list
        The header, then a row for each image.
    file : str or path
        What the table is called in messages.
    root : path
        Folder of the images.
    given : dict of str to str or None
        Columns by their parameters.
    higher_is_better, split, return_X_y, as_frame
        As of :func:`load_folder`.
    """
    names = _column_names(given, rows, file)
    cells = dict(zip(names, columns_of(rows, list(names.values())), strict=True))
    images = [str(name) for name in cells["image"]]
    ratings = parse_floats(cells["target"], file, missing=True)
    expected = f"the files that the column {names['image']!r} of {file} names"
    paths = locate_images(root, images, str(root), expected, strict=False)
    _check_unique(images, paths, file)
    columns = Columns(
        root,
        paths,
        ratings if higher_is_better else -ratings,
        groups=_contents(cells["groups"], paths, file) if "groups" in cells else None,
        degradation=cells.get("degradation"),
    )
    if "target_std" in cells:
        columns.target_std = parse_floats(cells["target_std"], file, missing=True)
    if "level" in cells:
        columns.level = _parse_levels(cells["level"], file)
    if "split" in cells:
        columns.split = [SPLITS.get(str(v).lower(), str(v)) for v in cells["split"]]
    _see_to_copies(columns, file)
    description = f"{len(images)} images in {root}, ratings in {file}, column {names['target']!r}"
    return make_bunch(columns, root.name, description, split, return_X_y, as_frame)


def _candidates(given: Mapping[str, str | None], key: str) -> list[str]:
    """Return what a column may be called."""
    name = given.get(key)
    return [normalised(n) for n in (_NAMES[key] if name is None else (name,))]


def _lacking(given: Mapping[str, str | None], rows: Rows) -> list[str]:
    """Return which columns must be there and are not."""
    header = {normalised(cell) for cell in rows[0]} if rows else set()
    needed = [key for key in _NAMES if key in ("image", "target") or given.get(key) is not None]
    return [key for key in needed if not header.intersection(_candidates(given, key))]


def _column_names(given: Mapping[str, str | None], rows: Rows, file: Path | str) -> dict[str, str]:
    """Return what the table calls each column, those that it does not have left out."""
    header = [str(cell).strip() for cell in rows[0] if cell is not None] if rows else []
    for key in _lacking(given, rows):
        what = (
            f"{file} has no column {' or '.join(_candidates(given, key))}: its columns are {header}"
        )
        raise MissingColumn(what, key)
    for number, row in enumerate(rows[1:], 1):
        if len(row) > len(rows[0]) and any(not is_missing(cell) for cell in row[len(rows[0]) :]):
            raise ValueError(
                f"{file}: row {number} has {len(row)} cells, the header {len(rows[0])}: a cell "
                "with a delimiter in it needs quotes"
            )
    there = {normalised(cell): cell for cell in reversed(header)}
    names = {}
    for key in _NAMES:
        found = [name for name in _candidates(given, key) if name in there]
        if found:
            names[key] = there[found[0]]
            if [normalised(cell) for cell in header].count(found[0]) > 1:
                raise ValueError(f"{file} has two columns {names[key]!r}: rename one")
    return names


def _check_unique(images: Sequence[str], paths: Sequence[str], file: Path | str) -> None:
    """Raise ValueError if two rows name one file."""
    first: dict[str, str] = {}
    twice = []
    for image, path in zip(images, paths, strict=True):
        if path in first:
            twice.append(repr(image) if image == first[path] else f"{first[path]!r} = {image!r}")
        first.setdefault(path, image)
    if twice:
        raise ValueError(
            f"{file}: {len(twice)} images stand in two or more rows, {twice[0]} is the first: "
            "give one row each, with the average rating"
        )


def _contents(cells: Sequence[Any], paths: Sequence[str], file: Path | str) -> list[str]:
    """Return the names of contents; an image whose content is not named is called by its path."""
    unnamed = sum(map(is_missing, cells))
    if unnamed:
        warnings.warn(
            f"{file}: the content of {unnamed} images is not named: each is taken to be its own.",
            UserWarning,
            stacklevel=3,
        )
    return [path if is_missing(c) else str(c) for c, path in zip(cells, paths, strict=True)]


def _parse_levels(cells: Sequence[Any], file: Path | str) -> Integers:
    levels = parse_floats(cells, file)
    if (broken := np.flatnonzero(levels % 1)).size:
        raise ValueError(f"{file}: level {levels[broken[0]]}, row {broken[0] + 1}, is no integer")
    return levels.astype(np.int64)


def _see_to_copies(columns: Columns, file: Path | str) -> None:
    """Raise ValueError if one photo stands in two parts of the split; let copies be one content."""
    paths, groups, split = columns.data, columns.groups, columns.split
    same = copies(paths)
    if split is not None:
        across = [(i, k) for k, i in same.items() if split[i] != split[k]]
        if across:
            (i, k), n = across[0], len(across)
            raise ValueError(
                f"{file}: {n} photos stand in two parts of the split under two names: {paths[i]} "
                f"({split[i]}) and {paths[k]} ({split[k]}) hold the same bytes. Leave one out"
            )
    if groups is None:
        columns.groups = [same.get(index, index) for index in range(len(paths))]
        return
    apart = [(i, k) for k, i in same.items() if groups[i] != groups[k]]
    if apart:
        i, k = apart[0]
        warnings.warn(
            f"{file}: {len(apart)} images are copies of others but of another content, such as "
            f"{paths[k]} of {paths[i]}: splits may train on one and test on the other.",
            UserWarning,
            stacklevel=3,
        )
