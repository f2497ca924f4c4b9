import pytest
from synthetic_trees import mdid

from skiqa import datasets


def test_mdid_incomplete_scores(tmp_path):
    mdid(tmp_path)
    (tmp_path / "mos.txt").write_text("1.0\n" * 1599)
    with pytest.raises(ValueError, match=r"1599 scores in .* there should be 1600"):
        datasets.load_mdid(tmp_path)


def test_mdid_deviations(tmp_path):
    mdid(tmp_path)
    (tmp_path / "mos_std.txt").write_text("0.5\n" * 1600)
    assert (datasets.load_mdid(tmp_path).target_std == 0.5).all()
