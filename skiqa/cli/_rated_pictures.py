"""Rated pictures wherever they lie: brought into a folder, where a search may read them often.

And tables that hold both, pictures and ratings: a row of Parquet or Arrow for each.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from skiqa._inputs.addresses import file_system, is_address, public_name
from skiqa._sources.kinds import is_shard, is_table
from skiqa.cli._files import Failure, find_images, printable
from skiqa.distributed._rows import reason
from skiqa.exceptions import ImageError

if TYPE_CHECKING:
    from skiqa.datasets._tables import Rows
    from skiqa.sources import Named

__all__ = ["RatedPictures", "rated_pictures"]

_MAGIC = re.compile(r"[*?[]")


class RatedPictures(NamedTuple):
    """Where pictures and their ratings are for the time being.

    Parameters
    ----------
    folder : str
        Of the pictures.
    rows : list of list or None
        The table; None: it is to be read from its file.
    image_column : str or None
        The one that names files in the folder.
    shown : callable
        From a text to the same with names as the user knows them.
    """

    folder: str
    rows: Rows | None
    image_column: str | None
    shown: Callable[[str], str] = str


@contextlib.contextmanager
def rated_pictures(
    ratings: str, place: str | None, image_column: str | None
) -> Iterator[RatedPictures]:
    """Enter a folder of pictures and a table of their ratings.

    Within the block warnings, and a Failure that leaves it, call pictures as the user does.

    Parameters
    ----------
    ratings : str
        The table; Parquet or Arrow also at an address, or a pattern of several.
    place : str or None
        A folder, which is taken as it is; or the address of one, a shard, or a pattern of shards:
        of their pictures those that the table names are copied to a temporary folder. None: the
        table holds the pictures.
    image_column : str or None
        Where the table holds them, or names them.

    Yields
    ------
    RatedPictures

    Raises
    ------
    Failure
        If there is no such place or table, or nobody can tell which column is meant.
    """
    of_rows, at_hand = is_table(ratings), place is not None and os.path.isdir(place)
    if not of_rows and not os.path.isfile(ratings):
        raise Failure(f"there is no table {printable(ratings)}")
    if not of_rows and place is None:
        raise Failure("--images PLACE is needed: only Parquet and Arrow hold pictures, too")
    tables = find_images([ratings]) if of_rows else []
    rows = None
    if of_rows:
        with _failing():
            rows = _read_tables(tables, image_column if place is None else "")
    if at_hand:
        yield RatedPictures(str(place), rows, image_column)
        return
    with tempfile.TemporaryDirectory(prefix="skiqa-") as folder:
        copies = _Copies(Path(folder), place or ratings)
        with copies.called_as_the_user_does():
            with _failing():
                if place is not None:
                    _copy_named(place, _cells(ratings, rows), copies)
                elif rows is not None:
                    _copy_rows(tables, rows, copies)
                    image_column = rows[0][0]
            yield RatedPictures(folder, rows, image_column, copies.shown)


def _read_tables(places: Sequence[str], column: str | None) -> Rows:
    """Return the header of tables, the pictures' column first, and the rows without them."""
    from skiqa._sources.tables import iter_values

    header, rows = None, []
    for place in places:
        names, *values = iter_values(place, column)
        if names != (header := header or names):
            raise Failure(
                f"{printable(place)} has columns {names}, {printable(places[0])} {header}: they "
                "must be the same"
            )
        rows += values
    return [header or [], *rows]


class _Copies:
    """Pictures in a temporary folder, and what people call them.

    Parameters
    ----------
    folder : Path
    place : str
        Where they are from.
    """

    def __init__(self, folder: Path, place: str) -> None:
        self._folder, self._place = folder, place
        self._names: dict[str, str] = {}

    def add(self, file: str, picture: Named) -> None:
        """Keep a picture; one that could not be had is a file that cannot be read."""
        name, image = picture
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts:
            raise Failure(f"{printable(name)} is no name of a picture below a folder")
        if str(path) in self._names:
            raise Failure(f"{printable(file)} is twice in {printable(self._place)}")
        if image is None:
            name, image = f"{name} (the cell is empty)", b""
        elif isinstance(image, ImageError):
            name, image = f"{name} ({reason(image)})", b""
        self._names[str(path)] = name
        copy = self._folder / path
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(image if isinstance(image, bytes) else Path(image).read_bytes())
        except OSError as error:
            raise Failure(
                f"{printable(name)} cannot be copied to {tempfile.gettempdir()}: {error.strerror}; "
                "the variable TMPDIR may name another folder"
            ) from None

    def shown(self, text: str) -> str:
        """Return a text in which copies are called as what they are of."""
        within = re.compile(re.escape(str(self._folder)) + r"([/\\](\d{7}\b)?)?")
        return within.sub(self._name_of, text)

    def _name_of(self, found: re.Match[str]) -> str:
        below, number = found.groups()
        if number is not None:
            return self._names.get(number, number)
        return "" if below else self._place  # before a name of the user's own

    @contextlib.contextmanager
    def called_as_the_user_does(self) -> Iterator[None]:
        """Let warnings within the block, and a Failure that leaves it, name no copies."""
        show = warnings.showwarning

        def show_as_known(message: Warning | str, *rest: Any, **more: Any) -> None:
            show(self.shown(str(message)), *rest, **more)

        with warnings.catch_warnings():
            warnings.showwarning = show_as_known
            try:
                yield
            except Failure as error:
                raise Failure(printable(self.shown(error.message))) from None


def _copy_rows(places: Sequence[str], rows: Rows, copies: _Copies) -> None:
    """Copy the pictures of tables, and name them in the first column of their rows."""
    from skiqa.sources import iter_images

    tables = {public_name(place) for place in places}
    with contextlib.closing(iter_images(places, column=rows[0][0])) as pictures:
        for number, picture in enumerate(pictures, 1):
            if picture.name in tables:  # which ends too soon
                raise Failure(f"{printable(picture.name)}: {printable(reason(picture.image))}")
            file = f"{number:07d}"
            copies.add(file, picture)
            rows[number].insert(0, file)


def _copy_named(place: str, named: set[str], copies: _Copies) -> None:
    """Copy the pictures of a place that are among `named`, under these names."""
    from skiqa.datasets._files import name_key
    from skiqa.sources import iter_images

    if is_table(place):
        raise Failure(
            f"{printable(place)}: rows of a table have no names. Put the ratings into a column of "
            "it, and give it without --images"
        )
    if not (is_address(place) or is_shard(place) or glob.has_magic(place)):
        raise Failure(f"there is no folder {printable(place)}, and it is no address and no shard")
    start = _start_of(place)
    pictures = iter_images(
        find_images([place], recursive=True),
        wanted=lambda name: name_key(_below(name, start)) in named,
    )
    with contextlib.closing(pictures):
        for picture in pictures:
            file = _below(picture.name, start)
            if name_key(file) not in named:  # a shard, which ends too soon
                raise Failure(f"{printable(picture.name)}: {printable(reason(picture.image))}")
            copies.add(file, picture)


def _start_of(place: str) -> str:
    """Return what the names of all pictures of a place begin with: up to a slash."""
    if is_address(place) and not is_shard(place):
        fs, path = file_system(place)
        place = fs.unstrip_protocol(path)
    if found := _MAGIC.search(place):
        return place[: place.rfind("/", 0, found.start()) + 1]
    return public_name(place).rstrip("/") + "/"


def _below(name: str, start: str) -> str:
    """Return what a table calls a picture: the member of a shard, or the path below the place.

    Examples
    --------
    >>> from skiqa.cli._rated_pictures import _below
    >>> _below("tar://a/1.jpg::photos.tar", "photos.tar/"), _below("s3://b/c/1.jpg", "s3://b/")
    ('a/1.jpg', 'c/1.jpg')
    """
    if name.startswith("tar://"):
        return name.removeprefix("tar://").partition("::")[0]
    return name.removeprefix(start)


def _cells(ratings: str, rows: Rows | None) -> set[str]:
    """Return all that stands in the cells of a table, one of whose columns names pictures."""
    from skiqa.datasets._files import name_key
    from skiqa.datasets._tables import read_rows

    if rows is None:
        rows = read_rows(Path(ratings), fits=lambda rows: True)
    return {name_key(str(cell).strip()) for row in rows for cell in row}


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    """Let what a place or a table cannot give end the command with a message."""
    from skiqa._sources.tables import ColumnError

    try:
        yield
    except ColumnError as error:
        raise Failure(f"{error} (--image-column)") from None
    except (ImportError, ValueError, OSError) as error:
        raise Failure(str(error)) from None
