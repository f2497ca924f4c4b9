"""Films on the command line: a row a film, or a frame; in a page, a curve over time."""

import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from made_views import timed_film, write_film
from PIL import Image, ImageFilter
from scoring_command import parse_rows, score
from sklearn.datasets import load_sample_images

from skiqa.cli import main

pytest.importorskip("av")


@pytest.fixture
def mixed(tmp_path, monkeypatch):
    """A photo, and a film of it of six seconds that is blurred from the second to the fourth."""
    monkeypatch.chdir(tmp_path)
    photo = Image.fromarray(load_sample_images().images[0][:240, :320])
    blurred = photo.filter(ImageFilter.GaussianBlur(4))
    Path("mixed").mkdir()
    frames = [np.asarray(blurred if 20 <= n < 40 else photo) for n in range(60)]
    write_film("mixed/film.mp4", frames)
    photo.save("mixed/photo.png")
    Path("mixed/torn.mp4").write_bytes(Path("mixed/film.mp4").read_bytes()[:3000])
    Path("mixed/notes.txt").touch()


@pytest.mark.usefixtures("mixed")
def test_a_row_for_each_film_and_the_middle_is_the_worst():
    result = score("mixed", "--frames", "6", "--interval", "0.8", status=1)
    _, film, photo, torn = parse_rows(result.stdout)
    assert [row[0] for row in (film, photo, torn)] == [
        "mixed/film.mp4",
        "mixed/photo.png",
        "mixed/torn.mp4",
    ]
    assert torn[1] == ""
    assert torn[2].startswith("the film cannot be read")
    assert film[4:] == ("", "")  # intervals are those of photos
    assert float(photo[4]) < float(photo[1])
    assert "Passed over: 1 .txt" in result.stderr
    _, *frames = parse_rows(score("mixed/film.mp4", "--per-view", "--frames", "6").stdout)
    assert [row[0] for row in frames] == [f"mixed/film.mp4#t={n}.500" for n in range(6)]
    scores = [float(row[1]) for row in frames]
    assert max(scores[2:4]) < min(scores[:2] + scores[4:]) - 20
    assert float(film[1]) == pytest.approx(np.mean(scores), abs=1e-9)


@pytest.mark.usefixtures("mixed")
def test_resumed_with_the_same_frames_only():
    how = ("--per-view", "--csv", "s.csv")
    score("mixed/film.mp4", "--every", "2", *how)
    whole = Path("s.csv").read_text()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 4
    Path("s.csv").write_text("".join(lines[:2]))
    score("mixed/film.mp4", "--every", "2", *how, "--resume")
    assert Path("s.csv").read_text() == whole
    result = score("mixed/film.mp4", *how, "--resume", status=2)
    assert "choice of frames" in " ".join(result.stderr.split())


def test_no_film_is_without_a_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    timed_film("a.avi", [0.1])
    timed_film("b.mkv", [], silence=0.5)
    for how in ((), ("--every", "1"), ("--per-view",)):
        _, one, none = parse_rows(score("a.avi", "b.mkv", *how, status=1).stdout)
        assert one[0] == "a.avi" + "#t=0.000" * ("--per-view" in how)
        assert one[1:3] != ("", "")
        assert none[:3] == ("b.mkv", "", "there are no pictures in the film")


@pytest.mark.parametrize("every", ["nan", "inf", "0"])
@pytest.mark.parametrize("command", [("score",), ("report", "--html", "x.html")])
def test_seconds_of_no_use(tmp_path, monkeypatch, command, every):
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").touch()
    result = CliRunner().invoke(main, [*command, "a.mp4", "--every", every])
    assert result.exit_code == 2
    assert re.search(rf"'--every'.* {every}", " ".join(result.stderr.split()))


def test_films_of_one_name_are_a_row_each(tmp_path, monkeypatch):
    """One after the other; also those that cannot be read, or not to their end."""
    from skiqa.distributed import score as score_rows

    monkeypatch.chdir(tmp_path)
    for name, seconds in (("one.avi", [0.1]), ("two.mp4", [1.0, 1.0])):
        timed_film(name, seconds)
    timed_film("cut.mkv", [4.0] * 5, rate=Fraction(1, 4))
    Path("cut.mkv").write_bytes(Path("cut.mkv").read_bytes()[:-400])
    Path("torn.mp4").write_bytes(Path("two.mp4").read_bytes()[:100])
    names = [name for name in ("one.avi", "two.mp4", "cut.mkv", "torn.mp4") for _ in range(3)]
    rows = list(score_rows(names))
    assert [row.file for row in rows] == names
    assert [row.error is None for row in rows] == [True] * 6 + [False] * 6


def test_frames_are_not_copied(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").touch()
    result = score("a.mp4", "--per-view", "--worst", "1", "--copy-to", "x", status=2)
    assert "no --per-view" in result.stderr


@pytest.mark.usefixtures("mixed")
def test_a_page_holds_the_frames_of_a_film_with_their_times():
    Path("pages").mkdir()
    how = ["--html", "pages/page.html", "--frames", "6", "--no-maps"]
    result = CliRunner().invoke(main, ["report", "mixed", *how])
    assert result.exit_code == 1, result.output  # torn.mp4
    assert "page.html: 7 photos" in result.output
    text = Path("pages/page.html").read_text("utf-8")
    start = '<script type="application/json" id='
    photos, about = (
        json.loads(re.search(rf'{start}"{name}">(.*?)</script>', text, re.DOTALL)[1])
        for name in ("photos", "report")
    )
    frames = [photo for photo in photos if "film" in photo]
    assert {frame["film"] for frame in frames} == {"mixed/film.mp4"}
    assert [frame["time"] for frame in frames] == [n + 0.5 for n in range(6)]
    assert frames[1]["link"] == "../mixed/film.mp4#t=1.5"
    assert frames[0]["size"] == [320, 240]
    worst = sorted(frames, key=lambda frame: frame["score"])[:2]
    assert {frame["time"] for frame in worst} == {2.5, 3.5}
    (unreadable,) = about["unreadable"]
    assert unreadable["name"] == "mixed/torn.mp4"
