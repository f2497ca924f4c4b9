"""Which image is this? Digests of files, bytes and pixels.

They key the feature cache and the training checkpoints, so two images with one digest must give
one number: encoded images are known by their bytes, all others by their RGB pixels.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import OrderedDict
from typing import TypeAlias

from skiqa._types import Path, Pixels

__all__ = ["bytes_digest", "file_digest", "file_key", "pixels_digest"]

MEMO_ENTRIES = 2**17

# A file written twice within one tick of the file system's clock may keep its mtime. Digests of
# files younger than this (FAT's tick is the longest) are not remembered; git and make do the same.
YOUNG_NANOSECONDS = 2_000_000_000

FileKey: TypeAlias = tuple[int, int, int, int, int]

_MEMO: OrderedDict[FileKey, bytes] = OrderedDict()  # the least recently used first
_LOCK = threading.Lock()


def bytes_digest(data: bytes | bytearray | memoryview) -> bytes:
    """SHA-256 of an encoded image; the same as :func:`file_digest` of a file with these bytes."""
    return hashlib.sha256(data).digest()


def pixels_digest(pixels: Pixels) -> bytes:
    """SHA-256 of an RGB uint8 image of shape (h, w, 3), its shape included."""
    state = hashlib.sha256(f"pixels {pixels.shape} ".encode())
    state.update(pixels.data)
    return state.digest()


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file's bytes, computed once per process as long as the file stays as it is.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    digest : bytes of length 32

    Raises
    ------
    OSError
        When the file cannot be read.

    Notes
    -----
    A file is known by its device, inode, size, mtime and ctime, whatever path leads to it. One
    that is being written while it is read is hashed, not remembered. Reading costs about 1.5 GB/s,
    remembering 131,072 files 60 MB.
    """
    key = file_key(os.stat(path))
    with _LOCK:
        if key in _MEMO:
            _MEMO.move_to_end(key)
            return _MEMO[key]
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        status = os.fstat(file.fileno())
    if file_key(status) == key and abs(time.time_ns() - status.st_mtime_ns) > YOUNG_NANOSECONDS:
        with _LOCK:
            _MEMO[key] = digest
            while len(_MEMO) > MEMO_ENTRIES:
                _MEMO.popitem(last=False)
    return digest


def file_key(status: os.stat_result) -> FileKey:
    """Return what changes when a file does, whatever path leads to it, from its `os.stat`."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
