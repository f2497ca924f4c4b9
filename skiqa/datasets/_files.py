"""Finding what a database is made of: score files, folders and images, whatever their case."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

IMAGE_SUFFIXES = {".bmp", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp"}


def find_path(root: Path, *names: str) -> Path | None:
    """Return the first of some files or folders, in `root` or one folder below; or None.

    Archives unpack into a folder of their own, and people point at either.
    """
    below = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for folder in (root, *below):
        for name in names:
            if (folder / name).exists():
                return folder / name
    return None


def find_image_folder(root: Path, folders: Sequence[str], name: str) -> str:
    """Return which of some folders (relative, "" for none) holds the image; the first if none.

    It ends with a slash, if it is one, so that a file name can follow.
    """
    for folder in folders:
        if any(path.name.lower() == name.lower() for path in _visible_files(root / folder)):
            return f"{folder}/" if folder else ""
    return f"{folders[0]}/" if folders[0] else ""


def locate_images(
    root: Path,
    names: Iterable[str],
    title: str,
    expected: str,
    *,
    also: Collection[str] = (),
    strict: bool = True,
) -> list[str]:
    """Return the paths of images, found whatever the case of their names.

    Parameters
    ----------
    root : Path
    names : list of str
        Relative to `root`, with forward slashes.
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
    names = [str(name).replace("\\", "/") for name in names]
    there = {}
    for folder in {name.rpartition("/")[0] for name in names}:
        for path in _visible_files(root / folder):
            # TID's lists say i01 where the disk says I01, and people rename .JPG
            there[f"{folder}/{path.name}".lstrip("/").lower()] = path
    missing = [name for name in names if name.lower() not in there]
    if missing:
        raise FileNotFoundError(
            f"{title}: {len(missing)} of {len(names)} images are missing in {root}: "
            f"{_first_few(missing)}. Expected:\n{expected}"
        )
    if strict:
        known = {name.lower() for name in (*names, *also)}
        unknown = sorted(
            key
            for key, path in there.items()
            if key not in known and path.suffix.lower() in IMAGE_SUFFIXES
        )
        if unknown:
            raise ValueError(
                f"{title}: {len(unknown)} images in {root} are not in the score file: "
                f"{_first_few(unknown)}. Move them away. Expected:\n{expected}"
            )
    return [str(there[name.lower()]) for name in names]


def name_parts(names: Iterable[str]) -> list[list[str]]:
    """Return what stands between the underscores of file names, without folder and suffix."""
    return [name.rpartition("/")[2].rpartition(".")[0].split("_") for name in names]


def _visible_files(folder: Path) -> list[Path]:
    """Return the files of a folder, hidden ones left out (macOS leaves ._a.jpg beside a.jpg)."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _first_few(names: Sequence[str], at_most: int = 3) -> str:
    return ", ".join(names[:at_most]) + (", ..." if len(names) > at_most else "")
