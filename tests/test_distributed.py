import itertools
import json
import os
import pickle
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scoring_command import score

import skiqa
from skiqa.distributed import QualityScorer, Row
from skiqa.distributed import score as score_rows
from skiqa.distributed._parts import Part, left_of, parts_of, write_part
from skiqa.persistence import predict_quality
from skiqa.sources import Films


@pytest.fixture
def folder(crops, tmp_path, monkeypatch):
    """photos/ with eight PNG files."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for number, crop in enumerate(crops):
        Image.fromarray(crop).save(f"photos/{number}.png")
    return sorted(map(str, Path("photos").iterdir()))


# ---------------------------------------------------------------- parts, in files of Parquet


def test_parts_keep_order_and_shards_are_alone():
    places = ["a.jpg", "b.jpg", "c.jpg", "x.tar", "y.tar", "d.jpg", "e.jpg"]
    parts = parts_of(places, 2)
    assert [list(part.places) for part in parts] == [
        ["a.jpg", "b.jpg"],
        ["c.jpg"],
        ["x.tar"],
        ["y.tar"],
        ["d.jpg", "e.jpg"],
    ]
    assert [part.number for part in parts] == [*range(5)]
    assert len({part.digest for part in parts}) == 5
    assert Part(7, ("x.tar",)).digest == parts[2].digest  # whatever stands before it
    assert parts_of([]) == []


def test_part_appears_when_it_is_whole(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    rows = [
        Row("a.jpg", 3.5, None, ("blank", "unlike"), 3.0, 4.0),
        Row("b\udcff.jpg", None, "the file is torn"),
    ]
    path = tmp_path / "part.parquet"
    writing = write_part(path, rows, "1234")
    assert next(writing) == rows[0]
    writing.close()  # interrupted
    assert list(tmp_path.iterdir()) == []
    assert list(write_part(path, rows, "1234")) == rows
    first, second = pq.read_table(path).to_pylist()
    assert first == {
        "file": "a.jpg",
        "score": 3.5,
        "low": 3.0,
        "high": 4.0,
        "flags": ["blank", "unlike"],
        "error": None,
        "model": "1234",
    }
    assert (second["file"], second["score"], second["error"]) == (
        r"b\xff.jpg",
        None,
        "the file is torn",
    )


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_parquet_folder_is_gone_on_with_by_part():
    pq = pytest.importorskip("pyarrow.parquet")
    Path("photos/bad.jpg").write_bytes(b"x")
    score("photos", "--parquet", "out", status=1)
    (first,) = Path("out").glob("part-*")
    rows = pq.read_table("out").to_pylist()
    names = ["a.jpg", "b.PNG", "bad.jpg", "c.webp"]
    assert [row["file"] for row in rows] == [f"photos/{name}" for name in names]
    assert [row["score"] for row in rows] == [3.5, 1.5, None, 2.5]
    assert (
        "holds parts: give another folder" in score("photos", "--parquet", "out", status=2).stderr
    )
    written = first.stat().st_mtime_ns
    arguments = ["photos", "photos/below/d.jpg", "--parquet", "out", "--resume"]
    again = score("photos", "--parquet", "out", "--resume", status=1)  # it is there: nothing to do
    assert "1 pictures of earlier parts could not be read" in again.stderr
    assert (len(list(Path("out").glob("part-*"))), first.stat().st_mtime_ns) == (1, written)
    score(*arguments[1:])
    assert len(list(Path("out").glob("part-*"))) == 2
    other = score(*arguments, "--interval", "0.5", status=2)
    assert "its scores have another interval" in other.stderr
    assert "another --parquet folder" in " ".join(other.stderr.split())
    score("photos/a.jpg", "--parquet", "out", "--overwrite")
    assert pq.read_table("out").num_rows == 1
    Path("out/part-000000-0.parquet").write_bytes(b"torn")
    other = score(*arguments, status=2)
    assert "part-000000-0.parquet cannot be read as a part" in other.stderr


@pytest.mark.usefixtures("fake_scorer", "few_files")
@pytest.mark.parametrize("jobs", [[[]], [["--shard", "1/2"], ["--shard", "2/2"]]])
def test_parquet_folder_has_each_picture_once_when_some_come_and_go(jobs):
    pq = pytest.importorskip("pyarrow.parquet")

    def run():
        for job in jobs:
            score("photos", "--parquet", "out", "--resume", *job)
        return sorted(row["file"] for row in pq.read_table("out").to_pylist())

    names = ["photos/a.jpg", "photos/b.PNG", "photos/c.webp"]
    assert run() == names
    Path("photos/aa.jpg").write_bytes(b"new")  # other jobs have those behind it now
    names.insert(1, "photos/aa.jpg")
    assert run() == names
    Path("photos/a.jpg").unlink()
    assert run() == names


def test_what_is_left_of_parts(tmp_path):
    pytest.importorskip("pyarrow")
    rows = [
        Row("film.mp4#t=1.000", 3.5, None),
        Row("film.mp4#t=2.000", 3.0, None),
        Row("b\udcff.jpg", None, "torn"),
        Row("gone.jpg", None, "torn"),
    ]
    list(write_part(tmp_path / "part-000000-other.parquet", rows, "1234"))
    places = ["film.mp4", "a.jpg", "b\udcff.jpg", "a.tar", "b.tar"]
    parts = parts_of(places)
    list(write_part(tmp_path / parts[1].file_name, [Row("tar://x::a.tar", None, "torn")], "1234"))
    left, n_errors = left_of(parts, tmp_path)
    assert [(part.number, part.places) for part in left] == [(0, ("a.jpg",)), (2, ("b.tar",))]
    assert n_errors == 2


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_what_a_parquet_folder_is_about_is_not_rewritten(monkeypatch):
    pytest.importorskip("pyarrow")
    for model in ("one.skiqa", "other.skiqa"):
        Path(model).write_bytes(model.encode())
    command = ["photos", "--parquet", "out", "--resume", "--model"]
    about = Path("out/_skiqa.json")
    load_model = skiqa.persistence.load_model

    def load_slowly(path):
        monkeypatch.setattr(skiqa.persistence, "load_model", load_model)
        Path("photos/0-bad.jpg").write_bytes(b"x")
        score(*command, "other.skiqa", "--on-error", "raise", status=1)  # before its first part
        return load_model(path)

    monkeypatch.setattr(skiqa.persistence, "load_model", load_slowly)
    assert "have another model" in score(*command, "one.skiqa", status=2).stderr
    text = about.read_bytes()
    assert "have another model" in score(*command, "one.skiqa", status=2).stderr
    assert about.read_bytes() == text
    score(*command[:-2], "--overwrite", "--model", "one.skiqa", status=1)
    assert json.loads(about.read_bytes())["model"] != json.loads(text)["model"]


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_what_a_killed_run_left_in_a_parquet_folder_goes_after_a_day():
    pytest.importorskip("pyarrow")
    os.mkdir("out")
    old, young, other = (Path("out", f".{name}.tmp") for name in ("0" * 16, "1" * 16, "other"))
    for path in (old, young, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (1e9, 1e9))
    score("photos", "--parquet", "out")
    assert [path.exists() for path in (old, young, other)] == [False, True, True]


@pytest.mark.usefixtures("fake_scorer", "few_files")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parquet", "o", "--json"], "choose one of"),
        (["--parquet", "o", "--sort"], "neither --sort nor --worst"),
        (["--parquet", "photos/a.jpg"], "cannot write photos/a.jpg"),
        (["--parquet", "nowhere/o"], "cannot write nowhere/o"),
    ],
)
def test_usage_errors(arguments, message):
    pytest.importorskip("pyarrow")
    assert message in " ".join(score("photos", *arguments, status=2).stderr.split())


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("kind", ["dict", "arrow", "record batch", "pandas"])
def test_batches_come_back_with_columns(folder, kind):
    images = [Path(name).read_bytes() for name in folder[:3]] + [b"torn"]
    expected = predict_quality(skiqa.load_model(), images, interval=0.8)
    columns = {"id": [1, 2, 3, 4], "image": images}
    scorer = pickle.loads(pickle.dumps(QualityScorer(interval=0.8)))
    if kind == "pandas":
        pd = pytest.importorskip("pandas")
        found = scorer(pd.DataFrame(columns))
        assert isinstance(found, pd.DataFrame)
    elif kind == "dict":
        found = scorer({name: np.array(values, dtype=object) for name, values in columns.items()})
        assert type(found) is dict
    else:
        pa = pytest.importorskip("pyarrow")
        table = pa.table(columns)
        batch = table if kind == "arrow" else table.to_batches()[0]
        found = scorer(batch)
        assert type(found) is type(batch)
        found = found.to_pydict()
    assert list(found["id"]) == [1, 2, 3, 4]
    np.testing.assert_array_equal(np.array(found["score"], float), expected[0])
    bounds = np.array([list(found["low"]), list(found["high"])], float).T
    np.testing.assert_array_equal(bounds, expected[1])
    assert list(found["error"])[:3] == [None] * 3
    assert "not an image" in list(found["error"])[3]
    assert "tiny; unlike" in next(iter(found["flags"]))


def test_batches_that_are_of_no_use(folder):
    scorer = QualityScorer(column="photo")
    with pytest.raises(ValueError, match=r"no column 'photo'; its columns are \['image'\]"):
        scorer({"image": folder})
    with pytest.raises(ValueError, match=r"has columns \['score'\] already"):
        scorer({"photo": folder, "score": [1.0] * 8})
    with pytest.raises(TypeError, match="not list"):
        scorer(folder)


def test_a_model_in_a_file_is_loaded_where_it_is_used(folder, tmp_path):
    from skiqa.persistence import save

    save(skiqa.load_model(), tmp_path / "own.skiqa")
    scorer = QualityScorer(str(tmp_path / "own.skiqa"))
    before = pickle.dumps(scorer)
    first = scorer({"image": folder[:1]})["score"]
    assert len(pickle.dumps(scorer)) == len(before) < 1000
    assert QualityScorer(skiqa.load_model())({"image": folder[:1]})["score"] == first


# ---------------------------------------------------------------- a cluster


def test_killed_worker_leaves_the_same_rows(folder, monkeypatch):
    distributed = pytest.importorskip("distributed")
    from skiqa.distributed import _score

    monkeypatch.setattr(_score, "FILES", 2)
    places = [*folder, *folder, "missing.png"]
    expected = list(score_rows(places))
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:
        rows = score_rows(places, client)
        found = [next(rows)]
        victim = next(iter(client.run(os.getpid).values()))
        os.kill(victim, signal.SIGKILL)
        found += rows
        assert not client.run(lambda dask_worker: [n for n in dask_worker.plugins if "skiqa" in n])[
            next(iter(client.scheduler_info()["workers"]))
        ]

        def closed(name):
            raise OSError("Stream is closed")  # a worker that has just died

        monkeypatch.setattr(client, "unregister_worker_plugin", closed)
        assert list(score_rows(places[:1], client)) == expected[:1]
    assert found == expected
    assert [row.file for row in found] == places


class Cluster:
    """Three threads that have done a part as soon as it is theirs."""

    def __init__(self):
        self.submitted, self.cancelled = [], []

    def nthreads(self):
        return {"one": 1, "two": 2}

    def submit(self, function, name, part, *how, pure):
        assert not pure  # the same part, asked for again, may have other rows
        self.submitted.append(part)
        return SimpleNamespace(result=lambda: [part.number])

    def cancel(self, tasks):
        self.cancelled += tasks

    def register_plugin(self, plugin, name):
        pass

    def unregister_worker_plugin(self, name):
        pass


def test_parts_in_flight_do_not_grow_with_their_number():
    pytest.importorskip("distributed")
    from skiqa.distributed._dask import PARTS_AHEAD, iter_parts_of_workers

    cluster, parts = Cluster(), parts_of([f"{k}.tar" for k in range(100)])
    found = iter_parts_of_workers(parts, cluster, None, None, None, Films())
    assert next(found) == (parts[0], [0])
    ahead = len(cluster.submitted)
    assert 3 < ahead <= 1 + PARTS_AHEAD * 3
    assert [part for part, _ in itertools.islice(found, 10)] == parts[1:11]
    assert len(cluster.submitted) == ahead + 10
    found.close()
    assert len(cluster.cancelled) == ahead - 1


def test_a_worker_hands_over_what_a_user_can_mend(tmp_path, monkeypatch):
    """And raises nothing, which the cluster would log with its traceback."""
    pytest.importorskip("distributed")
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    from skiqa._sources.tables import ColumnError
    from skiqa.distributed import _dask

    raised = []

    class Worker(Cluster):
        def submit(self, function, name, part, *how, pure):
            try:
                rows = function(name, part, *how)
            except Exception as error:
                raised.append(error)
                raise
            return SimpleNamespace(result=lambda: rows)

        def register_plugin(self, plugin, name):
            worker = SimpleNamespace(plugins={name: plugin})
            monkeypatch.setattr(_dask, "get_worker", lambda: worker)

    pq.write_table(pa.table({"mos": [1.0]}), tmp_path / "t.parquet")
    parts, model = parts_of([str(tmp_path / "t.parquet")]), skiqa.load_model()
    with pytest.raises(ColumnError, match="no column of bytes"):
        list(_dask.iter_parts_of_workers(parts, Worker(), model, None, None, Films()))
    assert raised == []
