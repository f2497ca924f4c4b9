"""The page about services: its server answers as it says, and its shell lines do what they say."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import skiqa

PAGE = (Path(__file__).parents[1] / "docs" / "service.md").read_text("utf-8")


def _block(language, words):
    """Return the one fenced block in a language that holds some words."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if words in block]
    return found


@pytest.fixture(scope="module")
def server():
    """The namespace of the page's server."""
    pytest.importorskip("fastapi", minversion="0.164", reason="the page's server needs FastAPI")
    pytest.importorskip("multipart", reason="uploads need python-multipart")
    pytest.importorskip("httpx", reason="FastAPI's test client needs httpx")
    namespace = {"__name__": "service"}
    exec(compile(_block("py", "FastAPI("), "service.py", "exec"), namespace)
    return namespace


@pytest.fixture
def send(server):
    """A function that posts a photo and returns (status, text of the answer)."""
    from fastapi.testclient import TestClient

    def post(data):
        found = client.post("/score", files={"photo": ("photo", data)})
        return found.status_code, found.text

    with TestClient(server["app"]) as client:
        yield post


def _png(width, height):
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_scores_are_those_of_the_model(send, photo_paths):
    expected = skiqa.load_model().predict(photo_paths)
    for path, score in zip(photo_paths, expected, strict=True):
        status, answer = send(Path(path).read_bytes())
        assert status == 200
        assert json.loads(answer) == {"score": pytest.approx(score)}


@pytest.mark.parametrize(
    ("width", "height"), [(6000, 4001), (20_000, 15_000)], ids=["large", "what Pillow refuses"]
)
def test_large_photos_are_refused_before_they_are_decoded(send, monkeypatch, width, height):
    bomb = _png(width, height)
    assert len(bomb) < 200_000
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    status, answer = send(bomb)
    assert status == 413
    assert "more than 24,000,000 pixels" in answer


def test_long_uploads_end(send, server):
    assert send(bytes(server["MAX_BYTES"] + 1))[0] == 413


def test_what_is_no_photo_is_refused(send, photo_paths):
    photo = Path(photo_paths[0]).read_bytes()
    bitmap = io.BytesIO()
    Image.new("RGB", (64, 64)).save(bitmap, "BMP")
    for data in (b"no photo", photo[:2000], photo[:30], _png(64, 64)[:40], bitmap.getvalue()):
        assert send(data)[0] == 415


def test_a_request_waits_no_longer_than_it_should(send, server, monkeypatch):
    monkeypatch.setitem(server, "PATIENCE", 0.01)
    for _ in range(server["WORKERS"]):
        server["turn"].acquire()
    try:
        assert send(_png(64, 64))[0] == 503
    finally:
        server["turn"].release(server["WORKERS"])
    assert send(_png(64, 64))[0] == 200
    assert server["turn"]._value == server["WORKERS"]  # each was given back


def test_a_batch_in_two_parts(photo_paths, tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("the page's shell lines need bash")
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "more/c.jpg"):
        with Image.open(photo_paths[0]) as photo:
            photo.crop((0, 0, 64, 64)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "d.jpg").write_text("no image")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for _ in range(2):  # the second time everything is there
        done = subprocess.run(
            ["bash", "-c", _block("bash", "--shard")],
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        rows = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
        names = ["a.jpg", "b.jpg", "d.jpg", "more/c.jpg"]
        assert sorted(row["file"] for row in rows) == [f"photos/{name}" for name in names]
        assert [row["file"] for row in rows if not row["score"]] == ["photos/d.jpg"]
