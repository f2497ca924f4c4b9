import inspect
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from skiqa._inputs.decode import to_rgb
from skiqa._inputs.formats import READ_BY_PILLOW
from skiqa.cli._files import Failure, _PassedOver, find_images
from skiqa.distributed._rows import reason
from skiqa.exceptions import ImageError


def test_brackets_in_a_name_are_no_pattern(few_files):
    Path("photos/x[1].jpg").write_bytes(b"x")
    assert find_images(["photos/x[1].jpg"]) == ["photos/x[1].jpg"]


def test_links(few_files):
    os.symlink("nowhere.jpg", "photos/dead.jpg")
    os.symlink("..", "photos/below/up")  # a circle
    os.symlink("itself.jpg", "photos/itself.jpg")
    os.symlink("itself", "photos/below/itself")
    os.mkfifo("photos/pipe.jpg")
    found = find_images(["photos"], recursive=True)
    assert len(found) == 7
    for name, why in [  # they become rows with an error
        ("dead", "there is no such file"),
        ("itself", "the file cannot be read (Too many levels of symbolic links)"),
        ("pipe", "this is not a regular file"),
    ]:
        assert f"photos/{name}.jpg" in found
        with pytest.raises(ImageError) as caught:
            to_rgb(f"photos/{name}.jpg")
        assert reason(caught.value) == why


def test_folder_that_cannot_be_read_is_a_line(few_files, monkeypatch, capsys):
    scandir = os.scandir

    def denied(path):
        if os.path.basename(path) == "below":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert len(find_images(["photos"], recursive=True)) == 3
    assert "cannot read folder photos/below: Permission denied" in capsys.readouterr().err
    with pytest.raises(Failure, match="cannot read folder"):
        find_images(["photos/below"])


def test_folders_below_deeper_than_the_stack(few_files):
    Path(*"a" * 150).mkdir(parents=True)
    Path(*"a" * 150, "x.jpg").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        assert len(find_images(["a"], recursive=True)) == 1
    finally:
        sys.setrecursionlimit(limit)


def test_what_cannot_be_decoded_is_found(few_files):
    for suffix in (".heic", ".dng", ".NEF", ".cr3", ".arw", ".jxl"):
        Path(f"photos/phone{suffix}").touch()
    assert len(find_images(["photos"])) == 9


def test_extensions_are_read_by_pillow():
    Image.init()
    optional = {".avif", ".jp2", ".j2k", ".jpx", ".webp"}  # needs a library when Pillow is built
    assert READ_BY_PILLOW - optional <= set(Image.registered_extensions())


def test_what_is_passed_over_is_named(few_files, capsys):
    for name in ("a.txt", "b.xmp", "c.XMP", "d.mov", "e.pdf", "f.html", "Makefile"):
        Path("photos", name).touch()
    find_images(["photos"])
    said = capsys.readouterr().err
    assert said.startswith("Passed over: 2 .txt, 2 .xmp, ")
    assert said.endswith(", 8 files of 6 kinds in all; 1 image below: -r\n")
    assert "1 without extension" in said
    find_images(["photos"], recursive=True)
    assert "below" not in capsys.readouterr().err
    find_images(["photos/a.jpg"])
    assert capsys.readouterr().err == ""


def test_counting_below_ends(few_files, monkeypatch, capsys):
    monkeypatch.setattr(_PassedOver, "LOOKED_AT", 3)
    for k in range(5):
        Path(f"photos/below/{k}").mkdir()
        Path(f"photos/below/{k}/x.jpg").touch()
    os.symlink("..", "photos/below/up")
    find_images(["photos"])
    assert "1 or more images below: -r" in capsys.readouterr().err
