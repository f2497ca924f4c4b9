"""Pictures at addresses: whatever fsspec opens, read again when a fault has passed.

Who may read them is up to fsspec: credentials come from the environment. Addresses that hold some
are shown without.
"""

from __future__ import annotations

import contextlib
import io
import random
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, TypeGuard, TypeVar, cast

from skiqa.exceptions import ImageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = [
    "MissingPackage",
    "file_system",
    "is_address",
    "open_address",
    "public_name",
    "read_address",
    "retried",
    "unreadable",
]

Result = TypeVar("Result")

# Two letters at least: C:/ is a drive. fsspec chains addresses: zip://a.jpg::s3://bucket/photos.zip
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]+"
_ADDRESS = re.compile(rf"(?:{_SCHEME}::)*{_SCHEME}://")

# What lets others in: user and password, a token, a signature.
_USER = re.compile(r"(?<=://)(?<!memory://)(?<!file://)(?<!tar://)(?<!zip://)[^/@?#\s]+@")
_SECRET = re.compile(
    r"([?&](?:[^=&#\s]*[-_])?(?:sig|signature|token|secret|password|credential|auth|(?:api)?key"
    r"|awsaccesskeyid)=)[^&#\s:]+",
    re.IGNORECASE,
)

# Seconds between attempts, each up to a quarter more or less: many readers must not come back
# together.
WAITS = (0.25, 0.5, 1.0, 2.0, 4.0)
_JITTER = random.Random()
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_PASSING_STATUSES = {408, 425, 429}  # of HTTP, and all from 500


class MissingPackage(ImportError):
    """What reads pictures where they lie is not installed."""


def is_address(value: object) -> TypeGuard[str]:
    """Is it an address that fsspec opens, such as "s3://bucket/a.jpg"?

    Examples
    --------
    >>> from skiqa._inputs.addresses import is_address
    >>> is_address("https://example.org/a.jpg"), is_address("C:/photos/a.jpg")
    (True, False)
    """
    return isinstance(value, str) and _ADDRESS.match(value) is not None


def public_name(address: str) -> str:
    """Return an address as it may be shown: without user, password, tokens and signatures.

    Examples
    --------
    >>> from skiqa._inputs.addresses import public_name
    >>> public_name("https://me:secret@example.org/a.jpg?size=2&X-Amz-Signature=12ab")
    'https://example.org/a.jpg?size=2&X-Amz-Signature=...'
    """
    return _SECRET.sub(r"\1...", _USER.sub("", address)) if "://" in address else address


def file_system(address: str) -> tuple[AbstractFileSystem, str]:
    """Return what reads an address, and the path of the address therein.

    Raises
    ------
    MissingPackage
        If fsspec, or what it needs for this kind of address, is not installed.
    ImageError
        If fsspec does not know this kind of address, or cannot open the archive in which it is.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise MissingPackage(
            f"{public_name(address)} is an address, and reading these needs an extra: "
            "pip install 'skiqa[sources]'"
        ) from None
    try:
        fs, path = url_to_fs(address)
    except ImportError as error:
        kind = address.partition("://")[0]
        raise MissingPackage(f"reading {kind}:// needs a package: {error}") from None
    except ValueError as error:
        raise ImageError(f"this kind of address is not known ({_shown(error)})") from error
    except Exception as error:  # of an archive, which is opened at once
        raise unreadable(error) from error
    return fs, cast("str", path)


def retried(read: Callable[[], Result]) -> Result:
    """Return what `read` does, tried again while faults are such as pass: busy, cut off, slow."""
    for wait in WAITS:
        try:
            return read()
        except Exception as error:
            if not _passes(error):
                raise
        time.sleep(wait * _JITTER.uniform(0.75, 1.25))
    return read()


def _passes(error: Exception) -> bool:
    status = getattr(error, "status", None)  # of an answer by HTTP
    if isinstance(status, int) and status:
        return status in _PASSING_STATUSES or status >= 500
    if type(error).__module__.partition(".")[0] == "aiohttp":
        return not isinstance(error, ValueError)  # no address at all
    return isinstance(error, OSError) and not isinstance(error, _LASTING)


def unreadable(error: Exception) -> ImageError:
    """Say in the user's words why an address cannot be read."""
    if isinstance(error, ImageError):
        return error
    if isinstance(error, FileNotFoundError):
        return ImageError("there is nothing at this address", kind="missing")
    if isinstance(error, PermissionError):
        return ImageError(f"permission to read this address is denied ({_shown(error)})")
    return ImageError(f"the address cannot be read ({_shown(error)})")


def _shown(error: Exception) -> str:
    """Return the first line of an error, addresses in it as they may be shown."""
    return public_name((str(error).strip() or type(error).__name__).splitlines()[0])


def read_address(address: str) -> bytes:
    """Return the bytes at an address.

    Raises
    ------
    ImageError
        If they cannot be read: not there, not allowed, or a fault that did not pass.
    MissingPackage
        As of `file_system`.
    """
    fs, path = file_system(address)
    try:
        return bytes(retried(lambda: fs.cat_file(path)))
    except Exception as error:  # what a file system raises depends on the service behind it
        raise unreadable(error) from error


def open_address(address: str) -> BinaryIO:
    """Open what is at an address for reading, from the start to the end or at any place.

    When it breaks off it is opened again where it was, as often as `retried` says. Reading raises
    ImageError as `read_address` does.
    """
    return io.BufferedReader(_Reopened(address), 2**20)


class _Reopened(io.RawIOBase):
    """What is at an address; a file object of fsspec's, and another one behind a fault."""

    def __init__(self, address: str) -> None:
        self._fs, self._path = file_system(address)
        self._file: BinaryIO | None = None
        self._at = 0
        self._how: dict[str, int] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = 0
        if whence == io.SEEK_CUR:
            start = self._at
        elif whence == io.SEEK_END:
            start = self._tried(lambda: self._fs.size(self._path))
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._tried(lambda: self._read(len(view)))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _tried(self, read: Callable[[], Result]) -> Result:
        try:
            return retried(read)
        except Exception as error:  # as of `read_address`
            raise unreadable(error) from error

    def _read(self, size: int) -> bytes:
        try:
            if self._file is None:
                self._file = cast("BinaryIO", self._fs.open(self._path, "rb", **self._how))
            if self._file.tell() != self._at:
                self._go_on(self._file)
            return self._file.read(size)
        except ValueError:  # a web server that sends whole files only
            self._drop()
            if self._how:
                raise
            self._how = {"block_size": 0}
            return self._read(size)
        except BaseException:
            self._drop()
            raise

    def _go_on(self, file: BinaryIO) -> None:
        try:
            file.seek(self._at)
        except ValueError:  # it only comes from its start on
            while behind := self._at - file.tell():
                if behind < 0 or not file.read(min(behind, 2**20)):
                    raise

    def _drop(self) -> None:
        if self._file is not None:
            with contextlib.suppress(Exception):
                self._file.close()
            self._file = None

    def close(self) -> None:
        self._drop()
        super().close()
