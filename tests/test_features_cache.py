import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skiqa._features import cache as module
from skiqa._features.cache import FeatureCache

CONFIG = "ab" * 32


@pytest.fixture(autouse=True)
def fresh_memo(monkeypatch):
    memo = type(module._MEMO)()
    monkeypatch.setattr(module, "_MEMO", memo)
    return memo


def key(i):
    return hashlib.sha256(str(i).encode()).digest()


def table(n, d=7, *, start=0):
    """Keys and rows; row i begins with the number i."""
    rows = np.random.default_rng(start).standard_normal((n, d)).astype(np.float32)
    rows[:, 0] = np.arange(start, start + n)
    return [key(i) for i in range(start, start + n)], rows


def shards(cache):
    return sorted(cache.folder.glob("*" + module.SUFFIX))


def test_round_trip(tmp_path, fresh_memo):
    cache = FeatureCache(tmp_path, CONFIG)
    keys, rows = table(20)
    cache.put(keys[:12], rows[:12])
    cache.put(keys[12:], rows[12:])
    for memo in ("warm", "cold"):
        if memo == "cold":
            fresh_memo.clear()
        order = np.random.default_rng(0).permutation(20)
        got, found = cache.get([keys[i] for i in order])
        assert got.dtype == np.float32
        assert found.dtype == bool
        assert found.all()
        assert_array_equal(got, rows[order])
    assert len(shards(cache)) == 2
    assert not list(tmp_path.rglob("*.tmp"))


def test_what_is_missing_is_nan(tmp_path):
    cache = FeatureCache(tmp_path / "not yet", CONFIG)
    got, found = cache.get([key(0), key(1)])
    assert got.shape == (2, 0)
    assert not found.any()
    keys, rows = table(3)
    cache.put(keys, rows)
    got, found = cache.get([key(99), key(2), key(98)])
    assert_array_equal(found, [False, True, False])
    assert_array_equal(got[1], rows[2])
    assert np.isnan(got[[0, 2]]).all()
    got, found = cache.get([])
    assert got.shape == (0, 0)
    assert found.shape == (0,)


def test_configurations_are_apart(tmp_path):
    keys, rows = table(3)
    FeatureCache(tmp_path, "aa").put(keys, rows)
    assert not FeatureCache(tmp_path, "bb").get(keys)[1].any()
    assert FeatureCache(str(tmp_path), "aa").get(keys)[1].all()


def test_shard_of_another_configuration_is_damaged(tmp_path):
    keys, rows = table(3)
    FeatureCache(tmp_path, "aa").put(keys, rows)
    (tmp_path / "aa").rename(tmp_path / "bb")
    with pytest.warns(UserWarning, match="checksum"):
        assert not FeatureCache(tmp_path, "bb").get(keys)[1].any()


@given(st.lists(st.lists(st.integers(0, 15), max_size=8), max_size=5), st.lists(st.integers(0, 20)))
@settings(max_examples=25)
def test_cache_is_a_dictionary(puts, query):
    expected = {}
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(folder, CONFIG)
        for row_ids in puts:
            cache.put(
                [key(i) for i in row_ids], np.array([[i, -i] for i in row_ids]).reshape(-1, 2)
            )
            expected |= {i: [i, -i] for i in row_ids}
        got, found = cache.get([key(i) for i in query])
        assert_array_equal(found, [i in expected for i in query])
        for i, row in zip(query, got, strict=True):
            if i in expected:
                assert_array_equal(row, expected[i])


def test_shards_are_plain_numpy_arrays(tmp_path):
    cache = FeatureCache(tmp_path, CONFIG)
    keys, rows = table(4)
    cache.put(keys, rows)
    (path,) = shards(cache)
    with open(path, "rb") as file:
        digests, stored_keys, stored_rows = (np.load(file, allow_pickle=False) for _ in range(3))
        assert file.read() == b""
    assert digests.shape == (2, 32)
    assert [k.tobytes() for k in stored_keys] == keys
    assert_array_equal(stored_rows, rows)


# Damage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 7, 40, 130, 200, 300, 420, 600, -1])
def test_damaged_byte_is_noticed_and_computed_again(place, tmp_path, fresh_memo):
    cache = FeatureCache(tmp_path, CONFIG)
    keys, rows = table(10)
    cache.put(keys[:5], rows[:5])
    (path,) = shards(cache)
    cache.put(keys[5:], rows[5:])
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)
    fresh_memo.clear()
    with pytest.warns(UserWarning, match=path.name):
        got, found = cache.get(keys)
    assert_array_equal(found, [False] * 5 + [True] * 5)
    assert_array_equal(got[5:], rows[5:])
    assert not path.exists()
    cache.put(keys[:5], rows[:5])
    assert_array_equal(cache.get(keys)[0], rows)


@pytest.mark.parametrize("kept", [0, 5, 128, 200, 500, -1, -40])
def test_torn_shard(kept, tmp_path, fresh_memo):
    cache = FeatureCache(tmp_path, CONFIG)
    keys, rows = table(10)
    cache.put(keys, rows)
    (path,) = shards(cache)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.warns(UserWarning, match="damaged"):  # though remembered: its size has changed
        assert not cache.get(keys)[1].any()
    assert not path.exists()


def test_damaged_shard_that_cannot_be_deleted_is_told_once(tmp_path, fresh_memo, monkeypatch):
    cache = FeatureCache(tmp_path, CONFIG)
    keys, rows = table(10)
    cache.put(keys, rows)
    (path,) = shards(cache)
    path.write_bytes(path.read_bytes()[:-1])

    def denied(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "unlink", denied)
    with pytest.warns(UserWarning, match="damaged"):
        cache.get(keys)
    for _ in range(2):  # warnings are errors
        assert not cache.get(keys)[1].any()


def test_foreign_files_are_left_alone(tmp_path):
    cache = FeatureCache(tmp_path, CONFIG)
    keys, rows = table(3)
    cache.put(keys, rows)
    for name in ("README.txt", "x.tmp", "x.v2.features"):
        (cache.folder / name).write_text("mine")
    assert cache.get(keys)[1].all()
    assert len(list(cache.folder.iterdir())) == 4


def test_unwritable_directory_warns_and_goes_on(tmp_path):
    cache = FeatureCache(tmp_path / "cache", CONFIG)
    (tmp_path / "cache").write_text("a file has taken its place")
    keys, rows = table(3)
    with pytest.warns(UserWarning, match="make room, .* or choose another cache_dir"):
        cache.put(keys, rows)
    with pytest.warns(UserWarning, match="cannot be read"):
        assert not cache.get(keys)[1].any()
    with pytest.raises(ValueError, match="is a file"):
        FeatureCache(tmp_path / "cache", CONFIG)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_permission_denied(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.warns(UserWarning, match="Permission"):
        FeatureCache(tmp_path, CONFIG).put(*table(3))


def test_a_folder_that_may_not_be_looked_into(tmp_path, monkeypatch):
    def denied(path, *args, **kwargs):
        if str(path).startswith(str(tmp_path)):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *args, **kwargs)

    stat = os.stat
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", denied)
        FeatureCache(tmp_path / "cache", CONFIG)  # `put` warns


def test_full_disk_leaves_no_shard(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    cache = FeatureCache(tmp_path, CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.warns(UserWarning, match="No space left"):
            cache.put(*table(3))
    assert list(cache.folder.iterdir()) == []


def test_wrong_arguments(tmp_path):
    cache = FeatureCache(tmp_path, CONFIG)
    with pytest.raises(ValueError, match="digests"):
        cache.get(["a.jpg"])
    with pytest.raises(ValueError, match="digests"):
        cache.put([b"short"], np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"shape \(1, d\), not \(2, 3\)"):
        cache.put([key(0)], np.zeros((2, 3)))
    with pytest.raises(ValueError, match="hexadecimal"):
        FeatureCache(tmp_path, "../up")


# Memo, merging ------------------------------------------------------------------------------------


def test_shards_are_checked_once(tmp_path, fresh_memo, monkeypatch):
    cache = FeatureCache(tmp_path, CONFIG)
    keys, rows = table(10)
    cache.put(keys, rows)
    hashed = []
    checksum = module._checksum
    monkeypatch.setattr(module, "_checksum", lambda *a: hashed.append(1) or checksum(*a))
    cache.get(keys)
    assert not hashed  # what this process wrote it knows
    fresh_memo.clear()
    for _ in range(3):
        assert_array_equal(FeatureCache(tmp_path, CONFIG).get(keys)[0], rows)
    assert len(hashed) == 2  # its keys, its rows


def test_relative_directory_is_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = FeatureCache("cache", CONFIG)
    keys, rows = table(3)
    cache.put(keys, rows)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cache.get(keys)[1].all()


def test_memo_is_bounded(tmp_path, fresh_memo, monkeypatch):
    monkeypatch.setattr(module, "MEMO_ROWS", 25)
    cache = FeatureCache(tmp_path, CONFIG)
    keys, rows = table(100)
    for i in range(0, 100, 10):
        cache.put(keys[i : i + 10], rows[i : i + 10])
        assert sum(len(shard.places) for shard in fresh_memo.values()) <= 25
    assert_array_equal(cache.get(keys)[0], rows)
    assert len(fresh_memo) == 2


def test_single_rows_are_merged(tmp_path, fresh_memo, monkeypatch):
    monkeypatch.setattr(module, "SMALL_SHARDS", 8)
    cache = FeatureCache(tmp_path, CONFIG)
    keys, rows = table(30)
    for i in range(30):
        cache.put(keys[i : i + 1], rows[i : i + 1])
        assert len(shards(cache)) <= 8
    fresh_memo.clear()
    got, found = cache.get(keys)
    assert found.all()
    assert_array_equal(got, rows)


def test_merging_while_reading(tmp_path, monkeypatch):
    """A shard listed by a reader and merged by another process is found where it went."""
    monkeypatch.setattr(module, "SMALL_SHARDS", 4)
    reader, writer = FeatureCache(tmp_path, CONFIG), FeatureCache(tmp_path, CONFIG)
    keys, rows = table(4)
    for i in range(3):
        writer.put(keys[i : i + 1], rows[i : i + 1])
    listed = list(reader._identities())
    writer.put(keys[3:], rows[3:])
    assert len(shards(writer)) == 1
    listings = iter([listed, list(reader._identities())])
    monkeypatch.setattr(reader, "_identities", lambda: next(listings))
    got, found = reader.get(keys)
    assert found.all()
    assert_array_equal(got, rows)


WORKER = """
import sys, warnings
import numpy as np
warnings.simplefilter("error")
from skiqa._features import cache as module
from skiqa._features.cache import FeatureCache
sys.path.insert(0, {tests!r})
from test_features_cache import key
module.SMALL_SHARDS = 5  # merge often
folder, mine = sys.argv[1], int(sys.argv[2])
cache = FeatureCache(folder, "ab" * 32)
print("ready", flush=True)
sys.stdin.readline()
for i in range(60):
    # half of the rows are the other's, too
    row_ids = [i, 1000 * mine + i]
    cache.put([key(n) for n in row_ids], np.array([[n, -n] for n in row_ids], np.float32))
    asked = list(range(i + 1)) + [1000 * mine + j for j in range(i + 1)] + [1000 * (3 - mine) + i]
    for attempt in range(100):  # a row may be missed while the other merges, but is not lost
        rows, found = cache.get([key(n) for n in asked])
        if found[:-1].all():
            break
    assert found[:-1].all(), (i, found)
    for n, row, there in zip(asked, rows, found):
        assert not there or (row == [n, -n]).all()
"""


def test_two_processes_at_once(tmp_path):
    script = WORKER.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", script, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    workers = [subprocess.Popen([*command, str(i)], text=True, **pipes) for i in (1, 2)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    errors = [worker.communicate(timeout=60)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], "".join(errors)
    cache = FeatureCache(tmp_path, CONFIG)
    row_ids = [*range(60), *range(1000, 1060), *range(2000, 2060)]
    rows, found = cache.get([key(n) for n in row_ids])
    assert found.all()
    assert_array_equal(rows, [[n, -n] for n in row_ids])
    assert not list(tmp_path.rglob("*.tmp"))


def test_killed_writer_leaves_nothing_that_is_read(tmp_path):
    """A temporary file is never taken for a shard, however far its writer came."""
    cache = FeatureCache(tmp_path, CONFIG)
    keys, rows = table(3)
    cache.put(keys, rows)
    (path,) = shards(cache)
    path.rename(path.with_suffix(".tmp"))
    assert not cache.get(keys)[1].any()
