"""Finding what a database is made of: score files, folders and images, whatever their case."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

IMAGE_SUFFIXES = {".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}


def find_path(root: Path, *names: str) -> Path | None:
    """Return the first of some files or folders, in `root` or one folder below; or None.

    Archives unpack into a folder of their own, and people point at either.
    """
    below = sorted(path for path in root.iterdir() if os.path.isdir(path)) if root.is_dir() else []
    for folder in (root, *below):
        for name in names:
            if os.path.exists(folder / name):
                return folder / name
    return None


def find_image_folder(root: Path, folders: Sequence[str], name: str) -> str:
    """Return which of some folders (relative, "" for none) holds the image; the first if none.

    It ends with a slash, if it is one, so that a file name can follow.
    """
    there = (folder for folder in folders if Finder().find(root / folder, name) is not None)
    folder = next(there, folders[0])
    return f"{folder}/" if folder else ""


class Finder:
    """Finds files by names as tables write them; folders are listed once."""

    def __init__(self) -> None:
        self._entries = cache(_entries)

    def find(self, root: Path, name: str) -> Path | None:
        """Return the file of that name below a folder, or of an absolute name; None if none.

        A name is met by the very same on disk or, failing that, by one that differs in case or in
        Unicode form (macOS stores names decomposed); "./" and "\\" are what they mean.

        Raises
        ------
        ValueError
            If two or more files differ from the name only so.
        """
        found = root
        relative = Path(_tidy(name))
        if relative.is_absolute():
            found, relative = Path(relative.anchor), relative.relative_to(relative.anchor)
        for part in relative.parts:
            there = self._entries(found).get(_key(part), [])
            # "..", or in a folder that may not be listed
            if not there and not os.path.exists(found / part):
                return None
            if len(there) > 1 and part not in there:
                raise ValueError(
                    f"{name!r} may be {' or '.join(map(repr, sorted(there)))} in {found}: write it "
                    "as the file is called"
                )
            found /= there[0] if there and part not in there else part
        return found


def name_key(name: str) -> str:
    r"""Return what the names by which a :class:`Finder` finds one file have in common.

    Examples
    --------
    >>> from skiqa.datasets._files import name_key
    >>> name_key(r"./A\b.JPG")
    'a/b.jpg'
    """
    return _key(_tidy(name).replace(os.sep, "/"))


def _tidy(name: str) -> str:
    return os.path.normpath(name.replace("\\", "/"))


def _key(name: str) -> str:
    """Return what names of one file have in common, whatever their case and Unicode form."""
    return unicodedata.normalize("NFC", name.lower())


def _entries(folder: Path) -> dict[str, list[str]]:
    """Return the names of what lies in a folder, by their keys."""
    names: dict[str, list[str]] = {}
    with suppress(OSError):
        for name in os.listdir(folder):
            names.setdefault(_key(name), []).append(name)
    return names


def locate_images(
    root: Path,
    names: Iterable[str],
    title: str,
    expected: str,
    *,
    also: Collection[str] = (),
    strict: bool = True,
) -> list[str]:
    """Return the paths of images, found whatever the case and Unicode form of their names.

    Parameters
    ----------
    root : Path
    names : list of str
        Relative to `root`, or absolute.
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
    names, finder = [str(name) for name in names], Finder()
    found = [finder.find(root, name) for name in names]
    paths = [path for path in found if path is not None]
    if len(paths) < len(names):
        missing = [name for name, path in zip(names, found, strict=True) if path is None]
        raise FileNotFoundError(
            f"{title}: {len(missing)} of {len(names)} images are missing in {root}: "
            f"{_first_few(missing)}. Expected:\n{expected}"
        )
    if strict:
        known = {*paths, *(finder.find(root, name) for name in also)}
        unknown = sorted(
            str(path.relative_to(root))
            for folder in {path.parent for path in paths}
            for path in _visible_files(folder)
            if path not in known and path.suffix.lower() in IMAGE_SUFFIXES
        )
        if unknown:
            raise ValueError(
                f"{title}: {len(unknown)} images in {root} are not in the score file: "
                f"{_first_few(unknown)}. Move them away. Expected:\n{expected}"
            )
    return [str(path) for path in paths]


def copies(paths: Sequence[str]) -> dict[int, int]:
    """Return which files hold the same bytes as an earlier one: {index: index of the first}.

    Only files of one size are opened, and read whole only if their first 4 kB are equal. Empty
    ones hold nothing that could be the same.
    """
    groups = [[index for index, path in enumerate(paths) if os.path.getsize(path)]]
    for tell_apart in (os.path.getsize, _start, _digest):
        by_sight: dict[tuple[int, Any], list[int]] = {}
        for number, group in enumerate(groups):
            for index in group:
                by_sight.setdefault((number, tell_apart(paths[index])), []).append(index)
        groups = [group for group in by_sight.values() if len(group) > 1]
    return {index: group[0] for group in groups for index in group[1:]}


def _start(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(4096)


def _digest(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def name_parts(names: Iterable[str]) -> list[list[str]]:
    """Return what stands between the underscores of file names, without folder and suffix."""
    return [name.rpartition("/")[2].rpartition(".")[0].split("_") for name in names]


def _visible_files(folder: Path) -> list[Path]:
    """Return the files of a folder, hidden ones left out (macOS leaves ._a.jpg beside a.jpg)."""
    if not os.path.isdir(folder):  # never raises, for a link to itself or no permission
        return []
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _first_few(names: Sequence[str], at_most: int = 3) -> str:
    return ", ".join(names[:at_most]) + (", ..." if len(names) > at_most else "")
