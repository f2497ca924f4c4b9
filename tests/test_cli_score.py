import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scoring_command import ABC, HEADER, D, parse_rows, score

import skiqa
from skiqa.cli._files import find_images
from skiqa.cli._outputs import TableOutput
from skiqa.distributed import Row

# ---------------------------------------------------------------- which files


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_folder_to_csv_on_standard_output():
    assert parse_rows(score("photos").stdout) == [HEADER, *ABC]
    assert score("photos").stdout.startswith("file,score,error,flags\nphotos/a.jpg,3.5,,\n")


@pytest.mark.usefixtures("fake_scorer", "few_files")
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
    assert parse_rows(score(*arguments).stdout) == [HEADER, *expected]


@pytest.mark.usefixtures("fake_scorer", "few_files")
@pytest.mark.parametrize(
    "listed",
    [
        b"photos/b.PNG\nphotos/bad.jpg\n\nphotos/below\n",
        b"photos/b.PNG\0photos/bad.jpg\0photos/below\0",
    ],
)
def test_list_on_standard_input(listed):
    result = score("-", input=listed, status=1)
    bad = ("photos/bad.jpg", "", "the file is torn", "")  # a list may be older than the folder
    assert parse_rows(result.stdout) == [HEADER, ABC[1], bad, D]


@pytest.mark.usefixtures("fake_scorer", "few_files")
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
        (["photos", "--interval", "80"], "80 is not between 0 and 1, such as 0.8"),
        (["photos", "--interval", "nan"], "nan is not between 0 and 1"),
        (["photos", "--interval", "0.99"], "is of 9 contents: at most 0.9"),
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
    result = score(*arguments, status=2, input=b"")
    assert re.search(message, " ".join(result.stderr.split()))
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_shards_are_a_partition():
    whole = find_images(["photos"], recursive=True)
    parts = [parse_rows(score("photos", "-r", "--shard", f"{i}/3").stdout)[1:] for i in (1, 2, 3)]
    assert [row[0] for row in parts[0]] == whole[::3]
    assert sorted(row[0] for part in parts for row in part) == sorted(whole)
    assert parse_rows(score("photos", "--shard", "5/5").stdout) == [
        HEADER
    ]  # fewer files than shards


# ---------------------------------------------------------------- what is written


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_unreadable_files_are_rows():
    for name in ("bad", "nan"):
        Path(f"photos/{name}.jpg").write_bytes(b"x")
    result = score("photos", status=1)
    assert ("photos/bad.jpg", "", "the file is torn", "") in parse_rows(result.stdout)
    assert ("photos/nan.jpg", "", "the model gave nan", "") in parse_rows(result.stdout)
    assert "2 of 5 files could not be read" in result.stderr


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_on_error_raise_keeps_the_rows_before():
    Path("photos/bad.jpg").write_bytes(b"x")
    result = score("photos", "--csv", "s.csv", "--on-error", "raise", status=1)
    assert result.stderr.endswith("\nError: photos/bad.jpg: the file is torn\n")
    assert parse_rows(Path("s.csv").read_text()) == [HEADER, *ABC[:2]]


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_json():
    Path("photos/bad.jpg").write_bytes(b"x")
    rows = json.loads(score("photos", "--json", status=1).stdout)
    first = {"file": "photos/a.jpg", "score": 3.5, "error": None, "flags": []}
    assert rows[0] == first
    with_bounds = json.loads(score("photos", "--json", "--interval", ".5", status=1).stdout)
    assert with_bounds[0] == first | {"low": 3.0, "high": 4.0}
    assert with_bounds[2] == rows[2] | {"low": None, "high": None}
    assert rows[2] == {
        "file": "photos/bad.jpg",
        "score": None,
        "error": "the file is torn",
        "flags": [],
    }
    assert len(rows) == 4
    assert json.loads(score("photos", "--json", "--shard", "9/9").stdout) == []


@pytest.mark.skipif(os.name != "posix", reason="such names exist on POSIX only")
def test_any_file_name_survives(fake_scorer, tmp_path, monkeypatch):
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
    stdout = score(".", status=1).stdout_bytes
    assert [row[0] for row in parse_rows(stdout)[1:]] == expected
    assert b"./\xff\xfe.jpg,1.5,,\n" in stdout  # byte for byte, as other tools print it
    rows = json.loads(score(".", "--json", status=1).stdout)
    assert [row["file"] for row in rows] == expected
    # a file cut anywhere is gone on with to the same rows
    score(".", "--csv", "s.csv", status=1)
    whole = Path("s.csv").read_bytes()
    for cut in range(0, len(whole) + 1, 7):
        Path("s.csv").write_bytes(whole[:cut])
        score(".", "--csv", "s.csv", "--resume", status=1)
        assert sorted(parse_rows(Path("s.csv").read_bytes())) == sorted(parse_rows(whole)), cut
    table = TableOutput()
    for name in expected:
        table.add(Row(name, 1.0, None))
    table.close()  # prints: neither a control character nor half a letter stops it


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_flags():
    Path("photos/odd.jpg").write_bytes(b"1234")
    odd = ("photos/odd.jpg", "4.5", "", "blank; unlike")
    score("photos", "--csv", "s.csv", "--sort")
    assert parse_rows(Path("s.csv").read_text()) == [
        HEADER,
        *sorted(ABC, key=lambda row: row[1]),
        odd,
    ]
    with open("s.csv", "a") as file:
        file.write("photos/torn")
    Path("photos/odd.jpg").write_bytes(b"")  # not looked at again
    Path("photos/z-odd.jpg").write_bytes(b"12345")
    shown = score("photos", "--csv", "s.csv", "--resume", "--worst", "5").stdout
    new = ("photos/z-odd.jpg", "5.5", "", "blank; unlike")
    assert parse_rows(Path("s.csv").read_text())[-2:] == parse_rows(shown)[-2:] == [odd, new]
    assert json.loads(score("photos", "--json").stdout)[-1]["flags"] == ["blank", "unlike"]


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
    rows = parse_rows(score(good, noisy, torn, status=1).stdout)[1:]
    assert [row[0] for row in rows] == [str(good), str(noisy), str(torn)]
    expected = skiqa.load_model().predict([good, str(noisy)])
    np.testing.assert_allclose([float(row[1]) for row in rows[:2]], expected, rtol=1e-6)
    assert expected[0] > expected[1] + 10  # worse is lower
    assert rows[2][1] == ""
    assert "not an image" in rows[2][2]
    assert "X[" not in rows[2][2]
    assert "on_error" not in rows[2][2]
