import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from skiqa._inputs import digests as module
from skiqa._inputs.digests import bytes_digest, file_digest, pixels_digest


@pytest.fixture(autouse=True)
def fresh_memo(monkeypatch):
    memo = type(module._MEMO)()
    monkeypatch.setattr(module, "_MEMO", memo)
    return memo


def aged(path, data, *, seconds=60):
    """Write a file as if that had been some time ago."""
    path.write_bytes(data)
    then = os.stat(path).st_mtime - seconds
    os.utime(path, (then, then))
    return path


def test_digest_is_sha256_of_the_bytes(tmp_path):
    data = bytes(range(256)) * 1000
    path = aged(tmp_path / "a", data)
    expected = hashlib.sha256(data).digest()
    assert file_digest(path) == file_digest(str(path)) == bytes_digest(data) == expected


def test_file_is_read_once(tmp_path, monkeypatch):
    path = aged(tmp_path / "a", b"first")
    reads = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: reads.append(a) or digest(*a))
    link = tmp_path / "link"
    link.symlink_to(path)
    monkeypatch.chdir(tmp_path)
    assert len({file_digest(p) for p in (path, path, link, "a", Path("./a"))}) == 1
    assert len(reads) == 1


def test_changed_file_is_read_again(tmp_path):
    path = aged(tmp_path / "a", b"first")
    before = file_digest(path)
    aged(path, b"other", seconds=30)
    assert file_digest(path) == bytes_digest(b"other") != before


def test_forged_mtime_is_noticed(tmp_path):
    """Copying tools keep mtime: a file replaced by another of the same size and mtime."""
    path = aged(tmp_path / "a", b"first")
    file_digest(path)
    status = os.stat(path)
    path.write_bytes(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    if os.stat(path).st_ctime_ns == status.st_ctime_ns:
        pytest.skip("the clock of this file system did not advance")
    assert file_digest(path) == bytes_digest(b"other")


def test_young_files_are_not_remembered(tmp_path, fresh_memo):
    path = tmp_path / "a"
    for data in (b"first", b"other"):
        path.write_bytes(data)
        assert file_digest(path) == bytes_digest(data)
    assert not fresh_memo


def test_memo_is_bounded(tmp_path, monkeypatch, fresh_memo):
    monkeypatch.setattr(module, "MEMO_ENTRIES", 3)
    paths = [aged(tmp_path / str(i), bytes([i])) for i in range(5)]
    for path in paths:
        file_digest(path)
    assert len(fresh_memo) == 3
    assert file_digest(paths[0]) == bytes_digest(b"\0")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "a")


def test_shape_is_part_of_pixels():
    pixels = np.zeros((2, 6, 3), np.uint8)
    assert pixels_digest(pixels) == pixels_digest(pixels.copy())
    assert pixels_digest(pixels) != pixels_digest(pixels.reshape(6, 2, 3))
    assert pixels_digest(pixels) != pixels_digest(pixels + np.uint8(1))
