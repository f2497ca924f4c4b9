"""Which files a command is about, and how their names and errors are shown."""

from __future__ import annotations

import contextlib
import glob
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

import click

from skiqa._inputs.addresses import MissingPackage, is_address, public_name
from skiqa._sources.kinds import SHARDS, is_film, is_picture, is_shard, is_table
from skiqa._sources.places import places_at
from skiqa.exceptions import ImageError

if TYPE_CHECKING:
    from skiqa._types import Path as AnyPath

__all__ = [
    "Failure",
    "find_images",
    "in_the_way",
    "jobs_option",
    "printable",
    "recursive_option",
    "unwritable",
    "warnings_shown",
]


class Failure(click.ClickException):
    """What a user can mend, in one line and without a traceback."""

    exit_code = 2


def _check_jobs(context: click.Context, parameter: click.Parameter, value: int) -> int:
    if value == 0:
        raise click.BadParameter("0 threads cannot decode")
    return value


_JOBS = "Photos in work at a time; by default one for each core."
jobs_option = click.option("-j", "--jobs", type=int, default=-1, callback=_check_jobs, help=_JOBS)
recursive_option = click.option(
    "-r", "--recursive", is_flag=True, help="Search folders below, too."
)


@contextlib.contextmanager
def warnings_shown(who: str = "") -> Iterator[None]:
    """Show warnings as lines for people, on standard error."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        click.echo(f"{who}Warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


class _PassedOver:
    """What a search leaves out, to be said in one line."""

    LOOKED_AT = 10_000  # entries of folders below: a disk full of them is not worth the wait

    def __init__(self, films: bool) -> None:
        self.films = films  # whether they count as pictures
        self._kinds: Counter[str] = Counter()
        self._folders: list[str] = []

    def takes(self, name: str) -> bool:
        """Is it a picture, or a film where these are looked for?"""
        return is_picture(name) or (self.films and is_film(name))

    def file(self, name: str) -> None:
        """Note a file that is no picture."""
        self._kinds[os.path.splitext(name)[1].lower() or "without extension"] += 1

    def folder(self, path: str) -> None:
        """Note a folder that is not searched."""
        self._folders.append(path)

    def _count_below(self) -> str | None:
        """Return how many images are in the folders that were not searched; None for none."""
        images = looked_at = 0
        waiting = list(self._folders)
        while waiting and looked_at < self.LOOKED_AT:
            with contextlib.suppress(OSError), os.scandir(waiting.pop()) as found:
                for entry in found:
                    looked_at += 1
                    if entry.name.startswith("."):
                        continue
                    if _is_folder(entry):
                        waiting += [] if entry.is_symlink() else [entry.path]
                    else:
                        images += self.takes(entry.name)
        if not images:
            return None
        number = f"{images} or more" if waiting else str(images)
        return f"{number} image{'' if number == '1' else 's'} below: -r"

    def __str__(self) -> str:
        kinds = [f"{n} {kind}" for kind, n in self._kinds.most_common(5)]
        if len(self._kinds) > 5:
            kinds.append(f"{sum(self._kinds.values())} files of {len(self._kinds)} kinds in all")
        shards = "shards are named, or matched by a pattern" if self._has_shards() else None
        return "; ".join(filter(None, [", ".join(kinds), shards, self._count_below()]))

    def _has_shards(self) -> bool:
        return any(kind in self._kinds for kind in SHARDS)


def _images_in(folder: str, recursive: bool, passed_over: _PassedOver) -> Iterator[str]:
    """Yield the image files in a folder, in the order of their names; a line for what is barred."""
    waiting = [_entries(folder, first=True)]
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
        elif entry.name.startswith("."):  # hidden, and the ._*.jpg that macOS leaves about
            continue
        elif _is_folder(entry):
            if recursive and not entry.is_symlink():
                waiting.append(_entries(entry.path))
            elif not recursive:
                passed_over.folder(entry.path)
        elif passed_over.takes(entry.name):
            yield entry.path  # a dead link, a circle or a pipe, too: a row with an error
        else:
            passed_over.file(entry.name)


def _entries(folder: str, first: bool = False) -> Iterator[os.DirEntry[str]]:
    """Return what is in a folder; one that cannot be read ends the command only as an argument."""
    try:
        with os.scandir(folder) as found:
            return iter(sorted(found, key=lambda entry: entry.name))
    except OSError as error:
        message = f"cannot read folder {printable(folder)}: {error.strerror}"
        if first:
            raise Failure(message) from None
        click.echo(f"Warning: {message}", err=True)
        return iter(())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder without permission
        return False


def _read_list(stream: BinaryIO) -> list[str]:
    """Return the paths of a list, one a line, or separated by NUL (``find -print0``)."""
    data = stream.read()
    lines = data.split(b"\0") if b"\0" in data else data.replace(b"\r\n", b"\n").split(b"\n")
    return [os.fsdecode(line) for line in lines if line]


def find_images(paths: Sequence[str], recursive: bool = False, *, films: bool = False) -> list[str]:
    """Return the image files, and `films`, that arguments stand for, each once, in order."""
    found: list[str] = []
    passed_over = _PassedOver(films)
    how = (recursive, passed_over)
    for path in paths:
        if path == "-":
            for line in _read_list(sys.stdin.buffer):
                found += _images_in(line, *how) if os.path.isdir(line) else [line]
        elif is_address(path):
            found += _places_at(path, recursive, passed_over)
        elif os.path.isdir(path):
            # engines write a table as a folder of parts, under the name of a table
            parts = sorted(glob.glob(f"{glob.escape(path)}/*.parquet")) if is_table(path) else []
            found += parts or _images_in(path, *how)
        elif os.path.exists(path):
            found.append(path)
        elif glob.has_magic(path):  # a shell that does not expand, such as cmd.exe
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                raise Failure(f"no file matches {printable(path)}{_hint_for_pattern(path)}")
            for match in matches:
                if os.path.isdir(match):
                    found += _images_in(match, *how)
                elif passed_over.takes(match) or is_shard(match):
                    found.append(match)
                else:
                    passed_over.file(match)
        else:
            raise Failure(f"no such file or folder: {printable(path)}")
    left_out = str(passed_over)
    if not found:
        where = ", ".join(map(printable, paths))
        hint = f" ({printable(left_out)})" if left_out else ""
        raise Failure(f"no images found in {where}{hint}")
    if left_out:
        click.echo(f"Passed over: {printable(left_out)}", err=True)
    return list(dict.fromkeys(found))


def _places_at(address: str, recursive: bool, passed_over: _PassedOver) -> list[str]:
    try:
        found = places_at(address, recursive, passed_over.file)
    except MissingPackage as error:
        raise Failure(str(error)) from None
    except ImageError as error:
        raise Failure(f"{printable(address)}: {printable(error.reason)}") from None
    return found


def _hint_for_pattern(pattern: str) -> str:
    """Return why a pattern may match nothing."""
    folder, name = os.path.split(pattern)
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder or "."):
        return f": there is no folder {printable(folder)}"
    in_any_case = "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in name)
    if "[" not in name:
        where = os.path.dirname(pattern)
        if matches := glob.glob(os.path.join(where, in_any_case)):
            other = printable(os.path.basename(matches[0]))
            return f": case counts, and there is {other}"
        below = os.path.join(where, "**", name)
        if "**" not in pattern and glob.glob(below, recursive=True):
            return f": it does in folders below, as {printable(below)} says"
    return ""


def printable(name: AnyPath) -> str:
    """Make a name safe for a terminal: no control characters, no broken encoding, no secrets."""
    text = public_name(os.fspath(name)).encode("utf-8", "surrogateescape")
    shown = text.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def unwritable(name: AnyPath, error: OSError) -> Failure:
    """Return the failure that says why a file cannot be written."""
    return Failure(f"cannot write {printable(name)}: {error.strerror or error}")


def in_the_way(out: str, overwrite: bool, option: str = "--out") -> str | None:
    """Return why a file cannot be written, before the work that it is to hold; None if it can."""
    if os.path.isdir(out):
        return f"{printable(out)} is a folder: {option} takes a file"
    if os.path.lexists(out) and not overwrite:
        return f"{printable(out)} exists: give another file, or --overwrite to replace it"
    folder = os.path.dirname(out) or "."
    if not os.path.isdir(folder):
        return f"cannot write {printable(out)}: there is no folder {printable(folder)}"
    if not os.access(folder, os.W_OK):
        return f"cannot write {printable(out)}: no permission in its folder"
    return None
