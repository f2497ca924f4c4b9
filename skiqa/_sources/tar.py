"""Pictures of a tar shard, in the order in which they stand there; nothing is unpacked to a disk.

As WebDataset has it, a member is named by a key and an extension, as in ``000123.jpg`` beside
``000123.json``: members whose last extension is a picture's are pictures. Films are passed over.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Callable, Generator
from typing import BinaryIO

from skiqa._inputs.addresses import public_name
from skiqa._sources.kinds import is_picture, open_place
from skiqa._sources.named import Named
from skiqa.exceptions import ImageError

__all__ = ["iter_tar"]

LARGEST = 2**30  # bytes: an archive may say of a member what it likes

_DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)


def iter_tar(place: str, wanted: Callable[[str], bool]) -> Generator[Named, None, None]:
    """Yield the pictures of a tar shard.

    Parameters
    ----------
    place : str
        Path or address; compressed or not.
    wanted : callable
        Whether a picture of this name is to be read.

    Yields
    ------
    Named
        Where the shard ends before its time, the last one is the error that says so, under the name
        of the member that was being read, or of the shard.
    """
    name = shard = public_name(place)
    try:
        with open_place(place) as file, _opened(file) as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # which would grow with the shard
                name = f"tar://{member.name}::{shard}"
                hidden = member.name.rpartition("/")[2].startswith(".")  # ._*.jpg of macOS, too
                if is_picture(member.name) and not hidden and wanted(name):
                    yield Named(name, _content(tar, member))
                name = shard
    except (ImageError, OSError, *_DAMAGE) as error:
        yield Named(name, _why(error))


def _opened(file: BinaryIO) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r|*")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | ImageError:
    if member.size > LARGEST:
        return ImageError(f"it has {member.size / 2**30:.1f} GiB", kind="too_large")
    content = tar.extractfile(member) if member.isreg() else None
    if content is None:
        return ImageError("this is not a regular file in its tar shard, but a link or the like")
    return content.read()


def _why(error: Exception) -> ImageError:
    if isinstance(error, ImageError):
        return error
    if isinstance(error, FileNotFoundError):
        return ImageError("there is no such file", kind="missing")
    if isinstance(error, OSError):  # tarfile's own, too
        return ImageError(f"the shard cannot be read ({error.strerror or error})")
    return ImageError(f"the shard is damaged from here on ({error})", kind="damaged")
