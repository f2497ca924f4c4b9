import csv
import json
import os

import numpy as np
import pytest
from authentic_trees import biq2021, clive
from click.testing import CliRunner
from PIL import Image, ImageFilter
from scipy.stats import kendalltau, spearmanr
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from synthetic_trees import kadid10k, kadis700k

import skiqa.persistence
from skiqa import ContrastiveQualityEncoder
from skiqa._inputs.images import REMEDY
from skiqa.cli import main
from skiqa.exceptions import ImageError
from skiqa.metrics import plcc_score, rmse_error
from skiqa.model_selection import srocc_interval


@pytest.fixture
def fake(monkeypatch):
    """A scorer that gives the length of a file, and cannot read what is called bad."""

    def iter_quality(model, X, *, n_jobs=None, interval=None):
        for index, file in enumerate(X):
            if "bad" in file:
                message = f"X[{index}] = {file!r}: the file is torn; {REMEDY}"
                error = ImageError(message, reason="the file is torn")
                yield index, float("nan"), error, (), None
            else:
                yield index, float(os.path.getsize(file)), None, (), None

    monkeypatch.setattr(skiqa.persistence, "load_model", lambda path=None: path)
    monkeypatch.setattr(skiqa.persistence, "iter_quality", iter_quality)


@pytest.fixture
def kadid(tmp_path):
    """KADID-10k in small: the length of a file falls with the level, and depends on the type."""
    root = tmp_path / "kadid"
    expected = kadid10k(root)
    rng = np.random.default_rng(0)
    lengths = [
        900 - 100 * level + rng.integers(0, 200) + 3 * (index // 5 % 25)
        for index, level in enumerate(expected["level"])
    ]
    for name, length in zip(expected["data"], lengths, strict=True):
        (root / name).write_bytes(b"x" * length)
    return root, np.array(expected["target"]), np.array(lengths, float), expected["groups"]


def _evaluate(*arguments, status=0):
    done = CliRunner().invoke(main, ["evaluate", *map(str, arguments)])
    assert done.exit_code == status, done.output
    return done


@pytest.mark.usefixtures("fake")
def test_a_database_as_a_table(kadid, tmp_path):
    root, y, scores, groups = kadid
    done = _evaluate("--on", f"kadid10k={root}", "--by", "degradation", "--csv", tmp_path / "s.csv")
    table, *notes = done.stdout.rstrip("\n").split("\n\n")
    few = "* Of fewer than 30 images nothing can be told."
    assert notes == ["PLCC and RMSE after logistic4.", few]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert lines[0] == ["", "images", "SROCC", "95 % interval", "PLCC", "KROCC", "RMSE"]
    assert {cell.strip("-:") for cell in lines[1]} == {""}
    interval = srocc_interval(scores, y, groups=groups)
    srocc, krocc = spearmanr(y, scores).statistic, kendalltau(y, scores).statistic
    low_to_high = f"{interval.low:.3f} to {interval.high:.3f}"
    assert lines[2][:4] == ["kadid10k", "250", f"{srocc:.3f}", low_to_high]
    plcc, rmse = (f(y, scores, mapping="logistic4") for f in (plcc_score, rmse_error))
    assert lines[2][4:] == [f"{plcc:.3f}", f"{krocc:.3f}", f"{rmse:.4g}"]
    assert len(lines) == 3 + 25
    blur = np.arange(250) // 5 % 25 == 0
    row = next(line for line in lines if line[0] == "- gaussian_blur")
    assert row[1:3] == ["10 *", f"{spearmanr(y[blur], scores[blur]).statistic:.3f}"]

    with open(tmp_path / "s.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == scores.tolist()
    assert [float(row["target"]) for row in rows] == y.tolist()
    assert {row["database"] for row in rows} == {"kadid10k"}
    assert rows[0]["degradation"] == "gaussian_blur"
    assert rows[0]["file"] == str(root / "images" / "I01_01_01.png")


@pytest.mark.usefixtures("fake")
def test_as_json_without_a_mapping(kadid):
    root, y, scores, _ = kadid
    arguments = ["--on", f"KADID-10k={root}", "--json", "--mapping", "none"]
    (row,) = json.loads(_evaluate(*arguments).stdout)
    assert (row["database"], row["degradation"], row["images"]) == ("KADID-10k", None, 250)
    assert row["plcc"] == pytest.approx(np.corrcoef(y, scores)[0, 1])
    assert row["rmse"] == pytest.approx(np.sqrt(np.mean((y - scores) ** 2)))
    assert row["srocc_low"] < row["srocc"] < row["srocc_high"]
    assert row["few"] is False
    assert len(json.loads(_evaluate(*arguments, "--by", "degradation").stdout)) == 26


@pytest.fixture
def rated(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = ["file,dmos,part"]
    for k in range(12):
        (folder / f"{k}.png").write_bytes(b"x" * (10 + k))
        rows.append(f"{k}.png,{-k},{'test' if k % 2 else 'train'}")
    (folder / "bad.png").write_bytes(b"x")
    (folder / "unrated.png").write_bytes(b"x")
    table = tmp_path / "ratings.csv"
    table.write_text("\n".join([*rows, "bad.png,-3,test", "unrated.png,,test"]) + "\n")
    return folder, table


@pytest.mark.usefixtures("fake")
def test_ones_own_ratings(rated, tmp_path):
    folder, table = rated
    options = ["--score-column", "dmos", "--lower-is-better", "--csv", tmp_path / "s.csv", "--json"]
    done = _evaluate("--on", table, "--images", folder, *options, status=1)
    (row,) = json.loads(done.stdout)
    assert (row["images"], row["srocc"], row["krocc"]) == (12, 1, pytest.approx(1))  # turned
    assert "1 images without a score, left out" in done.stderr
    assert f"cannot be read: {folder}/bad.png: the file is torn\n" in done.stderr
    assert "1 images could not be read, left out" in done.stderr
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[-1] == f"ratings.csv,{folder}/bad.png,3.0,,,the file is torn"
    assert len(lines) == 1 + 13


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("fake")
def test_decisions_about_a_table_are_lines_on_standard_error(rated, tmp_path):
    folder, _ = rated
    lines = ["file;mos;std", *(f"{k}.png;{k},5;0,5" for k in range(12)), "unrated.png;NA;"]
    table = tmp_path / "german.tsv"
    table.write_text("\n".join(lines), "utf-16")
    done = _evaluate("--on", table, "--images", folder, "--json")
    (row,) = json.loads(done.stdout)
    assert (row["images"], row["srocc"]) == (12, pytest.approx(1))
    assert done.stderr.splitlines() == [
        f"Warning: {table}: its encoding is taken to be UTF-16, its cells are taken to be "
        "separated by semicolons.",
        f"Warning: {table}: numbers are taken to be written with decimal commas.",
        f"Warning: {table}: 1 cells such as 'NA' are taken to be empty.",
        "german.tsv: 1 images without a score, left out",
    ]


@pytest.mark.usefixtures("fake")
def test_a_part_of_a_database_and_what_the_bundled_scorer_knows(tmp_path):
    expected = biq2021(tmp_path)
    y = expected["target"]
    for k, name in enumerate(expected["data"]):
        (tmp_path / name).write_bytes(b"x" * k)
    for model, parts, known in [
        ("default", ["--split", "train"], True),
        ("default", [], True),
        ("own.skiqa", [], False),
    ]:
        done = _evaluate(
            model, "--on", f"biq2021={tmp_path}", *parts, "--json", "--mapping", "none"
        )
        (row,) = json.loads(done.stdout)
        assert row["images"] == (expected["split"].count("train") if parts else len(y))
        assert ("BIQ2021's training part" in done.stderr) == known
    done = _evaluate("--on", f"biq2021={tmp_path}", "--split", "test", status=2)
    assert done.stderr == "Error: biq2021: fewer than two of its images can be read\n"


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(("model", "known"), [("default", True), ("own.skiqa", False)])
def test_the_bundled_scorer_knows_clive(tmp_path, model, known):
    for k, name in enumerate(clive(tmp_path)["data"]):
        (tmp_path / name).write_bytes(b"x" * k)
    done = _evaluate(model, "--on", f"clive={tmp_path}", "--json", "--mapping", "none")
    assert ("fitted to the photos of CLIVE" in done.stderr) == known


@pytest.mark.usefixtures("fake")
def test_several_databases_and_few_contents(kadid, rated):
    folder, table = rated
    databases = ["--on", f"kadid10k={kadid[0]}", "--on", f"ours={table}", "--images", folder]
    columns = ["--score-column", "dmos", "--group-column", "part"]
    rows = json.loads(_evaluate(*databases, *columns, "--json", status=1).stdout)
    assert [row["database"] for row in rows] == ["kadid10k", "ours"]
    table.write_text("file,mos,scene\n0.png,1,a\n1.png,2,a\n2.png,3,a\n3.png,4,a\n4.png,9,a\n")
    done = _evaluate("--on", table, "--images", folder)
    assert "| 5 * | 1.000 | - |" in done.stdout  # one content: nothing to draw from


@pytest.mark.usefixtures("fake")
def test_what_is_wrong_is_said(kadid, rated, tmp_path):
    root, (folder, table) = kadid[0], rated
    (tmp_path / "kadis").mkdir()
    kadis700k(tmp_path / "kadis")
    (folder / "two.csv").write_text("file,mos\nbad.png,1\n0.png,2\n")
    for arguments, message in [
        (["--on", f"kadid={root}"], "there is no database 'kadid'. Known are"),
        (["--on", f"kadid10k={folder}"], "Error: --on kadid10k="),
        (["--on", f"kadid10k={root}", "--split", "test"], "it has no official split"),
        (["--on", f"kadis700k={tmp_path / 'kadis'}"], "none of its images has an opinion score"),
        (["--on", table], "--images is missing"),
        (["--on", table, "--images", folder], "has no column mos"),
        (["--on", tmp_path / "no.csv", "--images", folder], "there is no table"),
        (["--on", folder / "two.csv", "--images", folder], "fewer than two"),
        (["--on", f"kadid10k={root}", "--csv", tmp_path / "no" / "s.csv"], "cannot write"),
        ([], "Missing option '--on'"),
    ]:
        done = _evaluate(*arguments, status=2)
        assert message in done.stderr, done.output
        assert "Traceback" not in done.output


def test_a_model_that_is_none(kadid, tmp_path):
    done = _evaluate(tmp_path / "no.skiqa", "--on", f"kadid10k={kadid[0]}", status=2)
    assert "cannot load the model" in done.stderr


def test_end_to_end(photo_paths, tmp_path):
    """The bundled scorer and a saved one, on blurred crops of a photo."""
    with Image.open(photo_paths[0]) as photo:
        for k in range(6):
            blurred = photo.crop((80 * k, 40, 80 * k + 96, 136)).filter(ImageFilter.GaussianBlur(k))
            blurred.save(tmp_path / f"{k}.png")
    table = tmp_path / "ratings.csv"
    table.write_text("file,mos\n" + "".join(f"{k}.png,{5 - k}\n" for k in range(6)))
    paths = [str(tmp_path / f"{k}.png") for k in range(6)]
    own = make_pipeline(ContrastiveQualityEncoder(scales=(1.0,)), Ridge()).fit(paths, range(6))
    skiqa.persistence.save(own, tmp_path / "own.skiqa")
    for model, expected in [("default", skiqa.load_model()), (tmp_path / "own.skiqa", own)]:
        table_of_scores = ["--csv", tmp_path / "s.csv", "--overwrite"]
        options = ["--json", *table_of_scores, "--cache-dir", tmp_path / "cache"]
        done = _evaluate(model, "--on", table, "--images", tmp_path, *options)
        (row,) = json.loads(done.stdout)
        predicted = expected.predict(paths)
        assert row["srocc"] == pytest.approx(spearmanr(5 - np.arange(6), predicted).statistic)
        with open(tmp_path / "s.csv", newline="") as file:
            scores = [float(line["score"]) for line in csv.DictReader(file)]
        np.testing.assert_allclose(scores, predicted, rtol=1e-5)
    assert row["srocc"] < -0.9  # fitted to blur as quality
    assert any((tmp_path / "cache").iterdir())
