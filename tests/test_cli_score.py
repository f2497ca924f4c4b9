import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import skiqa
import skiqa.persistence
from skiqa.cli import main
from skiqa.cli._files import find_images
from skiqa.cli._outputs import TableOutput

# A scorer that gives the length of the file; "bad" in a name makes it unreadable. It takes the
# place of the two functions of skiqa.persistence that the command calls, without a network.
FAKE = """
import os, sys, time, types
from skiqa.exceptions import ImageError

def load_model(path=None):
    return path

def iter_quality(model, X, *, n_jobs=None):
    for index, file in enumerate(X):
        if "slow" in file:
            time.sleep(60)
        if "bad" in file:
            remedy = "remove it from X, or pass on_error='nan' to get a row of NaN"
            error = ImageError(f"X[{index}] = {file!r}: the file is torn; {remedy}")
            yield index, float("nan"), error
        elif "nan" in file:
            yield index, float("nan"), None
        else:
            yield index, os.path.getsize(file) + 0.5, None
"""
COMMAND = [
    sys.executable,
    "-c",
    FAKE
    + """
stand_in = types.ModuleType("skiqa.persistence")
stand_in.load_model, stand_in.iter_quality = load_model, iter_quality
sys.modules[stand_in.__name__] = stand_in
from skiqa.cli import main
main(prog_name="skiqa")
""",
]


@pytest.fixture
def fake(monkeypatch):
    functions = {}
    exec(FAKE, functions)
    for name in ("load_model", "iter_quality"):
        monkeypatch.setattr(skiqa.persistence, name, functions[name])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """photos/ with three images of 3, 1 and 2 bytes, something else, and a folder below."""
    monkeypatch.chdir(tmp_path)
    for name, size in {
        "photos/a.jpg": 3,
        "photos/b.PNG": 1,
        "photos/c.webp": 2,
        "photos/notes.txt": 9,
        "photos/.hidden.jpg": 9,
        "photos/below/d.jpg": 4,
    }.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"x" * size)
    return tmp_path


def _score(*arguments, status=0, **kwargs):
    result = CliRunner().invoke(main, ["score", *map(str, arguments)], **kwargs)
    assert result.exit_code == status, result.output
    return result


def _rows(text):
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    return [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))]


HEADER = ("file", "score", "error")
ABC = [("photos/a.jpg", "3.5", ""), ("photos/b.PNG", "1.5", ""), ("photos/c.webp", "2.5", "")]
D = ("photos/below/d.jpg", "4.5", "")


# ---------------------------------------------------------------- which files


@pytest.mark.usefixtures("fake", "folder")
def test_folder_to_csv_on_standard_output():
    assert _rows(_score("photos").stdout) == [HEADER, *ABC]
    assert _score("photos").stdout.startswith("file,score,error\nphotos/a.jpg,3.5,\n")


@pytest.mark.usefixtures("fake", "folder")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["photos", "--recursive"], [*ABC[:2], D, ABC[2]]),
        (["photos/c.webp", "photos"], [ABC[2], *ABC[:2]]),  # in order, each once
        (["photos/*.jpg"], ABC[:1]),
        (["photos/*"], [*ABC[:2], D, ABC[2]]),  # as if the shell had named the folder below
        (["photos/**/*.jpg"], [ABC[0], D]),
        (["photos/notes.txt"], [("photos/notes.txt", "9.5", "")]),  # named: taken as it is
    ],
)
def test_paths(arguments, expected):
    assert _rows(_score(*arguments).stdout) == [HEADER, *expected]


@pytest.mark.usefixtures("fake", "folder")
@pytest.mark.parametrize(
    "listed",
    [
        b"photos/b.PNG\nphotos/bad.jpg\n\nphotos/below\n",
        b"photos/b.PNG\0photos/bad.jpg\0photos/below\0",
    ],
)
def test_list_on_standard_input(listed):
    result = _score("-", input=listed, status=1)
    bad = ("photos/bad.jpg", "", "the file is torn")  # a list may be older than the folder
    assert _rows(result.stdout) == [HEADER, ABC[1], bad, D]


@pytest.mark.usefixtures("fake", "folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such file or folder: nowhere"),
        (["photos", "photos/*.gif"], "no file matches photos/\\*.gif"),
        (["photos/*.txt"], "no images found in photos/\\*.txt"),
        (["."], "no images found in . .*--recursive"),
        (["-"], "no images found in -"),
        ([], "Missing argument"),
        (["photos", "--shard", "0/2"], "is not of the form i/n"),
        (["photos", "--shard", "3/2"], "is not of the form i/n"),
        (["photos", "--shard", "a"], "is not of the form i/n"),
        (["photos", "--resume"], "--resume needs the --csv FILE"),
        (["photos", "--json", "--csv", "x.csv"], "choose one"),
        (["photos", "--jobs", "0"], "0 threads"),
        (["photos", "--on-error", "skip"], "nan"),
        (["photos", "--model", "nowhere.skiqa"], "nowhere.skiqa"),
        (
            ["photos", "--csv", "nowhere/scores.csv"],
            "cannot write nowhere/scores.csv: No such file",
        ),
    ],
)
def test_usage_errors(arguments, message):
    result = _score(*arguments, status=2, input=b"")
    assert re.search(message, " ".join(result.stderr.split()))
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.usefixtures("fake", "folder")
def test_shards_are_a_partition():
    whole = find_images(["photos"], recursive=True)
    parts = [_rows(_score("photos", "-r", "--shard", f"{i}/3").stdout)[1:] for i in (1, 2, 3)]
    assert [row[0] for row in parts[0]] == whole[::3]
    assert sorted(row[0] for part in parts for row in part) == sorted(whole)
    assert _rows(_score("photos", "--shard", "5/5").stdout) == [HEADER]  # fewer files than shards


# ---------------------------------------------------------------- what is written


@pytest.mark.usefixtures("fake", "folder")
def test_unreadable_files_are_rows():
    for name in ("bad", "nan"):
        Path(f"photos/{name}.jpg").write_bytes(b"x")
    result = _score("photos", status=1)
    assert ("photos/bad.jpg", "", "the file is torn") in _rows(result.stdout)
    assert ("photos/nan.jpg", "", "the model gave nan") in _rows(result.stdout)
    assert "2 of 5 files could not be read" in result.stderr


@pytest.mark.usefixtures("fake", "folder")
def test_on_error_raise_keeps_the_rows_before():
    Path("photos/bad.jpg").write_bytes(b"x")
    result = _score("photos", "--csv", "s.csv", "--on-error", "raise", status=1)
    assert result.stderr == "Error: photos/bad.jpg: the file is torn\n"
    assert _rows(Path("s.csv").read_text()) == [HEADER, *ABC[:2]]


@pytest.mark.usefixtures("fake", "folder")
def test_json():
    Path("photos/bad.jpg").write_bytes(b"x")
    rows = json.loads(_score("photos", "--json", status=1).stdout)
    assert rows[0] == {"file": "photos/a.jpg", "score": 3.5, "error": None}
    assert rows[2] == {"file": "photos/bad.jpg", "score": None, "error": "the file is torn"}
    assert len(rows) == 4
    assert json.loads(_score("photos", "--json", "--shard", "9/9").stdout) == []


@pytest.mark.skipif(os.name != "posix", reason="such names exist on POSIX only")
def test_any_file_name_survives(fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [
        "a,b.jpg",
        'quo"ted.jpg',
        "new\nline.jpg",
        "cr\r.jpg",
        " space .jpg",
        "bad-\udcff\n.jpg",
    ]
    for name in [*names, "ünï.jpg", "\udcff\udcfe.jpg"]:
        Path(name).write_bytes(b"x")
    expected = find_images(["."])
    assert len(expected) == 8
    stdout = _score(".", status=1).stdout_bytes
    assert [row[0] for row in _rows(stdout)[1:]] == expected
    assert b"./\xff\xfe.jpg,1.5,\n" in stdout  # byte for byte, as other tools print it
    rows = json.loads(_score(".", "--json", status=1).stdout)
    assert [row["file"] for row in rows] == expected
    # a file cut anywhere is gone on with to the same rows
    _score(".", "--csv", "s.csv", status=1)
    whole = Path("s.csv").read_bytes()
    for cut in range(0, len(whole) + 1, 7):
        Path("s.csv").write_bytes(whole[:cut])
        _score(".", "--csv", "s.csv", "--resume", status=1)
        assert sorted(_rows(Path("s.csv").read_bytes())) == sorted(_rows(whole)), cut
    table = TableOutput()
    for name in expected:
        table.add(name, 1.0, None)
    table.close()  # prints: neither a control character nor half a letter stops it


# ---------------------------------------------------------------- --csv and --resume


@pytest.mark.usefixtures("fake", "folder")
def test_csv_file():
    assert _score("photos", "--csv", "s.csv").output == ""
    assert _rows(Path("s.csv").read_text()) == [HEADER, *ABC]
    _score("photos/a.jpg", "--csv", "s.csv")  # without --resume: anew
    assert _rows(Path("s.csv").read_text()) == [HEADER, ABC[0]]
    assert _rows(_score("photos", "--csv", "-").stdout) == [HEADER, *ABC]


@pytest.mark.usefixtures("fake", "folder")
@pytest.mark.parametrize(
    "before",
    [
        None,
        "",
        "file,sc",
        "file,score,error\n",
        "file,score,error\nphotos/a.jpg,7.25,\n",
        "file,score,error\nphotos/a.jpg,7.25,\nphotos/b.PNG,1",  # torn: 1.5 was on its way
        "file,score,error\nphotos/a.jpg,7.25,\nphotos/b.PNG,1.5",
        'file,score,error\nphotos/a.jpg,7.25,\n"photos/b\n',  # torn within a name
        "file,score,error\nphotos/a.jpg,7.25,\nphotos/b.PNG,,the disk was asleep\n",
    ],
)
def test_resume(before):
    if before is not None:
        Path("s.csv").write_text(before)
    _score("photos", "--csv", "s.csv", "--resume")
    kept = before is not None and "7.25" in before  # an earlier score is not computed again
    first = ("photos/a.jpg", "7.25" if kept else "3.5", "")
    assert _rows(Path("s.csv").read_text()) == [HEADER, first, *ABC[1:]]
    assert os.listdir() in (["s.csv", "photos"], ["photos", "s.csv"])


def test_resume_loads_no_model_when_all_is_done(fake, folder, monkeypatch):
    _score("photos", "--csv", "s.csv")
    before = Path("s.csv").read_bytes()
    monkeypatch.setattr(skiqa.persistence, "load_model", None)
    _score("photos", "--csv", "s.csv", "--resume")
    assert Path("s.csv").read_bytes() == before


@pytest.mark.usefixtures("fake", "folder")
@pytest.mark.parametrize("text", ["name,mos\na.jpg,3\n", "hello", "file,score,error\na,b\n"])
def test_resume_leaves_other_files_alone(text):
    Path("s.csv").write_text(text)
    result = _score("photos", "--csv", "s.csv", "--resume", status=2)
    assert "was not written by `skiqa score`" in result.stderr
    assert Path("s.csv").read_text() == text


def test_a_model_that_cannot_be_loaded_empties_no_file(folder):
    Path("s.csv").write_text("precious")
    Path("broken.skiqa").write_bytes(b"no model")
    result = _score("photos", "--csv", "s.csv", "--model", "broken.skiqa", status=2)
    assert "cannot load the model broken.skiqa" in result.stderr
    assert Path("s.csv").read_text() == "precious"


# ---------------------------------------------------------------- processes


def _start(*arguments, **kwargs):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | kwargs
    return subprocess.Popen([*COMMAND, "score", *arguments], **pipes)


def _wait_for_rows(path, count):
    for _ in range(1200):
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never had {count} rows")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_run_keeps_its_rows(folder, how):
    Path("photos/c-slow.jpg").write_bytes(b"x")
    process = _start("photos", "--csv", "s.csv")
    _wait_for_rows(Path("s.csv"), 3)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=30)
    assert _rows(Path("s.csv").read_text()) == [HEADER, *ABC[:2]]
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert stderr == b"interrupted after 2 of 4 files; --resume goes on from there\n"
    Path("photos/c-slow.jpg").unlink()
    process = _start("photos", "--csv", "s.csv", "--resume")
    assert process.communicate(timeout=30) == (b"", b"")
    assert _rows(Path("s.csv").read_text()) == [HEADER, *ABC]


def test_reader_that_goes_away(folder):
    for k in range(3000):
        Path(f"photos/{k}.jpg").write_bytes(b"x")
    process = _start("photos")
    assert process.stdout.readline() == b"file,score,error\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 141


def _on_terminal(*arguments):
    """Run with a terminal for both outputs; return what it showed, and the status."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "100", "TERM": "xterm"}
    process = _start(*arguments, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:  # Linux's way of saying that the other end is closed
        pass
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()), process.wait(30)


def test_terminal_shows_a_table_worst_first(folder):
    Path("photos/bad\x1b[2J.jpg").write_bytes(b"x")
    shown, status = _on_terminal("photos")
    assert status == 1
    table = shown[shown.rindex("score  file") :]
    order = [table.index(name) for name in ("b.PNG", "c.webp", "a.jpg", "bad")]
    assert order == sorted(order)
    assert "the file is torn" in table
    assert "\\x1b[2J" in table  # a name cannot command the terminal
    assert "4/4" in shown  # the bar
    assert "images/s" in shown


def test_terminal_with_rows_shows_no_bar(folder):
    shown, status = _on_terminal("photos", "--csv", "-")
    assert status == 0
    assert _rows(shown.replace("\r\n", "\n")) == [HEADER, *ABC]


# ---------------------------------------------------------------- the real model


def test_end_to_end(photo_paths, tmp_path):
    rng = np.random.default_rng(0)
    good = photo_paths[0]
    noisy = tmp_path / "noisy.png"
    pixels = np.asarray(Image.open(good), np.float64)
    pixels = pixels + 60 * rng.normal(size=pixels.shape)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(noisy)
    torn = tmp_path / "torn.jpg"
    torn.write_bytes(b"not an image")
    rows = _rows(_score(good, noisy, torn, status=1).stdout)[1:]
    assert [row[0] for row in rows] == [str(good), str(noisy), str(torn)]
    expected = skiqa.load_model().predict([good, str(noisy)])
    np.testing.assert_allclose([float(row[1]) for row in rows[:2]], expected, rtol=1e-6)
    assert expected[0] > expected[1] + 10  # worse is lower
    assert rows[2][1] == ""
    assert "not an image" in rows[2][2]
    assert "X[" not in rows[2][2]
    assert "on_error" not in rows[2][2]
