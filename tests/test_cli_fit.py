import csv
import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images
from sklearn.linear_model import Ridge

from skiqa import load_model
from skiqa._network.build import random_state_of
from skiqa._network.weight_files import state_to_tensors, write_file
from skiqa.cli import main
from skiqa.cli._fit import _card, _in_few_columns
from skiqa.cli._score import describe_scale
from skiqa.metrics import srocc_score
from skiqa.persistence import model_card


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """Crops of two photos, blurred ever more: 12 scenes, 4 strengths, rated by strength."""
    folder = tmp_path_factory.mktemp("rated")
    rows = []
    for k, image in enumerate(load_sample_images().images):
        for scene in range(6):
            crop = Image.fromarray(
                image[40 * scene : 40 * scene + 96, 80 * scene : 80 * scene + 96]
            )
            for strength in range(4):
                name = f"{k}{scene}_{strength}.png"
                crop.filter(ImageFilter.GaussianBlur(strength)).save(folder / name)
                rows.append([name, 5 - strength, f"{k}{scene}"])
    write(folder / "ratings.csv", rows)
    return folder, rows


def write(path, rows, header=("file", "mos", "scene")):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def one_penalty(monkeypatch):
    """A search over one, where it matters what is read and not what is found."""
    monkeypatch.setattr("skiqa.cli._fit.ALPHAS", (1.0,))


def _fit(*arguments):
    return CliRunner().invoke(main, ["fit", *map(str, arguments)])


def test_fits_ratings_and_says_how_well(rated, tmp_path):
    folder, rows = rated
    out = tmp_path / "own.skiqa"
    done = _fit(folder / "ratings.csv", "--images", folder, "--out", out, "--cache-dir", tmp_path)
    assert done.exit_code == 0, done.output
    assert "SROCC" in done.output
    assert f"skiqa score --model {out}" in done.output
    predicted = load_model(out).predict([str(folder / row[0]) for row in rows])
    mos = np.array([row[1] for row in rows], dtype=float)
    assert srocc_score(mos, predicted) > 0.9
    assert 1 < predicted.min() < predicted.max() < 6  # the scale of the ratings
    card = model_card(load_model(out))
    assert card["scorer"]["scale"] == [2.0, 5.0, "ratings.csv"]
    assert card["scorer"]["medians over splits by content"].keys() == {
        "srocc",
        "plcc",
        "krocc",
        "rmse",
    }
    assert 0.5 < card["scorer"]["unlike_above"] < 3
    told = re.search(r"within ([\d.]+) of the score with probability 0.8: skiqa sc", done.output)
    assert card["scorer"]["interval"]["n"] == 12
    score = ["score", str(folder / rows[0][0]), "--model", str(out), "--interval"]
    shown = CliRunner().invoke(main, [*score, "0.8"]).output.splitlines()
    assert shown[0] == "file,score,error,flags,low,high"
    _, at, _, flags, low, high = shown[1].split(",")
    assert flags == ""
    assert (float(high) - float(low)) / 2 == pytest.approx(float(told[1]), rel=0.01)
    assert (float(high) + float(low)) / 2 == pytest.approx(float(at))
    shown = CliRunner().invoke(main, [*score, "0.95"])
    assert (shown.exit_code, "12 contents: at most 0.92" in shown.output) == (2, True)
    assert "ratings" not in card["encoder"]  # which is the bundled one's, nested
    said = (
        "Scores are on the scale of ratings.csv, where ratings are from 2 to 5; higher is better."
    )
    assert describe_scale(out, load_model(out)) == said

    again = _fit(folder / "ratings.csv", "--images", folder, "--out", out)
    assert again.exit_code == 2
    assert "--overwrite" in again.output

    # the same ratings as DMOS, and one file that is no image
    (folder / "bad.png").write_bytes(b"no image")
    turned = [[name, -value, scene] for name, value, scene in rows]
    write(tmp_path / "dmos.csv", [*turned, ["bad.png", 0, "bad"]], ("picture", "dmos", "which"))
    other = tmp_path / "dmos.skiqa"
    columns = ["--image-column", "picture", "--score-column", "dmos", "--group-column", "which"]
    options = ["--out", other, "--lower-is-better", "--cache-dir", tmp_path]
    done = _fit(tmp_path / "dmos.csv", "--images", folder, *columns, *options)
    assert done.exit_code == 1, done.output
    assert "bad.png" in done.output
    same = load_model(other).predict([str(folder / row[0]) for row in rows])
    np.testing.assert_allclose(same, predicted, atol=1e-4)
    assert "from 2 to 5;" in describe_scale(other, load_model(other))


def _scores(path, rated):
    folder, rows = rated
    return load_model(path).predict([str(folder / row[0]) for row in rows])


@pytest.mark.usefixtures("one_penalty")
def test_pictures_may_lie_anywhere(rated, tmp_path):
    """From a folder, an address and a tar archive: one scorer, and nothing is left behind."""
    fsspec = pytest.importorskip("fsspec")
    folder, rows = rated
    memory = fsspec.filesystem("memory")
    photos = {name: (folder / name).read_bytes() for name, *_ in rows}
    for name, data in photos.items():
        memory.pipe(f"/rated/{name}", data)
    _write_shard(tmp_path / "photos.tar", photos | {"unrated.png": b"of no interest"})
    _write_tables(tmp_path, folder, rows)
    of_table = tmp_path / "ratings.parquet"
    how = ["--cache-dir", tmp_path / "cache", "-j", "1"]
    expected = None
    for arguments in (
        (folder / "ratings.csv", "--images", folder),
        (folder / "ratings.csv", "--images", "memory://rated/"),
        (folder / "ratings.csv", "--images", tmp_path / "photos.tar"),
        (tmp_path / "both-*.parquet", "--image-column", "photo"),
        (of_table, "--image-column", "file"),  # paths
        (of_table, "--images", "memory://rated/", "--image-column", "name"),
    ):
        out = tmp_path / "own.skiqa"
        done = _fit(*arguments, "--out", out, "--overwrite", *how)
        assert done.exit_code == 0, done.output
        assert "48 images" in done.output
        found = _scores(out, rated)
        expected = found if expected is None else expected
        np.testing.assert_array_equal(found, expected)
    memory.rm("/rated", recursive=True)


def _write_tables(tmp_path, folder, rows):
    """Two halves of Parquet with pictures, ratings and what is neither; one that names files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names, ratings, scenes = zip(*rows, strict=True)
    photos = [{"bytes": (folder / name).read_bytes(), "path": name} for name in names]
    whole = pa.table(
        {"photo": photos, "MOS": ratings, "scene": scenes, "votes": [[1, 2]] * len(rows)}
    )
    pq.write_table(whole[:20], tmp_path / "both-0.parquet")
    pq.write_table(whole[20:], tmp_path / "both-1.parquet")
    files = [str(folder / name) for name in names]
    table = {"name": names, "file": files, "mos": ratings, "scene": scenes}
    pq.write_table(pa.table(table), tmp_path / "ratings.parquet")


@pytest.fixture
def table(rated, tmp_path, monkeypatch):
    """Write a table of the rated pictures; columns in place of image and mos, or beside them."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    folder, rows = rated
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def write_table(path, change=lambda table: table, **columns):
        photos = [(folder / name).read_bytes() for name, *_ in rows]
        every = {"image": photos, "mos": [float(row[1]) for row in rows]} | columns
        pq.write_table(change(pa.table(every)), path)
        return photos

    return write_table


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("one_penalty")
def test_pictures_of_tables_are_named_by_their_rows(table, tmp_path):
    """One damaged, one gap and one dead address are left out; a level above, and never a copy."""
    photos = table("../a.parquet")
    scenes = ["x", None] + [str(k) for k in range(2, 48)]  # of which a warning tells
    table("../a.parquet", image=[None, b"damaged", *photos[2:47], photos[46]], scene=scenes)
    done = _fit("../a.parquet", "--out", "x.skiqa", "-j", "1")
    assert done.exit_code == 1, done.output
    assert "left out: ../a.parquet#0 (the cell is empty)\n" in done.output
    assert "left out: ../a.parquet#1\n" in done.output
    assert "Warning: ../a.parquet: the content of 1 images is not named" in done.output
    assert "such as ../a.parquet#47 of ../a.parquet#46: splits may" in done.output
    assert "46 images" in done.output
    assert "skiqa-" not in done.output  # the temporary folder
    files = [str(tmp_path / f"{k}.png") for k in range(48)]
    for file, photo in zip(files, photos, strict=True):
        Path(file).write_bytes(photo)
    files[3] = "memory://nothing/there.png"
    table("b.parquet", image=files)
    done = _fit("b.parquet", "--out", "x.skiqa", "-j", "1", "--overwrite")
    assert done.exit_code == 1, done.output
    reason = "there is nothing at this address"
    assert f"left out: memory://nothing/there.png ({reason})\n" in done.output
    assert not list(tmp_path.glob("skiqa-*"))


@pytest.mark.usefixtures("one_penalty")
def test_what_else_is_in_a_table_does_not_matter(table):
    """Times that no calendar has, lists, names twice; text by number, and parts in a folder."""
    import pyarrow as pa

    def with_others(whole):
        fields = [("when", pa.array([2**40] * 48, pa.timestamp("s"))), ("note", ["\0"] * 48)]
        fields += [("votes", [[1.0, 2.0]] * 48), ("twice", ["a"] * 48), ("twice", ["b"] * 48)]
        fields += [("scene", pa.array([str(k % 12) for k in range(48)]).dictionary_encode())]
        for name, values in fields:
            whole = whole.append_column(name, values if isinstance(values, pa.Array) else [values])
        return whole

    Path("a.parquet").mkdir()
    table("a.parquet/part-0.parquet", with_others)
    done = _fit("a.parquet", "--out", "x.skiqa", "-j", "1")
    assert done.exit_code == 0, done.output
    assert model_card(load_model("x.skiqa"))["scorer"]["contents"] == 12


def test_tables_that_are_of_no_use(rated, table):
    Path("empty.parquet").write_bytes(b"")
    table("a.parquet")
    table("lists.parquet", mos=[[1.0]] * 48)
    table("two.parquet", photo=[b"x"] * 48, image=[b"x"] * 48)
    table("twice.parquet", mos=["a.jpg"] * 48, image=["a.jpg"] * 48)
    ratings = rated[0] / "ratings.csv"
    for arguments, message in (
        (["a.parquet", "--score-column", "grade"], "a.parquet has no column grade: its columns are "
         "['image', 'mos']. Say which one it is: --score-column; of a DMOS, --lower-is-better"),
        (["a.parquet", "--image-column", "photo"], "has no column 'photo' of bytes"),
        (["two.parquet"], "say which of them holds the pictures (--image-column)"),
        (["lists.parquet"], "has no column mos or score or"),
        (["empty.parquet"], "empty.parquet cannot be read"),
        (["no.parquet"], "no such file or folder"),
        (["memory://no.parquet"], "memory://no.parquet: there is nothing at this address"),
        (["no.csv"], "there is no table"),
        ([ratings], "--images PLACE is needed"),
        ([ratings, "--images", "a.parquet"], "rows of a table have no names"),
    ):  # fmt: skip
        done = _fit(*arguments, "--out", "y.skiqa")
        assert (done.exit_code, message in done.output) == (2, True), done.output
        assert "skiqa-" not in done.output


@given(st.integers(2, 40), st.integers(2, 40), st.floats(1e-3, 1e3), st.integers(0, 9))
def test_ridges_see_the_same_in_few_columns(n, columns, alpha, seed):
    rng = np.random.default_rng(seed)
    X, y, weights = rng.normal(size=(n, columns)), rng.normal(size=n), rng.uniform(0.1, 2, n)
    few = _in_few_columns(X)
    assert few.shape[1] == min(n, columns)
    half = slice(0, max(1, n // 2))
    expected, found = (
        Ridge(alpha=alpha).fit(Z[half], y[half], weights[half]).predict(Z) for Z in (X, few)
    )
    np.testing.assert_allclose(found, expected, atol=1e-7, rtol=1e-7)


def test_no_secret_of_an_address_is_kept():
    address = "https://me:SECRET@example.org/b/c.parquet?sig=SECRET"
    card = _card(np.ones(2), np.arange(2), address, SimpleNamespace(scores={}))
    assert card["ratings"] == card["scale"][2] == "c.parquet"


def _write_shard(path, photos):
    with tarfile.open(path, "w") as shard:
        for name, data in photos.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))


def test_two_pictures_of_one_name_are_not_one(rated, tmp_path, monkeypatch):
    """Or all ratings would be of the last shard's pictures."""
    folder, rows = rated
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        _write_shard(f"{name}.tar", {row[0]: b"x" for row in rows})
    done = _fit(folder / "ratings.csv", "--images", "*.tar", "--out", "x.skiqa")
    assert (done.exit_code, f"{rows[0][0]} is twice in *.tar" in done.output) == (2, True)


@pytest.mark.usefixtures("one_penalty")
def test_names_of_pictures_below_an_address(rated, tmp_path, monkeypatch):
    """However the address is spelled; and a name alone is none of a picture in a folder below."""
    pytest.importorskip("fsspec")
    folder, rows = rated
    monkeypatch.chdir(tmp_path)
    for k, below in enumerate(("a", "b")):
        Path("photos", below).mkdir(parents=True)
        for name, *_ in rows[24 * k : 24 * k + 24]:
            Path("photos", below, name).write_bytes((folder / name).read_bytes())
    lines = [[f"{'ab'[k // 24]}\\{row[0]} ", *row[1:]] for k, row in enumerate(rows)]
    write("below.csv", lines)
    root = f"file://{tmp_path}"
    for place in (f"{root}/photos/", f"local://{tmp_path}/photos/", f"{root}/photos/*/*.png"):
        how = ("--cache-dir", "cache", "--out", "x.skiqa", "--overwrite", "-j", "1")
        done = _fit("below.csv", "--images", place, *how)
        assert done.exit_code == 0, done.output
    done = _fit(folder / "ratings.csv", "--images", f"{root}/photos/", "--out", "y.skiqa")
    assert (done.exit_code, "48 of 48 images are missing" in done.output) == (2, True)


def test_a_command_that_is_told_to_end_leaves_no_copies(rated, tmp_path):
    folder, rows = rated
    photos = {row[0]: (folder / row[0]).read_bytes() for row in rows}
    _write_shard(tmp_path / "a.tar", photos)
    arguments = [folder / "ratings.csv", "--images", tmp_path / "a.tar", "--out", "x.skiqa"]
    process = subprocess.Popen(
        [sys.executable, "-m", "skiqa", "fit", *map(str, arguments)],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("skiqa-*/*.png")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert not list(tmp_path.glob("skiqa-*"))


def test_tables_of_one_pattern_have_the_same_columns(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    for name, column in (("a", "mos"), ("b", "score")):
        pq.write_table(pa.table({"file": ["x.png"], column: [1.0]}), tmp_path / f"{name}.parquet")
    done = _fit(tmp_path / "*.parquet", "--images", tmp_path, "--out", tmp_path / "x.skiqa")
    assert done.exit_code == 2
    assert "b.parquet has columns ['file', 'score']" in done.output


def test_a_shard_may_not_write_elsewhere(rated, tmp_path):
    (tmp_path / "ratings.csv").write_text("file,mos\n../out.png,3\n")
    with tarfile.open(tmp_path / "photos.tar", "w") as shard:
        member = tarfile.TarInfo("../out.png")
        member.size = 3
        shard.addfile(member, io.BytesIO(b"abc"))
    how = ("--images", tmp_path / "photos.tar", "--out", tmp_path / "x.skiqa")
    done = _fit(tmp_path / "ratings.csv", *how)
    assert (done.exit_code, "no name of a picture below" in done.output) == (2, True)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "there is no folder nowhere"),
        ("gone.tar", "no such file or folder: gone.tar"),
        ("memory://nothing/", "no images found"),
        ("empty.tar", "48 of 48 images are missing in empty.tar"),
    ],
)
def test_pictures_that_are_nowhere(rated, tmp_path, place, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tarfile.open("empty.tar", "w").close()
    done = _fit(rated[0] / "ratings.csv", "--images", place, "--out", tmp_path / "x.skiqa")
    assert (done.exit_code, message in done.output) == (2, True), done.output


@pytest.mark.usefixtures("one_penalty")
def test_deviations_count_only_when_they_are_named(rated, tmp_path):
    """A rating that is far off, and known to be uncertain, moves the scorer no longer."""
    folder, rows = rated
    table, cache = tmp_path / "r.csv", tmp_path / "cache"
    lines = [[*row, 0.5] for row in rows]
    lines[0] = [rows[0][0], 500, rows[0][2], 1e4]
    write(table, lines, ("file", "mos", "scene", "std"))
    write(tmp_path / "without.csv", [line[:3] for line in lines])
    paths = [str(folder / row[0]) for row in rows]
    scores = []
    for name, options in [("r.csv", []), ("without.csv", []), ("r.csv", ["--std-column", "std"])]:
        options += ["--images", folder, "--cache-dir", cache, "--overwrite"]
        done = _fit(tmp_path / name, "--out", tmp_path / "x.skiqa", *options)
        assert done.exit_code == 0, done.output
        scores.append(load_model(tmp_path / "x.skiqa").predict(paths))
    np.testing.assert_array_equal(scores[0], scores[1])
    assert scores[0].max() > 10
    assert scores[2].max() < 8

    lines[1][3] = 0
    write(table, lines, ("file", "mos", "scene", "std"))
    done = _fit(table, "--images", folder, "--out", tmp_path / "y.skiqa", "--std-column", "std")
    assert done.exit_code == 2
    assert f"the deviation of {paths[1]} is 0 (1 such)" in done.output
    done = _fit(table, "--images", folder, "--out", tmp_path / "y.skiqa", "--std-column", "spread")
    assert "has no column spread" in done.output


def test_fine_tunes(rated, tmp_path):
    folder, rows = rated
    out, cache = tmp_path / "tuned.skiqa", tmp_path / "cache"
    arguments = [folder / "ratings.csv", "--images", folder, "--cache-dir", cache]
    done = _fit(*arguments, "--out", out, "--fine-tune", 1)
    assert done.exit_code == 0, done.output
    told = re.search(
        r"fine-tuned: SROCC ([\d.]+) -> ([\d.]+) on held-out .* epoch (\d) of 1\n", done.output
    )
    start, best, epoch = map(float, told.groups())
    assert start <= best
    assert len(list(cache.glob("maps/*/*.npz"))) >= 40  # of 48; the rest is left over in a batch
    assert not list(cache.glob("checkpoints/*"))  # it ended well
    predicted = load_model(out).predict([str(folder / row[0]) for row in rows])
    assert srocc_score(np.array([row[1] for row in rows], dtype=float), predicted) > 0.9
    assert ("fine_tuned" in load_model(out)[0].state_.card) == bool(epoch)
    assert "no intervals, for a fine-tuned network has seen these photos" in done.output
    table = tmp_path / "scores.csv"
    table.write_text("precious")
    options = ["--model", str(out), "--interval", "0.8", "--csv", str(table), "--overwrite"]
    refused = CliRunner().invoke(main, ["score", str(folder), *options])
    assert (refused.exit_code, 'card has no "interval"' in refused.output) == (2, True)
    assert table.read_text() == "precious"


def test_fine_tunes_a_network_whose_maps_cannot_be_kept(rated, tmp_path, monkeypatch):
    folder, _ = rated
    monkeypatch.setattr("skiqa._fine_tuning.cut.cut", lambda *_: None)  # such as of eva02's
    state = random_state_of("test_vit", 0)
    tensors, header = state_to_tensors(state)
    tensors = {f"encoder.{name}": array for name, array in tensors.items()}
    write_file(tmp_path / "other.skiqa", tensors, {"encoder": header})
    places = ["--weights", tmp_path / "other.skiqa", "--cache-dir", tmp_path / "cache"]
    options = ["--fine-tune", 1, "--out", tmp_path / "tuned.skiqa"]
    done = _fit(folder / "ratings.csv", "--images", folder, *places, *options)
    assert done.exit_code == 0, done.output
    assert "fine-tuned: SROCC" in done.output
    assert not (tmp_path / "cache" / "maps").exists()


@pytest.mark.parametrize(
    ("header", "n", "message"),
    [
        (("file", "mos", "scene"), 8, "ratings of 2 contents; at least 10 are needed"),
        (("file", "stars", "scene"), 48, "stars"),
    ],
)
def test_tables_of_no_use(rated, tmp_path, header, n, message):
    folder, rows = rated
    write(tmp_path / "table.csv", rows[:n], header)
    done = _fit(tmp_path / "table.csv", "--images", folder, "--out", tmp_path / "x.skiqa")
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "x.skiqa").exists()


def test_places_of_no_use(rated, tmp_path):
    folder, _ = rated
    table = folder / "ratings.csv"
    done = _fit(table, "--images", folder, "--out", tmp_path / "x.joblib")
    assert (done.exit_code, ".skiqa" in done.output) == (2, True)
    done = _fit(table, "--images", folder, "--out", tmp_path / "no" / "x.skiqa")
    assert (done.exit_code, "cannot write" in done.output) == (2, True)
