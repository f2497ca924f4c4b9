"""Files appear whole or not at all; locks are one holder's; folders in which nothing can be."""

import os
import threading

import pytest

from skiqa._disk import lock_file, whole_file, writing_to


def test_what_was_there_stays_until_the_end(tmp_path):
    path = tmp_path / "model.skiqa"
    path.write_bytes(b"old")
    with whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["model.skiqa"]


def _write_half(file, error):
    file.write(b"half")
    raise error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_nothing_behind(tmp_path, error):
    path = tmp_path / "model.skiqa"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), whole_file(path) as file:
        _write_half(file, error)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.skiqa"]


def test_all_is_on_the_disk_before_the_name_is_taken(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda *a: calls.append("fsync") or fsync(*a))
    monkeypatch.setattr(os, "replace", lambda *a: calls.append("replace") or replace(*a))
    with whole_file(tmp_path / "model.skiqa") as file:
        file.write(b"new")
    assert calls == ["fsync", "replace"]


def test_a_rename_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"), whole_file(tmp_path / "folder") as file:
        file.write(b"x")
    assert os.listdir(tmp_path) == ["folder"]


def test_writers_at_once_each_write_a_whole_file(tmp_path):
    path = tmp_path / "model.skiqa"
    texts = [letter * 300_000 for letter in (b"a", b"b", b"c", b"d")]
    seen, done = set(), threading.Event()

    def write(text):
        for _ in range(10):
            with whole_file(path) as file:
                for start in range(0, len(text), 100_000):
                    file.write(text[start : start + 100_000])

    def read():
        while not done.is_set():
            if path.exists():
                seen.add(path.read_bytes())

    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert seen
    assert seen <= set(texts)
    assert os.listdir(tmp_path) == ["model.skiqa"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_rights_are_those_of_any_new_file(tmp_path):
    with whole_file(tmp_path / "a"):
        pass
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("x" * 255)
    with whole_file(path) as file:
        file.write(b"1")
    assert path.read_bytes() == b"1"


def test_a_lock_has_one_holder_and_ends_with_its_file(tmp_path):
    with open(tmp_path / "lock", "a") as first, open(tmp_path / "lock", "a") as second:
        lock_file(first)
        with pytest.raises((BlockingIOError, PermissionError)):
            lock_file(second)
        first.close()
        lock_file(second)


def test_a_folder_that_cannot_be_written_to(tmp_path):
    file = tmp_path / "file"
    file.touch()
    message = r"maps_dir='.*file' is a file, it must be a directory"
    with pytest.raises(ValueError, match=message), writing_to(file, "maps_dir"):
        pass
    for error in (PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")):
        message = rf"maps_dir=.*{error.strerror}.*name another folder"
        with pytest.raises(ValueError, match=message), writing_to(tmp_path, "maps_dir"):
            raise error
