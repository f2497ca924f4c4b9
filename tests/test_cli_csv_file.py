import contextlib
import hashlib
import json
import os
from pathlib import Path

import pytest
from scoring_command import ABC, HEADER, PASSED_OVER, parse_rows, score, start, wait_for_rows

import skiqa
import skiqa.persistence


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_csv_file():
    passed = PASSED_OVER.decode()
    assert score("photos", "--csv", "s.csv").output == passed
    assert parse_rows(Path("s.csv").read_text()) == [HEADER, *ABC]
    result = score("photos/a.jpg", "--csv", "s.csv", status=2)
    assert result.stderr == (  # known before the folder is searched
        "Error: s.csv exists: give another file, or --overwrite to replace it, or --resume to go "
        "on with it\n"
    )
    assert parse_rows(Path("s.csv").read_text()) == [HEADER, *ABC]
    score("photos/a.jpg", "--csv", "s.csv", "--overwrite")
    assert parse_rows(Path("s.csv").read_text()) == [HEADER, ABC[0]]
    assert parse_rows(score("photos", "--csv", "-").stdout) == [HEADER, *ABC]


@pytest.mark.usefixtures("fake_scorer", "few_files")
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
    score("photos", "--csv", "s.csv", "--resume")
    kept = before is not None and "7.25" in before  # an earlier score is not computed again
    first = ("photos/a.jpg", "7.25" if kept else "3.5", "", "")
    assert parse_rows(Path("s.csv").read_text()) == [HEADER, first, *ABC[1:]]
    left = set(os.listdir()) - {"s.csv.skiqa.json"}  # a file that came without one gets none
    assert left == {"s.csv", "photos"}


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_resume_sends_a_cluster_what_is_new(monkeypatch):
    pytest.importorskip("distributed")
    from skiqa.cli._score import _Scoring
    from skiqa.distributed import _score

    sent, iter_parts = [], _score.iter_parts

    def recorded(parts, *how, **options):
        sent.extend(place for part in parts for place in part.places)
        return iter_parts(parts, *how, **options)

    monkeypatch.setattr(_score, "iter_parts", recorded)
    monkeypatch.setattr(_Scoring, "client", lambda self: contextlib.nullcontext())
    Path("s.csv").write_text("file,score,error,flags\nphotos/b.PNG,7.25,,\n")
    result = score("photos", "--csv", "s.csv", "--resume", "--dask", "auto", "--worst", "3")
    assert sent == ["photos/a.jpg", "photos/c.webp"]
    rows = [("photos/b.PNG", "7.25", "", ""), ABC[0], ABC[2]]
    assert parse_rows(Path("s.csv").read_text()) == [HEADER, *rows]
    assert sorted(parse_rows(result.stdout)[1:]) == sorted(rows)


def test_resume_loads_no_model_when_all_is_done(fake_scorer, few_files, monkeypatch):
    score("photos", "--csv", "s.csv")
    before = Path("s.csv").read_bytes()
    monkeypatch.setattr(skiqa.persistence, "load_model", None)
    score("photos", "--csv", "s.csv", "--resume")
    assert Path("s.csv").read_bytes() == before


@pytest.mark.usefixtures("fake_scorer", "few_files")
@pytest.mark.parametrize(
    "text",
    [
        "name,mos\na.jpg,3\n",
        "hello",
        "file,score,error\na.jpg,3,\n",
        "file,score,error,flags,low,high\na.jpg,3,,,2\n",
        "file,score,error,flags,low,high\na.jpg,3,,,2,high\n",
    ],
)
def test_resume_leaves_other_files_alone(text):
    Path("s.csv").write_text(text)
    result = score("photos", "--csv", "s.csv", "--resume", status=2)
    assert "was not written by `skiqa score`" in result.stderr
    assert Path("s.csv").read_text() == text


def test_a_model_that_cannot_be_loaded_empties_no_file(few_files):
    Path("s.csv").write_text("precious")
    Path("broken.skiqa").write_bytes(b"no model")
    how = ["--csv", "s.csv", "--overwrite", "--model", "broken.skiqa"]
    result = score("photos", *how, status=2)
    assert "cannot load the model broken.skiqa" in result.stderr
    assert Path("s.csv").read_text() == "precious"
    assert not Path("s.csv.skiqa.json").exists()


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_resume_with_other_scores_is_refused():
    Path("one.skiqa").write_bytes(b"1")
    Path("other.skiqa").write_bytes(b"2")
    how = ["photos", "--csv", "s.csv", "--model", "one.skiqa"]
    score(*how)
    about = json.loads(Path("s.csv.skiqa.json").read_text())
    digest = hashlib.sha256(b"1").hexdigest()
    size, version = "the model's own", skiqa.__version__
    assert about == {
        "model": digest,
        "max_pixels": size,
        "damaged": "unreadable",
        "interval": "none",
        "films": "32 a film",
        "column": "the one that can be it",
        "skiqa": version,
    }
    before = Path("s.csv").read_bytes()

    def refused(*options):
        stderr = score(*how, "--resume", *options, status=2).stderr
        assert stderr.startswith(PASSED_OVER.decode() + "Error: ")
        assert stderr.count("\n") == 2
        assert Path("s.csv").read_bytes() == before
        return stderr

    assert f"have another model ({digest[:12]}.., now " in refused("--model", "other.skiqa")
    words = "have another viewing size (the model's own, now 4096)."
    assert words in refused("--max-pixels", "4096")
    assert "have another interval (none, now 0.8)." in refused("--interval", "0.8")
    words = "have another column of pictures (the one that can be it, now full)."
    assert words in refused("--column", "full")
    Path("s.csv.skiqa.json").write_text(json.dumps(about | {"skiqa": "0.0.9"}))
    assert f"have another version of skiqa (0.0.9, now {skiqa.__version__})" in refused()
    Path("one.skiqa").rename("moved.skiqa")  # the same model under another name
    Path("s.csv.skiqa.json").write_text(json.dumps(about))
    score("photos", "--csv", "s.csv", "--resume", "--model", "moved.skiqa")
    score("photos", "--csv", "s.csv", "--overwrite", "--model", "other.skiqa")
    about = json.loads(Path("s.csv.skiqa.json").read_text())
    assert about["model"] == hashlib.sha256(b"2").hexdigest()


@pytest.mark.usefixtures("fake_scorer", "few_files")
@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}"])
def test_a_file_whose_companion_is_lost_or_damaged(text):
    Path("s.csv").write_text("file,score,error,flags\nphotos/a.jpg,7.25,,\n")
    if text is not None:
        Path("s.csv.skiqa.json").write_text(text)
    result = score("photos", "--csv", "s.csv", "--resume")
    assert "s.csv.skiqa.json does not say which model" in result.stderr
    assert parse_rows(Path("s.csv").read_text())[1] == ("photos/a.jpg", "7.25", "", "")


WITH_BOUNDS = (*HEADER, "low", "high")


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_intervals_in_a_file():
    how = ["photos", "--csv", "s.csv", "--interval", "0.5"]
    Path("photos/bad.jpg").write_bytes(b"x")
    score(*how, status=1)
    bad = ("photos/bad.jpg", "", "the file is torn", "", "", "")
    a, b, c = ((*row, str(float(row[1]) - 0.5), str(float(row[1]) + 0.5)) for row in ABC)
    assert parse_rows(Path("s.csv").read_text()) == [WITH_BOUNDS, a, b, bad, c]
    assert json.loads(Path("s.csv.skiqa.json").read_text())["interval"] == "0.5"
    for other in (["--interval", "0.8"], []):
        result = score(*how[:3], *other, "--resume", status=2)
        assert f"have another interval (0.5, now {other[1] if other else 'none'})." in result.stderr
    Path("photos/bad.jpg").unlink()
    score(*how, "--resume", "--sort")
    assert parse_rows(Path("s.csv").read_text()) == [WITH_BOUNDS, b, c, a]  # bounds are read back
    Path("s.csv.skiqa.json").unlink()
    score(*how, "--resume")
    result = score(*how[:3], "--resume", status=2)
    assert "its columns are file,score,error,flags,low,high, as --interval decides" in result.stderr


@pytest.mark.usefixtures("fake_scorer", "few_files")
@pytest.mark.parametrize(
    "before",
    ["", "file,sc", "file,score,error,flags,lo", "file,score,error,flags\nphotos/a.jpg,,torn,\n"],
)
def test_a_file_without_scores_may_get_intervals(before):
    Path("s.csv").write_text(before)
    score("photos", "--csv", "s.csv", "--interval", "0.5", "--resume")
    found = parse_rows(Path("s.csv").read_text())
    assert found[0] == WITH_BOUNDS
    assert [row[-2:] for row in found[1:]] == [("3.0", "4.0"), ("1.0", "2.0"), ("2.0", "3.0")]


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_duplicates_in_a_file_are_found():
    text = "file,score,error,flags\nphotos/a.jpg,7.25,,\nphotos/a.jpg,7.25,,\nphotos/b.PNG,1.5,,\n"
    Path("s.csv").write_text(text)
    result = score("photos", "--csv", "s.csv", "--resume")
    assert "s.csv: 1 rows stood there twice; one is kept" in result.stderr
    expected = [HEADER, ("photos/a.jpg", "7.25", "", ""), *ABC[1:]]
    assert parse_rows(Path("s.csv").read_text()) == expected
    Path("s.csv").write_text(text + "photos/a.jpg,7.5,,\n")
    result = score("photos", "--csv", "s.csv", "--resume", status=2)
    assert "s.csv has two scores of photos/a.jpg, 7.25 and 7.5" in result.stderr
    assert Path("s.csv").read_text() == text + "photos/a.jpg,7.5,,\n"


def test_two_runs_on_one_file(few_files):
    Path("photos/c-slow.jpg").write_bytes(b"x")
    first = start("photos", "--csv", "s.csv")
    wait_for_rows(Path("s.csv"), 3)
    for option in ("--resume", "--overwrite"):
        second = start("photos", "--csv", "s.csv", option)
        _, stderr = second.communicate(timeout=30)
        assert stderr == PASSED_OVER + (
            b"Error: another run is writing s.csv: wait for it, or give another --csv file\n"
        )
        assert second.returncode == 2
    first.kill()  # which frees the lock
    first.communicate(timeout=30)
    Path("photos/c-slow.jpg").unlink()
    third = start("photos", "--csv", "s.csv", "--resume")
    third.communicate(timeout=30)
    assert third.returncode == 0
    assert parse_rows(Path("s.csv").read_text()) == [HEADER, *ABC]
