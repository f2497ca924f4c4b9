import warnings

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
    with pytest.raises(ValueError, match="'good', row 1, is no finite number"):
        load_folder(tmp_path, file)
    with pytest.raises(ValueError, match="has no column beach"):
        load_folder(tmp_path, file, groups="beach")


def test_absolute_names(tmp_path):
    touch(tmp_path, ["photos/a.jpg", "elsewhere/b.jpg"])
    names = [str(tmp_path / "photos" / "a.jpg"), str(tmp_path / "elsewhere" / "b.jpg")]
    write_csv(tmp_path / "r.csv", [("file", "mos"), *((name, 1) for name in names)])
    assert load_folder(tmp_path / "photos", tmp_path / "r.csv").data.tolist() == names


def test_one_image_under_three_names_is_found(tmp_path):
    touch(tmp_path, ["a.jpg"])
    rows = [
        ("file", "mos", "set"),
        ("./a.jpg", 1, "train"),
        ("A.JPG", 2, "test"),
        ("a.jpg", 3, "val"),
    ]
    write_csv(tmp_path / "r.csv", rows)
    with pytest.raises(
        ValueError, match=r"2 images stand in two .* '\./a\.jpg' = 'A\.JPG' is the fi"
    ):
        load_folder(tmp_path, tmp_path / "r.csv")


def test_one_photo_in_two_files(tmp_path):
    for name in ("a.jpg", "b.jpg", "copy of a.jpg"):
        (tmp_path / name).write_bytes(name[-5:].encode())
    file, names = tmp_path / "r.csv", ["a.jpg", "b.jpg", "copy of a.jpg"]
    write_csv(file, [("file", "mos"), *((name, 1) for name in names)])
    assert load_folder(tmp_path, file).groups.tolist() == [0, 1, 0]
    write_csv(file, [("file", "mos", "scene"), *((name, 1, name) for name in names)])
    with pytest.warns(UserWarning, match=r"1 images are copies .*/copy of a\.jpg of .*/a\.jpg"):
        load_folder(tmp_path, file)
    write_csv(
        file, [("file", "mos", "set"), *zip(names, "111", ("train", "val", "test"), strict=True)]
    )
    with pytest.raises(
        ValueError, match=r"1 photos stand in two parts of the split under two names"
    ):
        load_folder(tmp_path, file, split="train")


def test_each_image_without_a_named_content_is_its_own(tmp_path):
    touch(tmp_path, [f"{k}.jpg" for k in range(6)])
    cells = ["x", "", "NA", "x", " ", ""]
    rows = [(f"{k}.jpg", k, cell) for k, cell in enumerate(cells)]
    write_csv(tmp_path / "r.csv", [("file", "mos", "scene"), *rows])
    with pytest.warns(UserWarning, match="the content of 4 images is not named"):
        groups = load_folder(tmp_path, tmp_path / "r.csv").groups.tolist()
    assert groups[0] == groups[3] == "x"
    assert len(set(groups)) == 5


def test_a_table_as_a_german_spreadsheet_saves_it(tmp_path):
    touch(tmp_path, ["Größe.jpg", "b.jpg", "c.jpg"])
    (tmp_path / "r.csv").write_bytes(
        "Datei;MOS;SD\r\nGröße.jpg;3,5;0,25\r\nb.jpg;4;0,5\r\nc.jpg;NA;\r\n".encode("cp1252")
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        found = load_folder(tmp_path, tmp_path / "r.csv", image="datei")
    np.testing.assert_array_equal(found.target, [3.5, 4, np.nan])
    np.testing.assert_array_equal(found.target_std, [0.25, 0.5, np.nan])
    text = "".join(str(warning.message) for warning in said)
    for words in ("Windows-1252", "semicolons", "decimal commas", "1 cells such as 'NA'"):
        assert text.count(words) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("file", "mos"), ("a.jpg", "inf")], r"r\.csv: 'inf', row 1, is no finite number"),
        ([("file", "mos"), ("a.jpg", 3, 5)], r"row 1 has 3 cells, the header 2"),  # 3,5 unquoted
        ([("file", "mos", "MOS"), ("a.jpg", 3, 5)], r"two columns 'mos'"),
        ([("file", "mos", "level"), ("a.jpg", 3, 1.5)], r"level 1\.5, row 1, is no integer"),
        ([], r"has no column image or"),
    ],
)
def test_tables_that_would_be_misread(tmp_path, rows, message):
    touch(tmp_path, ["a.jpg"])
    write_csv(tmp_path / "r.csv", rows)
    with pytest.raises(ValueError, match=message):
        load_folder(tmp_path, tmp_path / "r.csv")


def test_real_photographs(data_folder):
    folder = data_folder / "biq2021"
    found = load_folder(folder / "images", folder / "mos.csv")
    assert len(found.data) == 4000
    assert (found.split == "train").sum() == 3200
    assert 0 <= found.target.min() < found.target.max() <= 1
    assert found.name == "images"
