"""The folder of `skiqa score --parquet`: a file for each part, gone on with, by many runs at once.

A part's file appears when it is whole, under a name that its pictures decide: so runs on several
machines may write one folder without locks, and what is there need not be done again. _skiqa.json
says what the scores are of, as for a CSV file, from before the first part.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from skiqa._disk import remove_abandoned, whole_file
from skiqa.cli._csv_file import compare
from skiqa.cli._files import Failure, printable, unwritable
from skiqa.distributed._parts import Part, left_of, parts_there, write_part
from skiqa.distributed._rows import Row

__all__ = ["ParquetFolder"]

COMPANION = "_skiqa.json"  # readers of such folders pass names with an underscore by


class ParquetFolder:
    """A folder of parts.

    Parameters
    ----------
    path : str
    about : dict
        What decides the scores of this run, as of `about_scores`.
    resume, overwrite : bool
        Whether parts that are there are kept, or deleted.
    """

    def __init__(self, path: str, about: dict[str, str], resume: bool, overwrite: bool) -> None:
        self._path, self._about, self._replaced = Path(path), about, overwrite
        if not (resume or overwrite) and parts_there(self._path):
            raise Failure(
                f"{printable(path)} holds parts: give another folder, --resume to go on with it, "
                "or --overwrite to replace them"
            )
        self._begun = not overwrite and self._is_begun()

    def _is_begun(self) -> bool:
        """Whether a run has begun the folder, which must have been one of the same scores."""
        companion = self._path / COMPANION
        text = companion.read_bytes() if companion.is_file() else b""
        begun = bool(text or parts_there(self._path))
        if begun:
            compare(self._path, companion, text, self._about, "--parquet folder")
        return begun

    def left_of(self, parts: Sequence[Part]) -> tuple[Sequence[Part], int]:
        """Return what is left to do of parts, and how many pictures the rest could not read."""
        if self._replaced:
            return parts, 0
        try:
            return left_of(parts, self._path)
        except ValueError as error:
            raise Failure(f"cannot go on: {printable(str(error))}") from None

    def open(self) -> None:
        """Make the folder, and say of what the scores will be; not before these can be had."""
        try:
            self._path.mkdir(exist_ok=True)
            if self._replaced:
                for old in (*self._path.glob("part-*.parquet"), self._path / COMPANION):
                    old.unlink(missing_ok=True)
            remove_abandoned(self._path)
            # another run may have begun while this one's model was loaded
            if not (self._begun or self._is_begun()):
                with whole_file(self._path / COMPANION) as file:
                    file.write(json.dumps(self._about, indent=1).encode() + b"\n")
        except OSError as error:
            raise unwritable(self._path, error) from None

    def write(self, part: Part, rows: Iterable[Row]) -> Iterator[Row]:
        """Write the rows of a part, and pass them on."""
        path = self._path / part.file_name
        try:
            yield from write_part(path, rows, self._about["model"])
        except OSError as error:
            raise unwritable(os.fspath(path), error) from None
