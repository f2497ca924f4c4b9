"""One's own ratings: a folder of images and a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skiqa import _types
from skiqa._types import Floats
from skiqa.datasets._base import SPLITS, Columns, make_bunch
from skiqa.datasets._files import locate_images
from skiqa.datasets._tables import parse_floats, read_columns, read_rows

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
        Table with a header: .csv, or .xlsx with openpyxl.
    image : str or None, default=None
        Column of file names, relative to `path`. None: the first of "image", "image_name", "file",
        "filename", "file_name", "name" and "path" that is there, whatever its case.
    target : str or None, default=None
        Column of ratings. None: the first of "mos", "score", "rating", "target" and "quality".
        An empty cell is an image without a rating: NaN.
    target_std, groups, degradation, level : str or None, default=None
        Columns of the spread of ratings; of the content (scene, reference), which splits keep
        together; of the type of degradation and of its level. None: columns "std", "mos_std" or
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
        or None (groups: each image its own); `frame`; `name`; `DESCR`. With `return_X_y` the tuple
        (data, target).

    Raises
    ------
    FileNotFoundError
        If the folder, the table or images are missing; the message names the first few.
    ValueError
        If a column is missing, a rating is no number, or an image stands in two rows (average the
        ratings first).

    Notes
    -----
    Images in the folder that the table does not name are left out. Opens the table; opens no image.

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
    names = _column_names(given, file)
    cells = dict(zip(names, read_columns(file, *names.values()), strict=True))
    images = [str(name) for name in cells["image"]]
    _check_unique(images, file)
    ratings = _parse_ratings(cells["target"], file)
    columns = Columns(
        root,
        images,
        ratings if higher_is_better else -ratings,
        target_std=_parse_ratings(cells["target_std"], file) if "target_std" in cells else None,
        groups=cells.get("groups"),
        degradation=cells.get("degradation"),
    )
    if "level" in cells:
        columns.level = parse_floats(cells["level"], file).astype(np.int64)
    if "split" in cells:
        columns.split = [SPLITS.get(str(v).lower(), str(v)) for v in cells["split"]]
    expected = f"the files that the column {names['image']!r} of {file} names"
    columns.data = locate_images(root, images, str(root), expected, strict=False)
    description = f"{len(images)} images in {root}, ratings in {file}, column {names['target']!r}"
    return make_bunch(columns, root.name, description, split, return_X_y, as_frame)


def _column_names(given: Mapping[str, str | None], file: Path) -> dict[str, str]:
    """Return what the table calls each column, those that it does not have left out."""
    header = read_rows(file)[0]
    there = {str(cell).strip().lower(): str(cell).strip() for cell in header}
    names = {}
    for key, usual in _NAMES.items():
        name = given.get(key)
        candidates = usual if name is None else (name.strip().lower(),)
        found = next((there[candidate] for candidate in candidates if candidate in there), None)
        if found is not None:
            names[key] = found
        elif name is not None or key in ("image", "target"):
            raise ValueError(
                f"{file} has no column {' or '.join(candidates)}: its columns are "
                f"{list(there.values())}. Say which one it is: {key}=..."
                + (" (and higher_is_better=False for a DMOS)" if key == "target" else "")
            )
    return names


def _check_unique(images: Sequence[str], file: Path) -> None:
    twice = [name for name, count in Counter(images).items() if count > 1]
    if twice:
        raise ValueError(
            f"{file}: {len(twice)} images stand in two or more rows, {twice[0]!r} is the first: "
            "give one row each, with the average rating"
        )


def _parse_ratings(values: Sequence[Any], file: Path) -> Floats:
    """Return float64, NaN where a cell is empty."""
    return parse_floats([np.nan if value == "" else value for value in values], file)
