"""Rated pictures wherever they lie: brought into a folder, where a search may read them often."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from skiqa._inputs.addresses import MissingPackage, is_address, public_name
from skiqa._sources.kinds import is_shard, is_table
from skiqa.cli._files import Failure, find_images, printable, reason
from skiqa.exceptions import ImageError

__all__ = ["folder_of"]


@contextlib.contextmanager
def folder_of(place: str, ratings: str) -> Iterator[str]:
    """Enter a folder that holds the pictures of a table of ratings.

    Parameters
    ----------
    place : str
        A folder, which is entered as it is; or the address of one, a shard, or a pattern of shards:
        of their pictures those that the table names are copied to a temporary folder.
    ratings : str
        The table.

    Yields
    ------
    str

    Raises
    ------
    Failure
        If there is no such place, or a picture of the table cannot be had there.
    """
    if os.path.isdir(place):
        yield place
        return
    if not (is_address(place) or is_shard(place) or glob.has_magic(place)):
        raise Failure(f"there is no folder {printable(place)}, and it is no address and no shard")
    if is_table(place):
        raise Failure(
            f"{printable(place)}: rows of a table have no names for {printable(ratings)} to name: "
            "give a folder, or a tar archive"
        )
    with tempfile.TemporaryDirectory(prefix="skiqa-") as folder:
        _copy(place, _cells(ratings), Path(folder))
        try:
            yield folder
        except Failure as error:  # nobody knows this folder
            raise Failure(error.message.replace(folder, printable(place))) from None


def _copy(place: str, named: set[str], folder: Path) -> None:
    """Write the pictures of a place that are among `named` into a folder, under these names."""
    from skiqa.sources import iter_images

    start = public_name(place).rstrip("/") + "/"
    pictures = iter_images(
        find_images([place], recursive=True), wanted=lambda name: _key(_below(name, start)) in named
    )
    try:
        with contextlib.closing(pictures):
            for name, image in pictures:
                if isinstance(image, ImageError):
                    raise Failure(f"{printable(name)}: {printable(reason(image))}")
                _write(folder, _below(name, start), image)
    except (MissingPackage, ValueError) as error:
        raise Failure(str(error)) from None


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

    try:
        rows = read_rows(Path(ratings), fits=lambda rows: True)
    except (OSError, ValueError, ImportError) as error:
        raise Failure(str(error)) from None
    return {_key(str(cell)) for row in rows for cell in row}


def _key(name: str) -> str:
    """Return a name regardless of case and Unicode form, as a folder is searched for it."""
    return unicodedata.normalize("NFC", name).casefold().removeprefix("./")
