"""Files that appear whole or not at all, and locks that die with their process."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from skiqa._types import Path as AnyPath

__all__ = ["check_folder", "lock_file", "remove_abandoned", "whole_file", "writing_to"]


@contextlib.contextmanager
def whole_file(path: AnyPath) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only when all of it is on the disk.

    Until then the name keeps what it had. Each writer has a temporary name of its own in the same
    folder, so that any number of them may write one file: the last to end is found, whole. An
    error within, such as a full disk, leaves nothing behind.

    Parameters
    ----------
    path : str or path
        Where to. A file that is there is replaced.

    Yields
    ------
    file object, binary

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skiqa._disk import whole_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "rows.csv")
    ...     with whole_file(path) as file:
    ...         _ = file.write(b"1,2")
    ...     path.read_bytes()
    b'1,2'
    """
    # Short, whatever the name is; hidden from whoever lists photos; made by `open`, so that it has
    # the rights that the user's umask gives, which files of `tempfile` have not.
    temporary = Path(path).with_name(f".{secrets.token_hex(8)}.tmp")
    file = open(temporary, "xb")  # noqa: SIM115 - closed below
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_abandoned(folder: Path) -> None:
    """Remove what writers of whole files left in a folder that were killed, a day ago or more.

    Younger ones may be written at this moment, by another machine, too.
    """
    for path in folder.glob(f".{'[0-9a-f]' * 16}.tmp"):
        with contextlib.suppress(FileNotFoundError):  # another run's
            if time.time() - path.stat().st_mtime > 86_400:
                path.unlink()


def lock_file(file: IO[str] | IO[bytes]) -> None:
    """Lock an open file until it is closed or the process dies, however it dies.

    Raises
    ------
    BlockingIOError or PermissionError
        If another process, or another opening of the file, has locked it.
    """
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def check_folder(path: AnyPath, parameter: str) -> None:
    """Raise ValueError if what a parameter names as a folder is a file."""
    if os.path.exists(path) and not os.path.isdir(path):
        raise ValueError(f"{parameter}={os.fspath(path)!r} is a file, it must be a directory")


@contextlib.contextmanager
def writing_to(folder: AnyPath, parameter: str) -> Iterator[None]:
    """Raise ValueError if, within, nothing can be made in the folder that a parameter names."""
    check_folder(folder, parameter)
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"{parameter}={os.fspath(folder)!r} cannot be written to ({error}): make room, "
            "see to its permissions or name another folder"
        ) from error
