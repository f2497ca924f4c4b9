import json
import os
from pathlib import Path

import pytest
from scoring_command import ABC, HEADER, parse_rows, score


@pytest.mark.usefixtures("fake_scorer", "few_files")
@pytest.mark.parametrize(
    ("worst", "n"), [("2", 2), ("9", 3), ("1%", 1), ("50%", 2), ("67 %", 3), ("100%", 3)]
)
def test_worst(worst, n):
    Path("photos/bad.jpg").write_bytes(b"x")
    result = score("photos", "--worst", worst, status=1)
    assert parse_rows(result.stdout) == [HEADER, *[ABC[1], ABC[2], ABC[0]][:n]]
    rows = json.loads(score("photos", "--worst", worst, "--json", status=1).stdout)
    assert [row["score"] for row in rows] == [1.5, 2.5, 3.5][:n]


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_sort():
    Path("photos/bad.jpg").write_bytes(b"x")
    bad = ("photos/bad.jpg", "", "the file is torn", "")
    expected = [HEADER, ABC[1], ABC[2], ABC[0], bad]
    assert parse_rows(score("photos", "--sort", status=1).stdout) == expected
    score("photos", "--sort", "--csv", "s.csv", status=1)
    assert parse_rows(Path("s.csv").read_text()) == expected
    os.unlink("photos/bad.jpg")
    Path("photos/e.jpg").write_bytes(b"")
    score("photos", "--sort", "--csv", "s.csv", "--resume")
    new = ("photos/e.jpg", "0.5", "", "")
    assert parse_rows(Path("s.csv").read_text()) == [HEADER, new, ABC[1], ABC[2], ABC[0]]


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_copy_and_move_the_worst():
    Path("photos/below/b.PNG").write_bytes(b"")  # another photo of this name, the very worst
    how = ["photos", "-r", "--csv", "s.csv", "--worst", "2"]
    result = score(*how, "--copy-to", "out/worst", "--dry-run")
    assert "would copy photos/below/b.PNG to out/worst/b.PNG\n" in result.stderr
    assert "would copy photos/b.PNG to out/worst/b-2.PNG\n" in result.stderr
    assert not Path("out").exists()
    # what was scored is not scored again, and the worst are those of all
    result = score(*how, "--resume", "--copy-to", "out/worst")
    worst = [("photos/below/b.PNG", "0.5", "", ""), ABC[1]]
    assert parse_rows(result.stdout) == [HEADER, *worst]
    assert "2 photos copied to out/worst" in result.stderr
    sizes = {path.name: path.stat().st_size for path in Path("out/worst").iterdir()}
    assert sizes == {"b.PNG": 0, "b-2.PNG": 1}
    result = score(*how, "--resume", "--move-to", "out/worst")
    sizes = {path.name: path.stat().st_size for path in Path("out/worst").iterdir()}
    assert sizes == {"b.PNG": 0, "b-2.PNG": 1, "b-3.PNG": 0, "b-4.PNG": 1}
    assert not Path("photos/b.PNG").exists()
    assert len(parse_rows(Path("s.csv").read_text())) == 1 + 5  # the file has all
    result = score("out/worst", "--worst", "1", "--move-to", "out/worst")
    assert "out/worst/b-3.PNG is there already" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_a_link_moves_as_what_it_shows():
    Path("links").mkdir()
    os.symlink("../photos/a.jpg", "links/a.jpg")
    score("links", "--worst", "1", "--move-to", "out")
    assert not os.path.lexists("links/a.jpg")
    assert not os.path.islink("out/a.jpg")
    assert Path("out/a.jpg").read_bytes() == Path("photos/a.jpg").read_bytes() == b"xxx"


@pytest.mark.usefixtures("fake_scorer", "few_files")
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
    result = score("photos", *options, status=2)
    assert message in " ".join(result.stderr.split())
    assert sorted(os.listdir()) == ["photos"]


@pytest.mark.usefixtures("fake_scorer", "few_files")
def test_nothing_is_moved_by_a_run_that_stopped():
    Path("photos/bad.jpg").write_bytes(b"x")
    how = ["--on-error", "raise", "--worst", "1", "--move-to", "out"]
    score("photos", *how, status=1)
    assert not Path("out").exists()
