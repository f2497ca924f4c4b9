"""Feature rows kept on disk, so that an image meets one network once.

A folder per configuration (everything but the image that changes a number) holds shards. A shard
is one file, written once and never changed: three numpy arrays in ``.npy`` format, one after the
other: two SHA-256 digests (of the keys, of the rows), the keys (n, 32) and the rows (n, d). Shards
have unique names and appear by renaming, so any number of processes may read and write with no
locks; at worst two processes compute the same row and both keep it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import uuid
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np

from skiqa._disk import check_folder
from skiqa._fork import ForkSafeLock
from skiqa._types import Bools, Floats
from skiqa._types import Path as AnyPath

__all__ = ["FeatureCache"]

KEY_BYTES = 32
SUFFIX = ".v1.features"

# Callers that score one photo at a time write shards of one row. When this many shards of fewer
# than SMALL_ROWS rows have gathered they are merged into one.
SMALL_SHARDS = 64
SMALL_ROWS = 64

# Rows whose place is remembered in this process (about 200 bytes each), whatever the configuration.
MEMO_ROWS = 2**20

Identity: TypeAlias = tuple[str, int, int]  # of a shard: path, size, mtime_ns

_MEMO: OrderedDict[Identity, _Shard] = OrderedDict()  # the least recently used first
_LOCK = ForkSafeLock()


@dataclass
class _Shard:
    """Where the rows of a shard are. Its keys were found intact; its rows, when `checked`."""

    places: dict[bytes, int]  # key -> row number
    width: int
    offset: int  # of the first row, in bytes
    digest: bytes  # of the rows
    checked: bool = False


class FeatureCache:
    """Rows of features on disk, by image digest.

    Parameters
    ----------
    cache_dir : str or path
        Made when the first rows are put.
    config : str
        Digest, in hexadecimal, of everything but the image that changes a row.

    Notes
    -----
    Looking up reads the keys of each shard, once per process, and the shards that hold a wanted
    row. These are checked the first time (1 s per GB); after that they come from the operating
    system's file cache: 4,000 rows of 3,136 features take about 0.05 s. No row stays in this
    process's memory.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skiqa._features.cache import FeatureCache
    >>> one, two = bytes(32), bytes([1] * 32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = FeatureCache(folder, "c0ffee")
    ...     cache.put([one], np.array([[1.0, 2.0]], np.float32))
    ...     rows, found = cache.get([two, one])
    >>> rows, found
    (array([[nan, nan],
           [ 1.,  2.]], dtype=float32), array([False,  True]))
    """

    def __init__(self, cache_dir: AnyPath, config: str) -> None:
        if not config.isalnum():
            raise ValueError(f"config must be a hexadecimal digest, not {config!r}")
        parent = Path(cache_dir).expanduser().absolute()
        check_folder(parent, "cache_dir")  # without permission: a warning
        self.config = config
        self.folder = parent / config

    def get(self, keys: Sequence[bytes]) -> tuple[Floats, Bools]:
        """Look rows up.

        Parameters
        ----------
        keys : list of bytes, of length n
            Image digests of 32 bytes.

        Returns
        -------
        rows : ndarray of shape (n, d), float32
            NaN where not found; d is 0 when nothing is.
        found : ndarray of shape (n,), bool

        Warns
        -----
        UserWarning
            When a shard is damaged, which is then deleted, or cannot be read.
        """
        _check_keys(keys)
        found = np.zeros(len(keys), bool)
        rows = np.empty((len(keys), 0), np.float32)
        wanted: dict[bytes, list[int]] = {}
        for position, key in enumerate(keys):
            wanted.setdefault(key, []).append(position)
        for hits, shard, block in self._find(set(wanted)):
            if rows.shape[1] == 0:
                rows = np.empty((len(keys), shard.width), np.float32)
            # A key may stand in `keys` more than once.
            positions = np.concatenate([wanted[key] for key in hits])
            sources = np.repeat(
                [shard.places[key] for key in hits], [len(wanted[key]) for key in hits]
            )
            rows[positions] = block[sources]
            found[positions] = True
        rows[~found] = np.nan
        return rows, found

    def put(self, keys: Sequence[bytes], rows: Floats) -> None:
        """Keep rows.

        Parameters
        ----------
        keys : list of bytes, of length n
        rows : ndarray of shape (n, d), float32

        Warns
        -----
        UserWarning
            When they cannot be written (full disk, no permission). Nothing is raised: the caller
            has the rows and can go on.
        """
        _check_keys(keys)
        rows = np.ascontiguousarray(rows, np.float32)
        if rows.ndim != 2 or len(rows) != len(keys):
            raise ValueError(f"rows must be of shape ({len(keys)}, d), not {rows.shape}")
        if not len(keys):
            return
        places = {key: number for number, key in enumerate(keys)}  # each key once
        try:
            self._write(list(places), rows[list(places.values())])
            self._merge_small(rows.shape[1])
        except OSError as error:
            warnings.warn(
                f"Features cannot be kept in the cache {str(self.folder)!r} ({error}). They are "
                "used, but computed again next time: make room, see to its permissions or choose "
                "another cache_dir.",
                stacklevel=2,
            )

    def _find(self, missing: set[bytes]) -> Iterator[tuple[list[bytes], _Shard, Floats]]:
        """Yield (keys, shard, its rows) until the set of keys is found or no shard is left.

        Again when a shard went away meanwhile, for then another process has merged it. A row may
        still be missed while others merge, which costs computing it.
        """
        for _ in range(5):
            gone = False
            for identity in self._identities():
                shard = self._open(identity)
                hits = list(missing & shard.places.keys()) if shard else []
                block = self._read(identity, shard) if shard and hits else None
                if shard and block is not None:
                    missing.difference_update(hits)
                    yield hits, shard, block
                if not missing:
                    return
                gone |= shard is None or (bool(hits) and block is None)
            if not gone:
                return

    def _identities(self) -> Iterator[Identity]:
        """List the shards."""
        try:
            with os.scandir(self.folder) as entries:
                paths = sorted(entry.path for entry in entries if entry.name.endswith(SUFFIX))
        except FileNotFoundError:
            return
        except OSError as error:
            warnings.warn(f"The feature cache cannot be read ({error}).", stacklevel=2)
            return
        for path in paths:
            with contextlib.suppress(OSError):  # gone between listing and looking
                yield _identity(path, os.stat(path))

    def _open(self, identity: Identity) -> _Shard | None:
        """Return a shard, its keys checked, and remember it; None if it is gone or damaged."""
        with _LOCK:
            if identity in _MEMO:
                _MEMO.move_to_end(identity)
                return _MEMO[identity]
        try:
            with open(identity[0], "rb") as file:
                shard = _parse(file, self.config)
        except FileNotFoundError:
            return None
        except OSError as error:
            warnings.warn(f"A shard of the feature cache cannot be read ({error}).", stacklevel=2)
            return None
        except Exception as error:  # whatever a damaged header makes numpy's reader stumble over
            _discard(identity, error)
            return None
        _remember(identity, shard)
        return shard

    def _read(self, identity: Identity, shard: _Shard) -> Floats | None:
        """Return the rows of a shard (n, d), checked the first time; None if gone or damaged."""
        count = len(shard.places) * shard.width
        try:
            with open(identity[0], "rb") as file:
                if _identity(identity[0], os.fstat(file.fileno())) != identity:
                    return None
                rows = np.fromfile(file, np.float32, count, offset=shard.offset)
        except OSError:
            return None
        if not shard.checked:
            if _checksum(self.config, rows.data) != shard.digest:
                _discard(identity, "the checksum of its rows does not match")
                return None
            shard.checked = True
        return rows.reshape(len(shard.places), shard.width)

    def _write(self, keys: list[bytes], rows: Floats) -> None:
        """Write a shard under a temporary name, then let it appear under its own, whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / (uuid.uuid4().hex + SUFFIX)
        temporary = path.with_suffix(".tmp")
        table = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), KEY_BYTES)
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, table, allow_pickle=False)
        header = np.lib.format.header_data_from_array_1_0(rows)
        np.lib.format.write_array_header_1_0(buffer, header)
        head = buffer.getvalue()
        digests = _checksum(self.config, head), _checksum(self.config, rows.data)
        digests_table = np.frombuffer(b"".join(digests), np.uint8).reshape(2, -1)
        try:
            with open(temporary, "wb") as file:
                np.lib.format.write_array(file, digests_table, allow_pickle=False)
                file.write(head)
                offset = file.tell()
                file.write(rows.data)
                file.flush()
                # Now, for once it has its name another process may merge it.
                identity = _identity(str(path), os.fstat(file.fileno()))
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        places = {key: number for number, key in enumerate(keys)}
        shard = _Shard(places, rows.shape[1], offset, digests[1], checked=True)
        _remember(identity, shard)

    def _merge_small(self, width: int) -> None:
        opened = [(identity, self._open(identity)) for identity in self._identities()]
        alike = [(identity, shard) for identity, shard in opened if shard and shard.width == width]
        small = [(identity, shard) for identity, shard in alike if len(shard.places) < SMALL_ROWS]
        if len(small) < SMALL_SHARDS:
            return
        merged: dict[bytes, Floats] = {}
        for identity, shard in small:
            block = self._read(identity, shard)
            if block is None:
                return  # another process is merging, too
            merged |= {key: block[number] for key, number in shard.places.items()}
        self._write(list(merged), np.stack(list(merged.values())))
        for identity, _ in small:
            with contextlib.suppress(OSError):  # gone already, or open elsewhere: it does no harm
                os.unlink(identity[0])


def _check_keys(keys: Sequence[bytes]) -> None:
    if not all(isinstance(key, bytes) and len(key) == KEY_BYTES for key in keys):
        raise ValueError(f"keys must be digests, bytes of length {KEY_BYTES}")


def _identity(path: str, status: os.stat_result) -> Identity:
    return path, status.st_size, status.st_mtime_ns


def _remember(identity: Identity, shard: _Shard) -> None:
    with _LOCK:
        _MEMO[identity] = shard
        total = sum(len(other.places) for other in _MEMO.values())
        while total > MEMO_ROWS and len(_MEMO) > 1:
            total -= len(_MEMO.popitem(last=False)[1].places)


def _discard(identity: Identity, why: str | Exception) -> None:
    """Delete a damaged shard; where that is not allowed, take it for empty from now on."""
    warnings.warn(
        f"The shard {identity[0]!r} of the feature cache is damaged ({why}). It is deleted, and "
        "its features are computed again.",
        stacklevel=2,
    )
    try:
        os.unlink(identity[0])
    except OSError:
        _remember(identity, _Shard({}, 0, 0, b""))


def _checksum(config: str, data: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(config.encode())
    digest.update(data)
    return digest.digest()


def _parse(file: BinaryIO, config: str) -> _Shard:
    """Read and check the head of a shard."""
    digests = np.lib.format.read_array(file, allow_pickle=False)
    start = file.tell()
    keys = np.lib.format.read_array(file, allow_pickle=False)
    np.lib.format.read_magic(file)
    (count, width), _, _ = np.lib.format.read_array_header_1_0(file)
    offset = file.tell()
    file.seek(start)
    if _checksum(config, file.read(offset - start)) != digests[0].tobytes():
        raise ValueError("the checksum of its keys does not match")
    if file.seek(0, os.SEEK_END) != offset + 4 * count * width:
        raise ValueError("it is truncated")
    places = {key.tobytes(): number for number, key in enumerate(keys)}
    return _Shard(places, width, offset, digests[1].tobytes())
