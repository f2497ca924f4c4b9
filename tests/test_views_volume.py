"""Slices of volumes, arrays and NIfTI files."""

import sys

import numpy as np
import pytest

from skiqa.exceptions import ImageError
from skiqa.views import volume_slices

CT = (-160, 240)


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(-400, 400, (5, 6, 7)).astype(np.int16)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_an_array(volume, axis):
    views = list(volume_slices(volume, window=CT, axis=axis))
    assert len(views) == volume.shape[axis]
    assert views[1].name == f"axis {axis}, slice 1"
    values = np.take(volume, 1, axis)
    expected = np.rint((values.clip(*CT) + 160) / 400 * 255)
    assert (views[1].image == expected[..., None]).all()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_files_are_in_their_own_units(volume, tmp_path, suffix):
    """Stored as 8 bits with slope and intercept; the second axis points up."""
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / f"a{suffix}"
    image = nibabel.Nifti1Image(np.clip(volume // 4 + 100, 0, 255).astype(np.uint8), np.eye(4))
    image.header.set_slope_inter(4, -400)
    nibabel.save(image, path)
    stored = np.clip(volume // 4 + 100, 0, 255) * 4.0 - 400
    views = list(volume_slices(path, window=CT, count=2))
    assert [view.name for view in views] == ["axis 2, slice 1", "axis 2, slice 5"]
    plain = list(volume_slices(stored, window=CT, count=2))
    for view, other in zip(views, plain, strict=True):
        assert (view.image == np.rot90(other.image)).all()
    assert (views[0].image[-1, :, 0] == plain[0].image[:, 0, 0]).all()


def test_a_file_is_read_slice_by_slice(tmp_path, monkeypatch):
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "a.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 9), np.int16), np.eye(4)), path)
    shapes = []
    original = nibabel.arrayproxy.ArrayProxy._get_scaled

    def seen(self, *args, **kwargs):
        values = original(self, *args, **kwargs)
        shapes.append(values.shape)
        return values

    monkeypatch.setattr(nibabel.arrayproxy.ArrayProxy, "_get_scaled", seen)
    assert len(list(volume_slices(path, window=CT, count=3))) == 3
    assert shapes == [(4, 4)] * 3


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"window": (1, 1)}, r"window=\(1, 1\) must be"),
        ({"window": CT, "axis": 3}, "axis=3"),
        ({"window": CT, "count": 0}, "count=0"),
    ],
)
def test_what_is_refused(volume, how, message):
    with pytest.raises(ValueError, match=message):
        volume_slices(volume, **how)
    with pytest.raises(ValueError, match=r"of shape \(a, b, c\), not .*pass one, such as"):
        volume_slices(volume[..., None], window=CT)
    with pytest.raises(TypeError, match="window"):
        volume_slices(volume)


def test_what_is_wrong_with_a_file(tmp_path, monkeypatch):
    pytest.importorskip("nibabel")
    (tmp_path / "a.nii").write_bytes(b"no volume")
    with pytest.raises(ImageError, match=r"a.nii'?: this cannot be read as a NIfTI file"):
        volume_slices(tmp_path / "a.nii", window=CT)
    with pytest.raises(ImageError, match=r"none.nii'?: there is no such file"):
        volume_slices(tmp_path / "none.nii", window=CT)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ImageError, match=r"a.nii'?: NIfTI files .* pip install 'skiqa\[views\]'"):
        volume_slices(tmp_path / "a.nii", window=CT)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_that_is_cut_off(tmp_path, suffix):
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).normal(size=(20, 20, 20))
    nibabel.save(nibabel.Nifti1Image(noise, np.eye(4)), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=rf"a{suffix}'?: this cannot be read as") as raised:
        list(volume_slices(path, window=(-1, 1)))
    assert raised.value.kind == "damaged"


def test_what_is_no_number_is_black():
    volume = np.full((4, 4, 1), np.nan)
    volume[0, 0] = 1.0
    (view,) = volume_slices(volume, window=(0.0, 1.0))
    assert view.image[..., 0].tolist() == [[255, 0, 0, 0], *[[0] * 4] * 3]
