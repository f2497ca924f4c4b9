import os
from pathlib import Path

import pytest
from PIL import Image

from skiqa.cli._files import EXTENSIONS, find_images


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


def test_brackets_in_a_name_are_no_pattern(folder):
    Path("photos/x[1].jpg").write_bytes(b"x")
    assert find_images(["photos/x[1].jpg"]) == ["photos/x[1].jpg"]


def test_links(folder):
    os.symlink("nowhere.jpg", "photos/dead.jpg")
    os.symlink("..", "photos/below/up")  # a circle
    os.mkfifo("photos/pipe.jpg")
    found = find_images(["photos"], recursive=True)
    assert "photos/dead.jpg" in found  # becomes a row with an error
    assert "photos/pipe.jpg" not in found
    assert len(found) == 5


def test_extensions_are_read_by_pillow():
    Image.init()
    optional = {".avif", ".jp2", ".j2k", ".jpx", ".webp"}  # needs a library when Pillow is built
    assert EXTENSIONS - optional <= set(Image.registered_extensions())
