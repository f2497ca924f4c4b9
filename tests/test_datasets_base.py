"""What all loaders do alike, on a small tree of each database in its official layout."""

import builtins
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from authentic_trees import AUTHENTIC, flive, koniq10k, spaq
from database_trees import check
from synthetic_trees import SYNTHETIC

from skiqa import datasets

BUILDERS = [*SYNTHETIC, *AUTHENTIC]


def load(builder, root, **options):
    return getattr(datasets, f"load_{builder.__name__}")(root, **options)


@pytest.fixture(params=BUILDERS, ids=lambda builder: builder.__name__)
def tree(request, tmp_path):
    root = tmp_path / "unpacked"
    root.mkdir()
    return request.param, root, request.param(root)


def test_every_loader_has_a_tree():
    loaders = {name for name in datasets.__all__ if name.startswith("load_")} - {"load_folder"}
    assert {f"load_{builder.__name__}" for builder in BUILDERS} == loaders


def test_the_page_about_databases_has_a_row_for_each():
    page = (Path(__file__).parents[1] / "docs" / "databases.md").read_text("utf-8")
    rows = re.findall(r"^\| `(load_\w+)` \|", page, flags=re.MULTILINE)
    assert sorted(rows) == sorted(f"load_{builder.__name__}" for builder in BUILDERS)


def test_official_layout(tree):
    builder, root, expected = tree
    found = load(builder, root)
    check(found, root, expected)
    assert found.data.dtype == object
    assert found.target.dtype == np.float64
    assert found.frame is None
    for word in (found.name, "Citation:", "License:", "Opinions:", "http", "Layout::"):
        assert word in found.DESCR
    if not re.search(r"[A-Z].*/Part", str(found.data[0])):  # the folder above will do
        check(load(builder, root.parent), root, expected)


def test_as_frame_and_return_X_y(tree):
    pd = pytest.importorskip("pandas")
    builder, root, expected = tree
    found = load(builder, root, as_frame=True)
    assert isinstance(found.data, pd.Series)
    assert isinstance(found.frame, pd.DataFrame)
    assert len(found.frame) == len(expected["data"])
    X, y = load(builder, root, return_X_y=True)
    assert X.tolist() == found.data.tolist()
    np.testing.assert_array_equal(y, found.target)


def test_missing_images_are_named(tree):
    builder, root, expected = tree
    gone = expected["data"][-1]
    (root / gone).unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of \d+ images are missing") as error:
        load(builder, root)
    assert gone.rpartition("/")[2].lower() in str(error.value).lower()
    assert "Expected:\n" in str(error.value)


def test_unknown_images_are_named(tree):
    builder, root, expected = tree
    folder = expected["data"][0].rpartition("/")[0]
    (root / folder / "holiday.jpg").touch()
    (root / folder / "._holiday2.jpg").touch()  # macOS; no image
    (root / folder / "notes.txt").touch()
    if builder is flive:  # images without a score may be there
        assert len(load(builder, root).data) == 4
        return
    with pytest.raises(ValueError, match=r"1 images in .* not in the score file: .*holiday\.jpg"):
        load(builder, root)


def test_empty_folder_and_none(tree, tmp_path):
    builder, _, _ = tree
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"there is no .*\n.*"):
        load(builder, tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"is no folder\. Unpack .* there"):
        load(builder, tmp_path / "nowhere")


def test_splits(tree):
    builder, root, expected = tree
    parts = expected.get("split")
    if parts is None:
        with pytest.raises(ValueError, match="it has no official split"):
            load(builder, root, split="train")
        return
    found = load(builder, root, split="test")
    assert len(found.data) == parts.count("test")
    assert set(found.split.tolist()) == {"test"}
    assert len(found.groups) == len(found.target) == len(found.data)
    with pytest.raises(ValueError, match=r"its split has \["):
        load(builder, root, split="dev")


def test_signature_and_docstring():
    for builder in BUILDERS:
        function = getattr(datasets, f"load_{builder.__name__}")
        signature = inspect.signature(function)
        bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        expected = "(data_home, *, split=None, return_X_y=False, as_frame=False)"
        assert str(inspect.Signature(bare)) == expected
        assert all(p.annotation is not p.empty for p in signature.parameters.values())
        assert function.__name__ == f"load_{builder.__name__}"
        for word in ("Parameters\n", "Returns\n", "Raises\n", "Notes\n", "Layout from:"):
            assert word in function.__doc__
        assert max(map(len, function.__doc__.splitlines())) <= 100


def test_scores_out_of_range(tmp_path):
    spaq(tmp_path)
    file = tmp_path / "Annotations" / "MOS and Image attribute scores.csv"
    file.write_text(file.read_text().replace("24.36", "2436"))
    with pytest.raises(ValueError, match=r"score 2436.0 of image 0 is not between 0 and 100"):
        datasets.load_spaq(tmp_path)
    file.write_text(file.read_text().replace("2436", "n/a"))
    with pytest.raises(ValueError, match=r"'n/a', row 1, is no finite number"):
        datasets.load_spaq(tmp_path)


def test_frames_need_pandas(tmp_path, monkeypatch):
    koniq10k(tmp_path)
    real = builtins.__import__

    def without_pandas(name, *rest):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(ImportError, match="pip install pandas"):
        datasets.load_koniq10k(tmp_path, as_frame=True)
    assert len(datasets.load_koniq10k(tmp_path).data) == 3
