"""Which pictures and shards an address stands for: itself, a pattern, or all below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from skiqa._inputs.addresses import file_system, retried, unreadable
from skiqa._sources.kinds import is_picture, is_shard, path_of
from skiqa.exceptions import ImageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["places_at"]


def places_at(
    address: str, recursive: bool, pass_over: Callable[[str], None] = lambda name: None
) -> list[str]:
    """Return the addresses of the pictures, and of the shards, that an address stands for.

    Parameters
    ----------
    address : str
        One that ends in a slash, or leads to a folder, stands for the pictures therein, and one
        with ``*`` for all pictures and shards that match. Any other is taken as it is.
    recursive : bool
        Whether folders below a folder are searched, too.
    pass_over : callable
        Given the names of files that are neither, and of shards that a folder holds.

    Returns
    -------
    list of str
        In the order of their names.

    Raises
    ------
    ImageError
        If it cannot be looked at.
    MissingPackage
        If what reads such addresses is not installed.
    """
    try:
        fs, path = file_system(address)
    except ImageError:
        if _named(address):  # its row says so
            return [address]
        raise
    web = address.startswith(("http://", "https://"))  # where ? and [ are no patterns
    try:
        pattern = "*" in path or (not web and any(c in path for c in "?["))
        if pattern and not (_named(address) and not web and fs.exists(path)):
            return _kept(retried(lambda: fs.glob(path, detail=True)), fs, address, True, pass_over)
        if address.endswith("/") or (not web and not _named(address) and fs.isdir(path)):
            list_all = fs.find if recursive else fs.ls
            found = retried(lambda: list_all(path, detail=True))
            return _kept(found, fs, address, False, pass_over)
    except ImageError:
        raise
    except Exception as error:  # what a file system raises depends on the service behind it
        raise unreadable(error) from error
    return [address]


def _named(address: str) -> bool:
    return is_picture(path_of(address)) or is_shard(address)


def _kept(
    found: Any,
    fs: AbstractFileSystem,
    address: str,
    shards: bool,
    pass_over: Callable[[str], None],
) -> list[str]:
    """Return the addresses of those that are of use."""
    entries = found.values() if isinstance(found, dict) else found
    chain = address.partition("::")
    names = sorted(entry["name"] for entry in entries if entry["type"] == "file")
    kept = []
    for name in names:
        if name.rpartition("/")[2].startswith("."):
            continue
        if is_picture(name) or (shards and is_shard(name)):
            kept.append(fs.unstrip_protocol(name) + "".join(chain[1:]))
        else:
            pass_over(name)
    return kept
