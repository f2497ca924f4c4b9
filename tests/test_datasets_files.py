import unicodedata

import pytest

from skiqa.datasets._files import copies, find_path, locate_images, name_parts


def test_find_looks_one_folder_below(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "x.txt").touch()
    assert find_path(tmp_path, "y.txt", "x.txt") == tmp_path / "b" / "x.txt"
    assert find_path(tmp_path, "z.txt") is None


def test_parts_of_names():
    parts = [["I01", "07", "5"], ["babygirl", "blur1", "noise2"], ["a.b"]]
    assert name_parts(["I01_07_5.bmp", "Part 2/x_y/babygirl_blur1_noise2.bmp", "a.b.png"]) == parts


def located(root, *names):
    return locate_images(root, names, "title", "expected", strict=False)


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_names_are_met_in_either_unicode_form(tmp_path, on_disk, written):
    name = "Öde Höhe/Café É.jpg"
    path = tmp_path / unicodedata.normalize(on_disk, name)
    path.parent.mkdir()
    path.touch()
    assert located(tmp_path, unicodedata.normalize(written, name)) == [str(path)]
    assert located(tmp_path, unicodedata.normalize(written, name.upper())) == [str(path)]


@pytest.mark.parametrize("name", ["x" * 5000 + ".jpg", "a\0.jpg", "a.jpg/b.jpg"])
def test_names_that_no_file_can_have(tmp_path, name):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(FileNotFoundError, match="1 of 1 images are missing"):
        located(tmp_path, name)


def test_one_file_has_one_path_however_it_is_written(tmp_path):
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "a.jpg"
    path.touch()
    names = [
        "sub/a.jpg",
        "./sub/a.jpg",
        "sub//a.jpg",
        "sub\\a.jpg",
        "SUB/A.JPG",
        "sub/../sub/a.jpg",
    ]
    names.append(str(path))
    assert located(tmp_path, *names) == [str(path)] * len(names)
    assert located(tmp_path / "sub", "../sub/a.jpg") == [
        str(tmp_path / "sub" / ".." / "sub" / "a.jpg")
    ]


def test_names_that_differ_in_case_on_disk(tmp_path):
    for name in ("a.jpg", "A.jpg"):
        (tmp_path / name).touch()
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system does not tell a from A")
    assert located(tmp_path, "A.jpg", "a.jpg") == [str(tmp_path / "A.jpg"), str(tmp_path / "a.jpg")]
    with pytest.raises(ValueError, match=r"'A.JPG' may be 'A.jpg' or 'a.jpg' in"):
        located(tmp_path, "A.JPG")


def test_copies(tmp_path):
    for name, data in {"a": b"x", "b": b"y", "c": b"x", "d": b"", "e": b"", "f": b"xx"}.items():
        (tmp_path / name).write_bytes(data)
    long = b"z" * 5000
    for name, data in {"g": long + b"1", "h": long + b"2", "i": long + b"1"}.items():
        (tmp_path / name).write_bytes(data)
    assert copies([str(tmp_path / name) for name in "abcdefghi"]) == {2: 0, 8: 6}
