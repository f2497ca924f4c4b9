"""Rated pictures wherever they lie: brought into a folder, where a search may read them often.

And tables that hold both, pictures and ratings: a row of Parquet or Arrow for each.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from skiqa._inputs.addresses import is_address, public_name
from skiqa._sources.kinds import is_shard, is_table
from skiqa.cli._files import Failure, find_images, printable, reason
from skiqa.exceptions import ImageError

__all__ = ["RatedPictures", "rated_pictures"]

_ROW = "TABLE#ROW"  # the column of file names that a table with pictures gets


class RatedPictures(NamedTuple):
    """Where pictures and ratings are for the time being.

    Parameters
    ----------
    folder : str
        Of the pictures.
    ratings : str
        A text table, or an Excel sheet, that names them.
    image_column : str or None
        Of that table, in place of the one that the user named; None: it stays.
    """

    folder: str
    ratings: str
    image_column: str | None = None


@contextlib.contextmanager
def rated_pictures(
    ratings: str, place: str | None, image_column: str | None
) -> Iterator[RatedPictures]:
    """Enter a folder of pictures and a table of their ratings.

    Parameters
    ----------
    ratings : str
        The table; Parquet or Arrow also at an address, or a pattern of several.
    place : str or None
        A folder, which is taken as it is; or the address of one, a shard, or a pattern of shards:
        of their pictures those that the table names are copied to a temporary folder. None: the
        table holds the pictures.
    image_column : str or None
        In that case where.

    Yields
    ------
    RatedPictures

    Raises
    ------
    Failure
        If there is no such place, or a picture of the table cannot be had there.
    """
    of_rows, at_hand = is_table(ratings), place is not None and os.path.isdir(place)
    if not of_rows and not os.path.isfile(ratings):
        raise Failure(f"there is no table {printable(ratings)}")
    if not of_rows and place is None:
        raise Failure("--images PLACE is needed: only Parquet and Arrow hold pictures, too")
    with tempfile.TemporaryDirectory(prefix="skiqa-") as folder:
        table = os.path.join(folder, "ratings.csv") if of_rows else ratings
        try:
            if place is None:
                _unpack(ratings, image_column, Path(folder), table)
                yield RatedPictures(folder, table, _ROW)
                return
            if of_rows:
                _write_table(find_images([ratings]), table)
            if not at_hand:
                _copy(place, _cells(table), Path(folder))
            yield RatedPictures(place if at_hand else folder, table)
        except Failure as error:  # nobody knows this folder
            message = error.message.replace(table, printable(ratings))
            raise Failure(message.replace(folder, printable(place or ratings))) from None


def _unpack(ratings: str, column: str | None, folder: Path, table: str) -> None:
    """Write the pictures of tables into a folder, and a table that names them."""
    from skiqa.sources import iter_images

    places, files = find_images([ratings]), []
    with _failing():
        with contextlib.closing(iter_images(places, column=column)) as pictures:
            for name, image in pictures:
                if image is None:
                    raise Failure(f"{printable(name)}: the cell is empty")
                if isinstance(image, ImageError):
                    raise Failure(f"{printable(name)}: {printable(reason(image))}")
                if isinstance(image, str) and not is_address(image):
                    files.append(os.path.abspath(image))
                    continue
                files.append("/".join(re.findall(r"[^/\\:]+", name)))
                _write(folder, files[-1], image)
        _write_table(places, table, files)


def _write_table(places: list[str], table: str, files: list[str] | None = None) -> None:
    """Write the values of tables, one below the other, as text; first a column of `files`."""
    from skiqa._sources.tables import iter_values

    header, rows = None, []
    with _failing():
        for place in places:
            names, *values = iter_values(place)
            if names != (header := header or names):
                raise Failure(
                    f"{printable(place)} has columns {list(names)}, {printable(places[0])} "
                    f"{list(header)}: they must be the same"
                )
            rows += values
    lines = [header or (), *rows]
    if files is not None:
        lines = [(name, *line) for name, line in zip([_ROW, *files], lines, strict=True)]
    with open(table, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(lines)


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    """Let what a place or a table cannot give end the command with a message."""
    try:
        yield
    except (ImportError, ValueError, OSError) as error:
        raise Failure(str(error)) from None


def _copy(place: str, named: set[str], folder: Path) -> None:
    """Write the pictures of a place that are among `named` into a folder, under these names."""
    from skiqa.sources import iter_images

    if not (is_address(place) or is_shard(place) or glob.has_magic(place)):
        raise Failure(f"there is no folder {printable(place)}, and it is no address and no shard")
    start = public_name(place).rstrip("/") + "/"
    pictures = iter_images(
        find_images([place], recursive=True), wanted=lambda name: _key(_below(name, start)) in named
    )
    with _failing(), contextlib.closing(pictures):
        for name, image in pictures:
            if isinstance(image, ImageError):
                raise Failure(f"{printable(name)}: {printable(reason(image))}")
            _write(folder, _below(name, start), image)


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
    return name.removeprefix(start) if name.startswith(start) else name.rpartition("/")[2]


def _write(folder: Path, name: str, image: bytes | str) -> None:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise Failure(f"{printable(name)} is no name of a picture below a folder")
    path = folder / parts
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image if isinstance(image, bytes) else Path(image).read_bytes())


def _cells(ratings: str) -> set[str]:
    """Return all that stands in the cells of a table, one of whose columns names pictures."""
    from skiqa.datasets._tables import read_rows

    with _failing():
        rows = read_rows(Path(ratings), fits=lambda rows: True)
    return {_key(str(cell)) for row in rows for cell in row}


def _key(name: str) -> str:
    """Return a name regardless of case and Unicode form, as a folder is searched for it."""
    return unicodedata.normalize("NFC", name).casefold().removeprefix("./")
