import csv
import hashlib
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
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import skiqa
import skiqa.persistence
from skiqa.cli import main
from skiqa.cli._files import find_images
from skiqa.cli._outputs import Row, TableOutput, from_spreadsheet, to_spreadsheet

# A scorer that gives the length of the file; "bad" in a name makes it unreadable. It takes the
# place of the two functions of skiqa.persistence that the command calls, without a network.
FAKE = """
import os, sys, time, types
from skiqa.exceptions import ImageError

def load_model(path=None):
    return None

def iter_quality(model, X, *, n_jobs=None):
    for index, file in enumerate(X):
        if "slow" in file:
            time.sleep(60)
        if "bad" in file:
            remedy = "remove it from X, or pass on_error='nan' to get a row of NaN"
            error = ImageError(f"X[{index}] = {file!r}: torn; {remedy}", reason="the file is torn")
            yield index, float("nan"), error, ()
        elif "nan" in file:
            yield index, float("nan"), None, ()
        else:
            flags = ("blank", "unlike") if "odd" in file else ()
            yield index, os.path.getsize(file) + 0.5, None, flags
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


HEADER = ("file", "score", "error", "flags")
PASSED_OVER = b"Passed over: 1 .txt; 1 image below: -r\n"
ABC = [
    ("photos/a.jpg", "3.5", "", ""),
    ("photos/b.PNG", "1.5", "", ""),
    ("photos/c.webp", "2.5", "", ""),
]
D = ("photos/below/d.jpg", "4.5", "", "")


# ---------------------------------------------------------------- which files


@pytest.mark.usefixtures("fake", "folder")
def test_folder_to_csv_on_standard_output():
    assert _rows(_score("photos").stdout) == [HEADER, *ABC]
    assert _score("photos").stdout.startswith("file,score,error,flags\nphotos/a.jpg,3.5,,\n")


@pytest.mark.usefixtures("fake", "folder")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["photos", "--recursive"], [*ABC[:2], D, ABC[2]]),
        (["photos/c.webp", "photos"], [ABC[2], *ABC[:2]]),  # in order, each once
        (["photos/*.jpg"], ABC[:1]),
        (["photos/*"], [*ABC[:2], D, ABC[2]]),  # as if the shell had named the folder below
        (["photos/**/*.jpg"], [ABC[0], D]),
        (["photos/notes.txt"], [("photos/notes.txt", "9.5", "", "")]),  # named: taken as it is
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
    bad = ("photos/bad.jpg", "", "the file is torn", "")  # a list may be older than the folder
    assert _rows(result.stdout) == [HEADER, ABC[1], bad, D]


@pytest.mark.usefixtures("fake", "folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such file or folder: nowhere"),
        (["photos", "photos/*.gif"], "no file matches photos/\\*.gif"),
        (["photos/*.txt"], r"no images found in photos/\*.txt \(1 .txt\)$"),
        (["."], r"no images found in . \(4 images below: -r\)$"),
        (["photos/*.JPG"], r"no file matches photos/\*.JPG: case counts, and there is a.jpg$"),
        (["p*/d.jp[g]", "d.jpg"], r"no file matches p\*/d.jp\[g\]$"),
        (["photos/d.*"], r"it does in folders below, as photos/\*\*/d.\* says$"),
        (["phtos/*.jpg"], r"no file matches phtos/\*.jpg: there is no folder phtos$"),
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
            "cannot write nowhere/scores.csv: there is no folder nowhere",
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
    assert ("photos/bad.jpg", "", "the file is torn", "") in _rows(result.stdout)
    assert ("photos/nan.jpg", "", "the model gave nan", "") in _rows(result.stdout)
    assert "2 of 5 files could not be read" in result.stderr


@pytest.mark.usefixtures("fake", "folder")
def test_on_error_raise_keeps_the_rows_before():
    Path("photos/bad.jpg").write_bytes(b"x")
    result = _score("photos", "--csv", "s.csv", "--on-error", "raise", status=1)
    assert result.stderr.endswith("\nError: photos/bad.jpg: the file is torn\n")
    assert _rows(Path("s.csv").read_text()) == [HEADER, *ABC[:2]]


@pytest.mark.usefixtures("fake", "folder")
def test_json():
    Path("photos/bad.jpg").write_bytes(b"x")
    rows = json.loads(_score("photos", "--json", status=1).stdout)
    assert rows[0] == {"file": "photos/a.jpg", "score": 3.5, "error": None, "flags": []}
    assert rows[2] == {
        "file": "photos/bad.jpg",
        "score": None,
        "error": "the file is torn",
        "flags": [],
    }
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
    assert b"./\xff\xfe.jpg,1.5,,\n" in stdout  # byte for byte, as other tools print it
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
        table.add(Row(name, 1.0, None))
    table.close()  # prints: neither a control character nor half a letter stops it


# ---------------------------------------------------------------- --csv and --resume


@pytest.mark.usefixtures("fake", "folder")
def test_csv_file():
    passed = PASSED_OVER.decode()
    assert _score("photos", "--csv", "s.csv").output == passed
    assert _rows(Path("s.csv").read_text()) == [HEADER, *ABC]
    result = _score("photos/a.jpg", "--csv", "s.csv", status=2)
    assert result.stderr == (  # known before the folder is searched
        "Error: s.csv exists: give another file, or --overwrite to replace it, or --resume to go "
        "on with it\n"
    )
    assert _rows(Path("s.csv").read_text()) == [HEADER, *ABC]
    _score("photos/a.jpg", "--csv", "s.csv", "--overwrite")
    assert _rows(Path("s.csv").read_text()) == [HEADER, ABC[0]]
    assert _rows(_score("photos", "--csv", "-").stdout) == [HEADER, *ABC]


@pytest.mark.usefixtures("fake", "folder")
@pytest.mark.parametrize(
    "before",
    [
        None,
        "",
        "file,sc",
        "file,score,error,flags\n",
        "file,score,error,flags\nphotos/a.jpg,7.25,,\n",
        "file,score,error,flags\nphotos/a.jpg,7.25,,\nphotos/b.PNG,1",  # torn: 1.5 was on its way
        "file,score,error,flags\nphotos/a.jpg,7.25,,\nphotos/b.PNG,1.5",
        'file,score,error,flags\nphotos/a.jpg,7.25,,\n"photos/b\n',  # torn within a name
        "file,score,error,flags\nphotos/a.jpg,7.25,,\nphotos/b.PNG,,the disk was asleep,\n",
    ],
)
def test_resume(before):
    if before is not None:
        Path("s.csv").write_text(before)
    _score("photos", "--csv", "s.csv", "--resume")
    kept = before is not None and "7.25" in before  # an earlier score is not computed again
    first = ("photos/a.jpg", "7.25" if kept else "3.5", "", "")
    assert _rows(Path("s.csv").read_text()) == [HEADER, first, *ABC[1:]]
    left = set(os.listdir()) - {"s.csv.skiqa.json"}  # a file that came without one gets none
    assert left == {"s.csv", "photos"}


@pytest.mark.usefixtures("fake", "folder")
def test_flags():
    Path("photos/odd.jpg").write_bytes(b"1234")
    odd = ("photos/odd.jpg", "4.5", "", "blank; unlike")
    _score("photos", "--csv", "s.csv", "--sort")
    assert _rows(Path("s.csv").read_text()) == [HEADER, *sorted(ABC, key=lambda row: row[1]), odd]
    with open("s.csv", "a") as file:
        file.write("photos/torn")
    Path("photos/odd.jpg").write_bytes(b"")  # not looked at again
    Path("photos/z-odd.jpg").write_bytes(b"12345")
    shown = _score("photos", "--csv", "s.csv", "--resume", "--worst", "5").stdout
    new = ("photos/z-odd.jpg", "5.5", "", "blank; unlike")
    assert _rows(Path("s.csv").read_text())[-2:] == _rows(shown)[-2:] == [odd, new]
    assert json.loads(_score("photos", "--json").stdout)[-1]["flags"] == ["blank", "unlike"]


def test_flags_in_a_table(capsys):
    table = TableOutput()
    table.add(Row("a.jpg", 1.0, None, ("tiny", "unlike")))
    table.close()
    assert "1.0  a.jpg  tiny; unlike" in capsys.readouterr().out


def test_resume_loads_no_model_when_all_is_done(fake, folder, monkeypatch):
    _score("photos", "--csv", "s.csv")
    before = Path("s.csv").read_bytes()
    monkeypatch.setattr(skiqa.persistence, "load_model", None)
    _score("photos", "--csv", "s.csv", "--resume")
    assert Path("s.csv").read_bytes() == before


@pytest.mark.usefixtures("fake", "folder")
@pytest.mark.parametrize("text", ["name,mos\na.jpg,3\n", "hello", "file,score,error\na.jpg,3,\n"])
def test_resume_leaves_other_files_alone(text):
    Path("s.csv").write_text(text)
    result = _score("photos", "--csv", "s.csv", "--resume", status=2)
    assert "was not written by `skiqa score`" in result.stderr
    assert Path("s.csv").read_text() == text


def test_a_model_that_cannot_be_loaded_empties_no_file(folder):
    Path("s.csv").write_text("precious")
    Path("broken.skiqa").write_bytes(b"no model")
    how = ["--csv", "s.csv", "--overwrite", "--model", "broken.skiqa"]
    result = _score("photos", *how, status=2)
    assert "cannot load the model broken.skiqa" in result.stderr
    assert Path("s.csv").read_text() == "precious"
    assert not Path("s.csv.skiqa.json").exists()


# ---------------------------------------------------------------- what the scores are of


@pytest.mark.usefixtures("fake", "folder")
def test_resume_with_other_scores_is_refused():
    Path("one.skiqa").write_bytes(b"1")
    Path("other.skiqa").write_bytes(b"2")
    how = ["photos", "--csv", "s.csv", "--model", "one.skiqa"]
    _score(*how)
    about = json.loads(Path("s.csv.skiqa.json").read_text())
    digest = hashlib.sha256(b"1").hexdigest()
    size, version = "the model's own", skiqa.__version__
    assert about == {
        "model": digest,
        "max_pixels": size,
        "damaged": "unreadable",
        "skiqa": version,
    }
    before = Path("s.csv").read_bytes()

    def refused(*options):
        stderr = _score(*how, "--resume", *options, status=2).stderr
        assert stderr.startswith(PASSED_OVER.decode() + "Error: ")
        assert stderr.count("\n") == 2
        assert Path("s.csv").read_bytes() == before
        return stderr

    assert f"have another model ({digest[:12]}.., now " in refused("--model", "other.skiqa")
    words = "have another viewing size (the model's own, now 4096)."
    assert words in refused("--max-pixels", "4096")
    Path("s.csv.skiqa.json").write_text(json.dumps(about | {"skiqa": "0.0.9"}))
    assert f"have another version of skiqa (0.0.9, now {skiqa.__version__})" in refused()
    Path("one.skiqa").rename("moved.skiqa")  # the same model under another name
    Path("s.csv.skiqa.json").write_text(json.dumps(about))
    _score("photos", "--csv", "s.csv", "--resume", "--model", "moved.skiqa")
    _score("photos", "--csv", "s.csv", "--overwrite", "--model", "other.skiqa")
    about = json.loads(Path("s.csv.skiqa.json").read_text())
    assert about["model"] == hashlib.sha256(b"2").hexdigest()


@pytest.mark.usefixtures("fake", "folder")
@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}"])
def test_a_file_whose_companion_is_lost_or_damaged(text):
    Path("s.csv").write_text("file,score,error,flags\nphotos/a.jpg,7.25,,\n")
    if text is not None:
        Path("s.csv.skiqa.json").write_text(text)
    result = _score("photos", "--csv", "s.csv", "--resume")
    assert "s.csv.skiqa.json does not say which model" in result.stderr
    assert _rows(Path("s.csv").read_text())[1] == ("photos/a.jpg", "7.25", "", "")


@pytest.mark.usefixtures("fake", "folder")
def test_duplicates_in_a_file_are_found():
    text = "file,score,error,flags\nphotos/a.jpg,7.25,,\nphotos/a.jpg,7.25,,\nphotos/b.PNG,1.5,,\n"
    Path("s.csv").write_text(text)
    result = _score("photos", "--csv", "s.csv", "--resume")
    assert "s.csv: 1 rows stood there twice; one is kept" in result.stderr
    expected = [HEADER, ("photos/a.jpg", "7.25", "", ""), *ABC[1:]]
    assert _rows(Path("s.csv").read_text()) == expected
    Path("s.csv").write_text(text + "photos/a.jpg,7.5,,\n")
    result = _score("photos", "--csv", "s.csv", "--resume", status=2)
    assert "s.csv has two scores of photos/a.jpg, 7.25 and 7.5" in result.stderr
    assert Path("s.csv").read_text() == text + "photos/a.jpg,7.5,,\n"


def test_two_runs_on_one_file(folder):
    Path("photos/c-slow.jpg").write_bytes(b"x")
    first = _start("photos", "--csv", "s.csv")
    _wait_for_rows(Path("s.csv"), 3)
    for option in ("--resume", "--overwrite"):
        second = _start("photos", "--csv", "s.csv", option)
        _, stderr = second.communicate(timeout=30)
        assert stderr == PASSED_OVER + (
            b"Error: another run is writing s.csv: wait for it, or give another --csv file\n"
        )
        assert second.returncode == 2
    first.kill()  # which frees the lock
    first.communicate(timeout=30)
    Path("photos/c-slow.jpg").unlink()
    third = _start("photos", "--csv", "s.csv", "--resume")
    third.communicate(timeout=30)
    assert third.returncode == 0
    assert _rows(Path("s.csv").read_text()) == [HEADER, *ABC]


# ---------------------------------------------------------------- spreadsheets


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "'=1", "''@", "'", "a=1"])
def test_cells_that_are_no_formulas(name):
    cell = to_spreadsheet(name)
    assert not cell.startswith(tuple("=+-@\t\r"))
    assert from_spreadsheet(cell) == name


@given(st.text("'=+-@\t\rab", max_size=6))
def test_cells_read_back_are_the_texts(text):
    assert from_spreadsheet(to_spreadsheet(text)) == text


@pytest.mark.skipif(os.name != "posix", reason="such names exist on POSIX only")
@pytest.mark.usefixtures("fake", "folder")
def test_names_like_formulas_in_a_file():
    names = ["=cmd.jpg", "'=cmd.jpg", "+1.jpg", "@a.jpg", "\ta.jpg", "'plain.jpg", "--x.jpg"]
    for name in names:
        Path(name).write_bytes(b"x")
    _score("--csv", "s.csv", "--", *names)
    before = Path("s.csv").read_bytes()
    assert b"\n'=cmd.jpg,1.5,,\n''=cmd.jpg,1.5,,\n'+1.jpg,1.5,,\n" in before
    _score("--csv", "s.csv", "--resume", "--", *names)
    assert Path("s.csv").read_bytes() == before  # all known again


# ---------------------------------------------------------------- the worst


@pytest.mark.usefixtures("fake", "folder")
@pytest.mark.parametrize(
    ("worst", "n"), [("2", 2), ("9", 3), ("1%", 1), ("50%", 2), ("67 %", 3), ("100%", 3)]
)
def test_worst(worst, n):
    Path("photos/bad.jpg").write_bytes(b"x")
    result = _score("photos", "--worst", worst, status=1)
    assert _rows(result.stdout) == [HEADER, *[ABC[1], ABC[2], ABC[0]][:n]]
    rows = json.loads(_score("photos", "--worst", worst, "--json", status=1).stdout)
    assert [row["score"] for row in rows] == [1.5, 2.5, 3.5][:n]


@pytest.mark.usefixtures("fake", "folder")
def test_sort():
    Path("photos/bad.jpg").write_bytes(b"x")
    bad = ("photos/bad.jpg", "", "the file is torn", "")
    expected = [HEADER, ABC[1], ABC[2], ABC[0], bad]
    assert _rows(_score("photos", "--sort", status=1).stdout) == expected
    _score("photos", "--sort", "--csv", "s.csv", status=1)
    assert _rows(Path("s.csv").read_text()) == expected
    os.unlink("photos/bad.jpg")
    Path("photos/e.jpg").write_bytes(b"")
    _score("photos", "--sort", "--csv", "s.csv", "--resume")
    new = ("photos/e.jpg", "0.5", "", "")
    assert _rows(Path("s.csv").read_text()) == [HEADER, new, ABC[1], ABC[2], ABC[0]]


@pytest.mark.usefixtures("fake", "folder")
def test_copy_and_move_the_worst():
    Path("photos/below/b.PNG").write_bytes(b"")  # another photo of this name, the very worst
    how = ["photos", "-r", "--csv", "s.csv", "--worst", "2"]
    result = _score(*how, "--copy-to", "out/worst", "--dry-run")
    assert "would copy photos/below/b.PNG to out/worst/b.PNG\n" in result.stderr
    assert "would copy photos/b.PNG to out/worst/b-2.PNG\n" in result.stderr
    assert not Path("out").exists()
    # what was scored is not scored again, and the worst are those of all
    result = _score(*how, "--resume", "--copy-to", "out/worst")
    worst = [("photos/below/b.PNG", "0.5", "", ""), ABC[1]]
    assert _rows(result.stdout) == [HEADER, *worst]
    assert "2 photos copied to out/worst" in result.stderr
    sizes = {path.name: path.stat().st_size for path in Path("out/worst").iterdir()}
    assert sizes == {"b.PNG": 0, "b-2.PNG": 1}
    result = _score(*how, "--resume", "--move-to", "out/worst")
    sizes = {path.name: path.stat().st_size for path in Path("out/worst").iterdir()}
    assert sizes == {"b.PNG": 0, "b-2.PNG": 1, "b-3.PNG": 0, "b-4.PNG": 1}
    assert not Path("photos/b.PNG").exists()
    assert len(_rows(Path("s.csv").read_text())) == 1 + 5  # the file has all
    result = _score("out/worst", "--worst", "1", "--move-to", "out/worst")
    assert "out/worst/b-3.PNG is there already" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
@pytest.mark.usefixtures("fake", "folder")
def test_a_link_moves_as_what_it_shows():
    Path("links").mkdir()
    os.symlink("../photos/a.jpg", "links/a.jpg")
    _score("links", "--worst", "1", "--move-to", "out")
    assert not os.path.lexists("links/a.jpg")
    assert Path("out/a.jpg").read_bytes() == Path("photos/a.jpg").read_bytes() == b"xxx"


@pytest.mark.usefixtures("fake", "folder")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--worst", "0"], "neither a number"),
        (["--worst", "101%"], "neither a number"),
        (["--worst", "nan%"], "neither a number"),
        (["--worst", "-1"], "neither a number"),
        (["--worst", "few"], "neither a number"),
        (["--copy-to", "out"], "about the --worst"),
        (["--worst", "1", "--dry-run"], "--dry-run is about"),
        (["--worst", "1", "--copy-to", "out", "--move-to", "out"], "choose one"),
        (["--worst", "1", "--copy-to", "photos/a.jpg"], "photos/a.jpg is a file"),
        (["--csv", "s.csv", "--resume", "--overwrite"], "choose one"),
    ],
)
def test_errors_of_the_worst(options, message):
    result = _score("photos", *options, status=2)
    assert message in " ".join(result.stderr.split())
    assert sorted(os.listdir()) == ["photos"]


@pytest.mark.usefixtures("fake", "folder")
def test_nothing_is_moved_by_a_run_that_stopped():
    Path("photos/bad.jpg").write_bytes(b"x")
    how = ["--on-error", "raise", "--worst", "1", "--move-to", "out"]
    _score("photos", *how, status=1)
    assert not Path("out").exists()


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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a disk that is full")
@pytest.mark.parametrize("options", [[], ["--json"], ["--csv", "/dev/full"], ["--sort"]])
def test_full_disk(folder, options):
    with open("/dev/full", "w") as full:
        process = _start("photos", *options, stdout=full)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 2
    where = b"/dev/full" if "--csv" in options else b"the output"
    why = b"Error: cannot write " + where + b": No space left on device\n"
    assert stderr == PASSED_OVER + why


def test_full_disk_keeps_the_rows_before(folder):
    resource = pytest.importorskip("resource")
    for k in range(100):
        Path(f"photos/x{k}.jpg").write_bytes(b"x")
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))}
    process = _start("photos", "--csv", "s.csv", **limit)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 2
    assert stderr == PASSED_OVER + b"Error: cannot write s.csv: File too large\n"
    kept = Path("s.csv").read_bytes()
    assert kept.endswith(b",1.5,,\n")  # no torn row
    assert len(kept) > 960
    _score_in_process("--resume")
    assert Path("s.csv").read_bytes().startswith(kept)
    assert len(_rows(Path("s.csv").read_text())) == 1 + 103


def _score_in_process(*options):
    process = _start("photos", "--csv", "s.csv", *options)
    process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="Windows ends processes without telling them")
@pytest.mark.parametrize("n_before", [0, 2])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_told_to_end_closes_the_list(folder, how, n_before):
    Path("photos/0-slow.jpg" if n_before == 0 else "photos/c-slow.jpg").write_bytes(b"x")
    before = signal.signal(how, signal.SIG_DFL)  # under nohup it is ignored, and so by children
    process = _start("photos", "--json")
    signal.signal(how, before)
    shown = process.stdout.read(1)
    while shown.count(b"}") < n_before:
        shown += process.stdout.read(1)
    time.sleep(0.1)
    process.send_signal(how)
    rest, stderr = process.communicate(timeout=30)
    assert len(json.loads(shown + rest)) == n_before
    assert stderr.endswith(b"interrupted after %d of 4 files\n" % n_before)
    assert process.returncode == 128 + how


def test_told_to_end_while_the_model_is_loaded(fake, folder, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(skiqa.persistence, "load_model", interrupted)
    assert json.loads(_score("photos", "--json", status=130).stdout) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_run_keeps_its_rows(folder, how):
    Path("photos/c-slow.jpg").write_bytes(b"x")
    process = _start("photos", "--csv", "s.csv")
    _wait_for_rows(Path("s.csv"), 3)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=30)
    assert _rows(Path("s.csv").read_text()) == [HEADER, *ABC[:2]]
    if how != signal.SIGKILL:
        assert process.returncode == 128 + how
        interrupted = b"interrupted after 2 of 4 files; --resume goes on from there\n"
        assert stderr == PASSED_OVER + interrupted
    Path("photos/c-slow.jpg").unlink()
    process = _start("photos", "--csv", "s.csv", "--resume")
    assert process.communicate(timeout=30) == (b"", PASSED_OVER)
    assert _rows(Path("s.csv").read_text()) == [HEADER, *ABC]


def test_reader_that_goes_away(folder):
    for k in range(3000):
        Path(f"photos/{k}.jpg").write_bytes(b"x")
    process = _start("photos")
    assert process.stdout.readline() == b"file,score,error,flags\n"
    process.stdout.close()
    assert process.stderr.read() == PASSED_OVER
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
    assert "Scores are about 0 (bad) to 100 (excellent); higher is better." in shown
    assert "4/4" in shown  # the bar
    assert "images/s" in shown


def test_terminal_with_rows_shows_no_bar(folder):
    shown, status = _on_terminal("photos", "--csv", "-")
    assert status == 0
    assert _rows(shown.replace("\r\n", "\n")) == [(PASSED_OVER.decode().strip(),), HEADER, *ABC]


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
