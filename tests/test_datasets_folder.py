import numpy as np
import pytest
from database_trees import touch, write_csv

from skiqa.datasets import load_folder


def test_columns_by_the_names_that_people_use(tmp_path):
    touch(tmp_path, ["a.jpg", "sub/b.JPG", "c.png", "unrated.jpg"])
    rows = [
        ("File", "Score", "SD", "Scene", "degradation", "level", "Set"),
        ("a.jpg", "1.5", "0.1", "x", "blur", 1, "training"),
        ("sub/b.jpg", "", "", "y", "jpeg", 5, "valid"),
        ("c.png", "4", "0.3", "x", "jpeg", 2, "test"),
    ]
    write_csv(tmp_path / "r.csv", rows)
    found = load_folder(tmp_path, tmp_path / "r.csv")
    names = ["a.jpg", "sub/b.JPG", "c.png"]  # as they are on disk
    assert found.data.tolist() == [str(tmp_path / name) for name in names]
    np.testing.assert_array_equal(found.target, [1.5, np.nan, 4])
    np.testing.assert_array_equal(found.target_std, [0.1, np.nan, 0.3])
    assert found.groups.tolist() == ["x", "y", "x"]
    assert found.degradation.tolist() == ["blur", "jpeg", "jpeg"]
    assert found.level.tolist() == [1, 5, 2]
    assert found.split.tolist() == ["train", "val", "test"]
    assert load_folder(tmp_path, tmp_path / "r.csv", split="val").target_std.shape == (1,)
    X, y = load_folder(tmp_path, tmp_path / "r.csv", return_X_y=True)
    assert len(X) == len(y) == 3


def test_columns_by_name_and_dmos(tmp_path):
    touch(tmp_path, ["a.jpg", "b.jpg"])
    write_csv(tmp_path / "r.csv", [("photo", "DMOS"), ("a.jpg", 10), ("b.jpg", 70)])
    with pytest.raises(ValueError, match=r"Say which one it is: image=\.\.\."):
        load_folder(tmp_path, tmp_path / "r.csv")
    with pytest.raises(ValueError, match=r"target=\.\.\. \(and higher_is_better=False for a DMOS"):
        load_folder(tmp_path, tmp_path / "r.csv", image="photo")
    found = load_folder(
        tmp_path, tmp_path / "r.csv", image="photo", target="dmos", higher_is_better=False
    )
    assert found.target.tolist() == [-10, -70]
    assert found.groups.tolist() == [0, 1]
    assert found.split is None


def test_what_is_wrong_is_said(tmp_path):
    touch(tmp_path, ["a.jpg"])
    file = tmp_path / "r.csv"
    with pytest.raises(FileNotFoundError, match="there is no table"):
        load_folder(tmp_path, file)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_folder(tmp_path / "nowhere", file)
    write_csv(file, [("file", "mos"), ("a.jpg", 1), ("gone.jpg", 2)])
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images are missing .*gone\.jpg"):
        load_folder(tmp_path, file)
    write_csv(file, [("file", "mos"), ("a.jpg", 1), ("a.jpg", 2)])
    with pytest.raises(ValueError, match=r"'a\.jpg' is the first: give one row each"):
        load_folder(tmp_path, file)
    write_csv(file, [("file", "mos"), ("a.jpg", "good")])
    with pytest.raises(ValueError, match="'good', row 0, is no number"):
        load_folder(tmp_path, file)
    with pytest.raises(ValueError, match="has no column beach"):
        load_folder(tmp_path, file, groups="beach")


def test_real_photographs(data_folder):
    folder = data_folder / "biq2021"
    found = load_folder(folder / "images", folder / "mos.csv")
    assert len(found.data) == 4000
    assert (found.split == "train").sum() == 3200
    assert 0 <= found.target.min() < found.target.max() <= 1
    assert found.name == "images"
