import numpy as np
import pytest
from scipy.io import loadmat, savemat
from synthetic_trees import csiq, kadid10k, live, tid2008, tid2013

from skiqa import datasets
from skiqa.degradations import get_bank


def test_live_counts_and_order(tmp_path):
    live(tmp_path)
    found = datasets.load_live(tmp_path)
    assert len(found.data) == 779  # published
    for folder, degradation in (("jp2k", "jpeg2000"), ("fastfading", "fast_fading")):
        assert all(
            (f"/{folder}/" in path) == (kind == degradation)
            for path, kind in zip(found.data, found.degradation, strict=True)
        )
    assert found.level is None


def test_live_without_realignment(tmp_path):
    expected = live(tmp_path, realigned=False)
    found = datasets.load_live(tmp_path)
    np.testing.assert_allclose(found.target, expected["target"])
    assert found.target_std is None


def test_live_incomplete_scores(tmp_path):
    live(tmp_path)
    scores = loadmat(tmp_path / "dmos_realigned.mat")
    fewer = {key: scores[key][:, :-1] for key in ("dmos_new", "dmos_std", "orgs")}
    savemat(tmp_path / "dmos_realigned.mat", fewer)
    with pytest.raises(ValueError, match=r"981 scores in .* there should be 982"):
        datasets.load_live(tmp_path)


def test_csiq_by_label_file(tmp_path):
    expected = csiq(tmp_path, kind="text")
    found = datasets.load_csiq(tmp_path)
    assert found.data.tolist() == [str(tmp_path / name) for name in expected["data"]]
    np.testing.assert_allclose(found.target, expected["target"])
    assert found.degradation.tolist() == expected["degradation"]
    assert found.target_std is None


@pytest.mark.parametrize(
    ("build", "loader", "types", "levels"),
    [(tid2008, datasets.load_tid2008, 17, 4), (tid2013, datasets.load_tid2013, 24, 5)],
)
def test_tid_types(tmp_path, build, loader, types, levels):
    build(tmp_path)
    found = loader(tmp_path)
    assert 25 * types * levels == {17: 1700, 24: 3000}[types]  # published
    assert len(found.data) == 3 * types * levels
    assert len(set(found.degradation.tolist())) == types
    # types 1, 8, 10 and 17 as the readme of TID2013 lists them
    first = dict(zip((int(p[-8:-6]) for p in found.data), found.degradation, strict=True))
    names = ["white_noise", "gaussian_blur", "jpeg", "contrast_change"]
    assert [first[k] for k in (1, 8, 10, 17)] == names


def test_kadid_types_are_those_of_the_bank(tmp_path):
    kadid10k(tmp_path)
    found = datasets.load_kadid10k(tmp_path)
    names = [operator.name for operator in get_bank("kadis").operators]
    assert found.degradation[:125:5].tolist() == names
    worst = found.target[found.level == 5].mean()
    assert worst < found.target[found.level == 1].mean()  # higher is better, whatever its name


def test_tid_incomplete_deviations(tmp_path):
    tid2008(tmp_path)
    (tmp_path / "mos_std.txt").write_text("0.5\n" * 7)
    with pytest.raises(ValueError, match="TID2008: target_std has 7 values for 204 images"):
        datasets.load_tid2008(tmp_path)
