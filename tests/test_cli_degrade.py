"""skiqa degrade: the pictures, the table of what was done, and what it refuses to do."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from skiqa.cli import main
from skiqa.cli._degrade import degrade as command
from skiqa.degradations import (
    _registry,
    apply_sequences,
    get_bank,
    get_space,
    list_operators,
    parse_sequence,
    spaces,
)

OWN = """
from skiqa.degradations import batched, register

HAZE = 1.0

@register("fog", group="weather", levels=(0.1, 0.2, 0.3, 0.4, 0.5))
@batched
def fog(images, amount):
    return images + amount * (HAZE - images)
"""


@pytest.fixture
def photos(photo_paths, tmp_path, monkeypatch):
    """a.png and b.png, small crops of real photographs, in the folder photos/."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name, path in zip("ab", photo_paths, strict=True):
        with Image.open(path) as photo:
            photo.crop((200, 100, 264, 148)).save(f"photos/{name}.png")
    return Path("photos")


def _degrade(*arguments, status=0):
    result = CliRunner().invoke(main, ["degrade", *map(str, arguments)])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result


def _read_table(folder="out"):
    with open(Path(folder) / "degradations.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _pixels(path):
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def _again(row):
    """Make the picture of a row of the table from its source."""
    pixels = torch.from_numpy(_pixels(row["source"]).copy()).permute(2, 0, 1)[None] / 255
    degraded = apply_sequences(pixels, row["sequence"], int(row["seed"]))
    return (degraded[0].permute(1, 2, 0) * 255 + 0.5).byte().numpy()


def _check(rows, folder="out"):
    """Every picture is there, none else, and the table says how it was made."""
    assert sorted(os.listdir(folder)) == sorted(["degradations.csv", *(r["file"] for r in rows)])
    for row in rows:
        assert np.array_equal(_pixels(Path(folder) / row["file"]), _again(row)), row


@pytest.mark.usefixtures("photos")
def test_operators_by_levels():
    _degrade("photos", "--out", "out", "--operators", "jpeg, white_noise", "--levels", "1,5")
    rows = _read_table()
    assert [row["file"] for row in rows] == [
        f"{photo}__{name}_{level}.png"
        for photo in "ab"
        for name in ("jpeg", "white_noise")
        for level in (1, 5)
    ]
    assert " ".join(row["sequence"] for row in rows[:4]) == (
        "jpeg:1 jpeg:5 white_noise:1 white_noise:5"
    )
    _check(rows)
    # photos draw numbers of their own, levels of one photo the same
    seeds = {
        row["source"]: {r["seed"] for r in rows if r["source"] == row["source"]} for row in rows
    }
    assert [len(own) for own in seeds.values()] == [1, 1]
    assert rows[0]["seed"] != rows[-1]["seed"]


@pytest.mark.usefixtures("photos")
def test_everything_by_default_and_banks_by_name():
    _degrade("photos/a.png", "--out", "out")
    everything = {f"{name}:{level}" for name in list_operators() for level in range(1, 6)}
    assert {row["sequence"] for row in _read_table()} == everything
    _degrade("photos/a.png", "--out", "kadis", "--operators", "kadis", "--levels", "2")
    assert [row["sequence"] for row in _read_table("kadis")] == [
        f"{n}:2" for n in get_bank("kadis").names
    ]


@pytest.mark.usefixtures("photos")
def test_operators_groups_and_banks_together():
    options = ["--levels", "2", "--operators", "jpeg,compression,blur,kadis"]
    _degrade("photos/a.png", "--out", "out", *options)
    names = [
        "jpeg",
        *list_operators("compression"),
        *list_operators("blur"),
        *get_bank("kadis").names,
    ]
    assert [row["sequence"] for row in _read_table()] == [f"{n}:2" for n in dict.fromkeys(names)]


@pytest.mark.usefixtures("photos")
def test_operators_of_ones_own(monkeypatch):
    monkeypatch.setattr(_registry, "_OPERATORS", dict(_registry._OPERATORS))
    Path("own.py").write_text(OWN)
    own = ["--register", "own.py"]
    listed = _degrade(*own, "--list").stdout.splitlines()
    assert listed[-1] == "| fog | weather | texture | 0.1, 0.2, 0.3, 0.4, 0.5 | yes | no |  |"
    assert len(listed) == 2 + len(list_operators())
    # registered once in a process: here one process runs several commands
    result = _degrade("photos/a.png", "--out", "out", *own, status=2)
    assert "cannot register own.py: ValueError: A degradation named 'fog'" in result.stderr
    _degrade("photos/a.png", "--out", "out", "--operators", "weather")
    assert [row["sequence"] for row in _read_table()] == [f"fog:{level}" for level in range(1, 6)]
    _check(_read_table())
    options = ["--space", "contrique", "--operators", "fog,darken", "--n", "20"]
    _degrade("photos/a.png", "--out", "space", *options)
    drawn = {name for row in _read_table("space") for name, _ in parse_sequence(row["sequence"])}
    assert drawn == {"fog", "darken"}


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("space", ["qpt", "contrique"])
def test_spaces(space):
    arguments = ["photos", "--space", space, "--n", "5"]
    _degrade(*arguments, "--out", "out", "--seed", "7")
    rows = _read_table()
    assert [row["file"] for row in rows][:2] == [f"a__{space}_1.png", f"a__{space}_2.png"]
    assert len({row["seed"] for row in rows}) == len(rows) == 10
    _check(rows)
    drawn = get_space(space).sample([int(row["seed"]) for row in rows])
    assert [parse_sequence(row["sequence"]) for row in rows] == drawn
    _degrade(*arguments, "--out", "again", "--seed", "7")
    assert _read_table("again") == rows
    _degrade(*arguments, "--out", "other", "--seed", "8")
    assert not {row["seed"] for row in _read_table("other")} & {row["seed"] for row in rows}


@pytest.mark.usefixtures("photos")
def test_a_space_of_ones_own_choice():
    _degrade("photos/a.png", "--out", "out", "--space", "qpt", "--operators", "darken,jpeg")
    rows = _read_table()
    assert len(rows) == 10
    assert rows[0]["file"] == "a__qpt_01.png"
    names = {name for row in rows for name, _ in parse_sequence(row["sequence"])}
    assert names == {"darken", "jpeg"}


@pytest.mark.usefixtures("photos")
def test_sequences():
    _degrade(
        "photos/b.png", "--out", "out", "--sequence", "darken:2>jpeg:3", "--sequence", "pristine"
    )
    rows = _read_table()
    assert [row["sequence"] for row in rows] == ["darken:2 > jpeg:3", "pristine"]
    _check(rows)
    assert np.array_equal(_pixels("out/b__sequence_2.png"), _pixels("photos/b.png"))


def test_photos_of_one_name(photos):
    Path("photos/below").mkdir()
    shutil.copy("photos/b.png", "photos/below/A.png")
    shutil.copy("photos/a.png", "photos/A_2.png")
    _degrade("photos", "-r", "--out", "out", "--operators", "darken", "--levels", "1")
    rows = _read_table()
    assert len({row["file"].casefold() for row in rows}) == 4
    _check(rows)


def test_unreadable_photos_are_told(photos):
    Path("photos/bad.jpg").write_bytes(b"no photo")
    result = _degrade("photos", "--out", "out", "--operators", "darken", status=1)
    assert "Error: photos/bad.jpg: " in result.stderr
    assert "1 of 3 photos could not be read" in result.stderr
    assert "on_error" not in result.stderr
    assert len(_read_table()) == 10


# ---------------------------------------------------------------- nothing is lost


def test_no_input_is_overwritten(photos):
    shutil.copy("photos/a.png", "photos/a__darken_1.png")
    before = {path: path.read_bytes() for path in photos.iterdir()}
    for arguments in (
        ["photos", "--out", "photos"],
        ["photos", "--out", "photos", "--overwrite"],
        ["photos", "--out", "out", "--gallery", "photos/a.png", "--overwrite"],
    ):
        if "--gallery" in arguments:
            arguments[0] = "photos/a.png"
        result = _degrade(*arguments, "--operators", "darken", status=2)
        assert "is one of the photos" in result.stderr
    assert {path: path.read_bytes() for path in photos.iterdir()} == before
    # under another name, too
    os.link("photos/a.png", "photos/b__darken_1.png")
    options = ["--out", "photos", "--operators", "darken", "--overwrite"]
    result = _degrade("photos/a.png", "photos/b.png", *options, status=2)
    assert "is one of the photos" in result.stderr


@pytest.mark.usefixtures("photos")
def test_earlier_pictures_are_replaced_only_on_demand():
    arguments = ["photos/a.png", "--out", "out", "--operators", "white_noise", "--levels", "3"]
    _degrade(*arguments)
    first = _pixels("out/a__white_noise_3.png")
    result = _degrade(*arguments, "--seed", "1", status=2)
    assert "exists: give another folder, or --overwrite" in result.stderr
    assert np.array_equal(_pixels("out/a__white_noise_3.png"), first)
    _degrade(*arguments, "--seed", "1", "--overwrite")
    assert not np.array_equal(_pixels("out/a__white_noise_3.png"), first)
    _check(_read_table())


@pytest.mark.usefixtures("photos")
def test_interruption_leaves_a_true_table(monkeypatch):
    from skiqa.cli import _degrade as module

    write = module._write_picture

    def interrupted(photo, variant, out):
        if variant.file == "b__darken_3.png":
            raise KeyboardInterrupt
        write(photo, variant, out)

    monkeypatch.setattr(module, "_write_picture", interrupted)
    result = _degrade("photos", "--out", "out", "--operators", "darken", status=130)
    assert "degradations.csv lists what was written" in result.stderr
    assert len(_read_table()) == 7
    _check(_read_table())


# ---------------------------------------------------------------- gallery, errors, help


@pytest.mark.usefixtures("photos")
def test_gallery():
    pytest.importorskip("matplotlib")
    _degrade("photos/a.png", "--out", "out", "--operators", "jpeg", "--gallery", "grid.png")
    with Image.open("grid.png") as grid:
        assert grid.width > 6 * 64
    result = _degrade(
        "photos/a.png", "--out", "o2", "--operators", "jpeg", "--gallery", "grid.xyz", status=2
    )
    assert "cannot write grid.xyz" in result.stderr


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--operators", "jepg"], "'jepg' is no degradation, group or bank: did you mean jpeg?"),
        (["--operators", "jpeg,xyz"], "'xyz' is no degradation, group or bank: There are: "),
        (["--operators", ""], "'' is no degradation"),
        (["--register", "own.py"], "cannot register own.py: FileNotFoundError"),
        (["--levels", "0,1"], "is not of the form 1,3,5"),
        (["--levels", "1;2"], "is not of the form 1,3,5"),
        (["--sequence", "jpeg"], "not of the form name:level"),
        (["--sequence", "jpeg:1", "--levels", "1"], "--sequence goes with none of"),
        (["--space", "koniq"], "koniq"),
        (["--space", "qpt", "--levels", "1"], "--space draws the levels"),
        (["--space", "qpt", "--n", "0"], "--n"),
        (["--n", "3"], "--n is the number of draws"),
        (["--space", "qpt", "--gallery", "g.png"], "--gallery shows operators by levels"),
        (["--seed", "x"], "--seed"),
    ],
)
def test_usage_errors(arguments, message):
    result = _degrade("photos/a.png", "--out", "out", *arguments, status=2)
    assert message in " ".join(result.stderr.split())
    assert not Path("out").exists()


@pytest.mark.usefixtures("photos")
def test_folder_that_cannot_be_made():
    Path("file").write_text("")
    result = _degrade("photos", "--out", "file/out", "--operators", "jpeg", status=2)
    assert "cannot write file/out" in result.stderr
    result = _degrade("photos", "--out", "file", "--operators", "jpeg", status=2)
    assert "file is a file: --out takes a folder" in result.stderr
    assert "Missing option '--out'" in _degrade("photos", status=2).stderr


def test_help_knows_every_space_and_loads_no_torch():
    [option] = [parameter for parameter in command.params if parameter.name == "space"]
    assert set(option.type.choices) == set(spaces._SPACES)
    code = (
        "import sys, atexit; from skiqa.cli import main;"
        "atexit.register(lambda: print(sorted({'torch', 'sklearn', 'numpy'} & set(sys.modules))));"
        "main(['degrade', '--help'], prog_name='skiqa')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.endswith("[]\n")


def test_the_table_of_the_docs_is_what_list_prints():
    # in a process of its own: in this one other tests have registered operators
    command = [sys.executable, "-m", "skiqa", "degrade", "--list"]
    table = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    page = Path(__file__).parents[1] / "docs" / "degradations.md"
    assert table in page.read_text("utf-8"), "put what `skiqa degrade --list` prints into the page"
