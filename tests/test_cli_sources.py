"""`skiqa score` on shards and addresses: the rows that a folder of the same files has."""

import io
import re
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from scoring_command import parse_rows, score

from skiqa.cli import main

pytest.importorskip("fsspec")


@pytest.fixture
def memory():
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


@pytest.fixture
def shard(png_paths, tmp_path, monkeypatch):
    """photos/ with two files, which are in a.tar, too, with something else."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    with tarfile.open("a.tar", "w") as tar:
        for path in png_paths:
            Path(path).rename(Path("photos", Path(path).name))
            tar.add(Path("photos", Path(path).name), Path(path).name)
            tar.addfile(tarfile.TarInfo(f"{Path(path).stem}.json"), io.BytesIO())


def test_shards_addresses_and_folders_give_the_same(shard, memory):
    """In one run, so that the model is loaded once."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    files = {path.name: path.read_bytes() for path in sorted(Path("photos").iterdir())}
    memory.pipe({f"/p/{name}": data for name, data in files.items()})
    memory.pipe({"/p/bad.jpg": b"torn", "/p/notes.txt": b"", "/p/b/deep.png": files["china.png"]})
    memory.pipe("/a/b.tar", Path("a.tar").read_bytes())
    pq.write_table(pa.table({"x": [b"", b""], "image": list(files.values())}), "t.parquet")
    places = ["photos", "a.tar", "memory://p/", "memory://a/*.tar", "t.parquet"]
    result = score(*places, "--column", "image", "--interval", "0.8", status=1)
    _, *rows = parse_rows(result.stdout)
    assert [row[0] for row in rows] == [
        "photos/china.png",
        "photos/flower.png",
        "tar://china.png::a.tar",
        "tar://flower.png::a.tar",
        "memory:///p/bad.jpg",
        "memory:///p/china.png",
        "memory:///p/flower.png",
        "tar://china.png::memory:///a/b.tar",
        "tar://flower.png::memory:///a/b.tar",
        "t.parquet#0",
        "t.parquet#1",
    ]
    bad = rows.pop(4)
    assert "not an image" in bad[2]
    assert [row[1:] for row in rows] == [row[1:] for row in rows[:2]] * 5
    assert "Passed over: 1 .txt" in result.stderr
    assert "1 of 11 files could not be read" in result.stderr


@pytest.mark.usefixtures("fake_scorer", "few_files")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["memory://none/"], "memory://none/: there is nothing at this address"),
        (["nonsense://a/"], "nonsense://a/: this kind of address is not known"),
        (["memory://p/*.gif"], "no images found in memory://p/"),
        (["memory://s/"], "no images found in memory://s/ .1 .tar; shards are named, or matched"),
        (["memory://p/a.jpg", "--worst", "1", "--copy-to", "x"], "no addresses and shards"),
        (["t.tar", "--worst", "1", "--move-to", "x"], "no addresses and shards"),
    ],
)
def test_usage_errors(arguments, message, memory):
    memory.pipe({"/p/a.jpg": b"x", "/s/a.tar": b"x"})
    Path("t.tar").touch()
    result = score(*arguments, status=2)
    assert re.search(message, " ".join(result.stderr.split()))


@pytest.mark.usefixtures("shard")
def test_resumed_within_a_shard():
    score("a.tar", "--csv", "s.csv")
    whole = Path("s.csv").read_text()
    lines = whole.splitlines(keepends=True)
    Path("s.csv").write_text("".join(lines[:2]) + "tar://flo")
    result = score("a.tar", "--csv", "s.csv", "--resume", "--worst", "2")
    assert Path("s.csv").read_text() == whole
    assert sorted(parse_rows(result.stdout)) == sorted(parse_rows(whole))


@pytest.mark.usefixtures("shard")
def test_report_of_a_shard(memory):
    memory.pipe({"/p/a.png": Path("photos/china.png").read_bytes()})
    places = ["a.tar", "memory://p/a.png", "memory://p/none.png", "photos"]
    command = ["report", *places, "--html", "page.html"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "page.html: 5 photos" in result.output
    assert "1 of 6 files could not be read" in result.output
    page = Path("page.html").read_text()
    assert page.count('"thumbnail":') == 5
    links = re.findall(r'"link": ?"(.*?)"', page)
    assert sorted(links) == ["#", "#", "a.tar", "a.tar", "photos/china.png", "photos/flower.png"]
