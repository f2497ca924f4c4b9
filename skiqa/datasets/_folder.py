"""One's own ratings: a folder of images and a table."""

from collections import Counter
from pathlib import Path

import numpy as np

from skiqa.datasets._base import SPLITS, locate, make_bunch, numbers, read_columns, read_rows

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
    path,
    csv,
    *,
    image=None,
    target=None,
    target_std=None,
    groups=None,
    degradation=None,
    level=None,
    higher_is_better=True,
    split=None,
    return_X_y=False,
    as_frame=False,
):
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
    for what, there in (("folder", root.is_dir()), ("table", file.is_file())):
        if not there:
            raise FileNotFoundError(f"there is no {what} {root if what == 'folder' else file}")
    given = {"image": image, "target": target, "target_std": target_std, "groups": groups,
             "degradation": degradation, "level": level}  # fmt: skip
    header = read_rows(file)[0]
    names = {key: _column(key, given.get(key), header, file) for key in _NAMES}
    names = {key: name for key, name in names.items() if name is not None}
    columns = dict(zip(names, read_columns(file, *names.values()), strict=True))
    images = [str(name) for name in columns.pop("image")]
    twice = [name for name, count in Counter(images).items() if count > 1]
    if twice:
        raise ValueError(
            f"{file}: {len(twice)} images stand in two or more rows, {twice[0]!r} is the first: "
            "give one row each, with the average rating"
        )
    for key in ("target", "target_std"):
        if key in columns:
            values = [np.nan if value == "" else value for value in columns[key]]
            columns[key] = numbers(values, file)
    if not higher_is_better:
        columns["target"] = -columns["target"]
    if "level" in columns:
        columns["level"] = numbers(columns["level"], file).astype(np.int64)
    if "split" in columns:
        columns["split"] = [SPLITS.get(str(v).lower(), str(v)) for v in columns["split"]]
    expected = f"the files that the column {names['image']!r} of {file} names"
    columns["data"] = locate(root, images, str(root), expected, strict=False)
    description = f"{len(images)} images in {root}, ratings in {file}, column {names['target']!r}"
    return make_bunch(columns, root.name, description, split, return_X_y, as_frame)


def _column(key, name, header, file):
    there = {str(cell).strip().lower(): str(cell).strip() for cell in header}
    candidates = _NAMES[key] if name is None else (name.strip().lower(),)
    for candidate in candidates:
        if candidate in there:
            return there[candidate]
    if name is None and key not in ("image", "target"):
        return None
    raise ValueError(
        f"{file} has no column {' or '.join(candidates)}: its columns are {list(there.values())}. "
        f"Say which one it is: {key}=..."
        + (" (and higher_is_better=False for a DMOS)" if key == "target" else "")
    )
