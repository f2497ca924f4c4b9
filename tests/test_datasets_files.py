from skiqa.datasets._files import find_path, name_parts


def test_find_looks_one_folder_below(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "x.txt").touch()
    assert find_path(tmp_path, "y.txt", "x.txt") == tmp_path / "b" / "x.txt"
    assert find_path(tmp_path, "z.txt") is None


def test_parts_of_names():
    parts = [["I01", "07", "5"], ["babygirl", "blur1", "noise2"], ["a.b"]]
    assert name_parts(["I01_07_5.bmp", "Part 2/x_y/babygirl_blur1_noise2.bmp", "a.b.png"]) == parts
