"""What the loaders share: facts about a database, the Bunch that it becomes, and the checks."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.utils import Bunch

from skiqa import _types
from skiqa._types import Floats
from skiqa.datasets._files import find_path, locate_images

_WORDS = {  # for the parts of an official split
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
SPLITS = {word: part for part, words in _WORDS.items() for word in words}

TEXAS_LICENSE = (
    "any use without fee if the copyright notice of the University of Texas at Austin and the "
    "citation are kept."
)

_DTYPES: dict[str, Any] = {
    "data": object,
    "target": np.float64,
    "target_std": np.float64,
    "groups": None,
    "degradation": np.str_,
    "level": np.int64,
    "split": np.str_,
}

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
    images: str  # how many images of what
    opinions: str  # MOS or DMOS, range, how it was flipped
    layout: str
    source: str  # where the layout is from, and what could not be confirmed
    citation: str
    url: str
    license: str = "not confirmed here: see the source"
    scores: tuple[float, float] | None = None  # (lowest, highest) that a score file can hold

    @property
    def description(self) -> str:
        return "\n".join(
            [
                self.name,
                "",
                *_field("Images", self.images),
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
    def expected(self) -> str:
        return textwrap.dedent(self.layout).strip("\n")

    def find(self, root: Path, *names: str) -> Path:
        """Return the first of some files or folders, in `root` or one folder below."""
        found = find_path(root, *names)
        if found is None:
            raise FileNotFoundError(
                f"{self.name}: there is no {' or '.join(names)} in {root} or in a folder of it. "
                f"Expected:\n{self.expected}"
            )
        return found


def _field(name: str, text: str) -> list[str]:
    return textwrap.wrap(f"- {name}: {' '.join(text.split())}", 96, subsequent_indent="  ")


Column: TypeAlias = Sequence[Any] | npt.NDArray[Any]


@dataclass
class Columns:
    """What is known of the images of a database, of one length, and where they are.

    Attributes
    ----------
    root : Path
        Folder that `data` is relative to.
    data : sequence of str
        The images, with forward slashes.
    target : ndarray of float
        As published, or flipped so that higher is better.
    target_std, groups, degradation, level, split : sequence or None
        As of the Bunch that a loader returns.
    also : collection of str
        Images that may lie beside them, relative to `root`.
    strict : bool
        Whether no others may.
    """

    root: Path
    data: Sequence[str]
    target: Floats
    target_std: Column | None = None
    groups: Column | None = None
    degradation: Column | None = None
    level: Column | None = None
    split: Column | None = None
    also: Collection[str] = ()
    strict: bool = True


class Loader(Protocol):
    """A public loader; it returns a Bunch, or with `return_X_y` the tuple (data, target)."""

    def __call__(
        self,
        data_home: _types.Path,
        *,
        split: str | None = None,
        return_X_y: bool = False,
        as_frame: bool = False,
    ) -> Any: ...


def loader(**facts: Any) -> Callable[[Callable[[Path, Database], Columns]], Loader]:
    """Make a public loader of a function from (root folder, Database) to Columns.

    Parameters
    ----------
    **facts
        What :class:`Database` takes.
    """
    database = Database(**facts)

    def decorate(read: Callable[[Path, Database], Columns]) -> Loader:
        def load(
            data_home: _types.Path,
            *,
            split: str | None = None,
            return_X_y: bool = False,
            as_frame: bool = False,
        ) -> Any:
            root = Path(data_home).expanduser()
            if not root.is_dir():
                raise FileNotFoundError(
                    f"data_home={str(data_home)!r} is no folder. Unpack {database.name} there "
                    f"({database.url}):\n{database.expected}"
                )
            columns = read(root, database)
            _check_scores(columns.target, database)
            columns.data = locate_images(
                columns.root,
                columns.data,
                database.name,
                database.expected,
                also=columns.also,
                strict=columns.strict,
            )
            name, description = database.name, database.description
            return make_bunch(columns, name, description, split, return_X_y, as_frame)

        # not functools.wraps: the signature of `read` is not the loader's
        load.__module__ = read.__module__
        load.__name__ = load.__qualname__ = read.__name__
        load.__doc__ = f"{inspect.getdoc(read)}\n{_PARAMETERS}{database.description}\n"
        return load

    return decorate


def _check_scores(target: Floats, database: Database) -> None:
    if database.scores is None:
        return
    low, high = database.scores
    bad = np.flatnonzero(~((target >= low) & (target <= high)))
    if len(bad):
        raise ValueError(
            f"{database.name}: score {target[bad[0]]} of image {bad[0]} is not between {low} and "
            f"{high} ({len(bad)} in all): is this the official score file?"
        )


def make_bunch(
    columns: Columns,
    name: str,
    description: str,
    split: str | None = None,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Return the Bunch of a database, or (data, target).

    Parameters
    ----------
    columns : Columns
        Whose `data` are the paths of the images.
    name, description : str
    split, return_X_y, as_frame
        As of the loaders.

    Returns
    -------
    Bunch or tuple
    """
    arrays = _as_arrays(columns, name)
    if split is not None:
        arrays = _only_part(arrays, split, name)
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


def _as_arrays(columns: Columns, name: str) -> dict[str, npt.NDArray[Any] | None]:
    n = len(columns.data)
    arrays: dict[str, npt.NDArray[Any] | None] = {}
    for key, dtype in _DTYPES.items():
        values = getattr(columns, key)
        arrays[key] = None if values is None else np.asarray(values, dtype=dtype)
        if values is not None and len(values) != n:
            raise ValueError(f"{name}: {key} has {len(values)} values for {n} images")
    if arrays["groups"] is None:
        arrays["groups"] = np.arange(n)
    return arrays


def _only_part(
    arrays: dict[str, npt.NDArray[Any] | None], split: str, name: str
) -> dict[str, npt.NDArray[Any] | None]:
    """Return the arrays of one part of the official split."""
    parts = arrays["split"]
    there = [] if parts is None else sorted(set(parts.tolist()))
    if split not in there:
        found = f"its split has {there}" if there else "it has no official split"
        raise ValueError(f"split={split!r}: {name}: {found}. split=None gives all images.")
    kept = parts == split
    return {key: None if v is None else v[kept] for key, v in arrays.items()}
