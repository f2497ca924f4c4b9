import builtins

import numpy as np
import pytest

from skiqa.degradations import degrade, get_bank, list_operators
from skiqa.inspection import DegradationGalleryDisplay

plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = pytest.mark.usefixtures("pyplot")


def test_gallery_shows_what_degrade_gives(photo):
    names = ("gaussian_blur", "white_noise", "jpeg")
    display = DegradationGalleryDisplay.from_photo(photo, operators=names, levels=(1, 5), seed=3)
    assert display.images.shape == (3, 2, *photo.shape)
    assert display.operators == names
    for i, name in enumerate(names):
        for j, level in enumerate((1, 5)):
            assert np.array_equal(display.images[i, j], degrade(photo, name, level, seed=3))
    ax = display.ax_
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(names)
    labels = [tick.get_text() for tick in ax.get_xticklabels()]
    assert labels == 2 * ["pristine", "level 1", "level 5"]  # below and above
    # the picture drawn: each tile in its place, at its tick
    mosaic = display.im_.get_array()
    h, w = photo.shape[:2]
    for (y, row), pictures in zip(enumerate(ax.get_yticks()), display.images, strict=True):
        for x, picture in zip(ax.get_xticks(), [photo, *pictures], strict=True):
            top, left = round(row - h / 2), round(x - w / 2)
            assert np.array_equal(mosaic[top : top + h, left : left + w], picture), y
    display.figure_.canvas.draw()


def test_gallery_of_a_bank_a_name_and_everything(photo):
    small = photo[:32, :40]
    for operators, expected in {
        "kadis": get_bank("kadis").names,
        "jpeg": ("jpeg",),
        "all": tuple(list_operators()),
    }.items():
        display = DegradationGalleryDisplay.from_photo(small, operators=operators, levels=[2])
        assert display.operators == expected
        assert display.images.shape == (len(expected), 1, 32, 40, 3)


def test_gallery_scales_large_photos_down(photo_paths):
    display = DegradationGalleryDisplay.from_photo(photo_paths[0], operators="darken", max_side=64)
    assert display.photo.shape == (42, 64, 3)
    whole = DegradationGalleryDisplay.from_photo(
        photo_paths[0], operators="darken", levels=[1], max_side=None
    )
    assert whole.photo.shape == (427, 640, 3)


def test_gallery_on_axes_of_ones_own(photo):
    figure, ax = plt.subplots()
    display = DegradationGalleryDisplay.from_photo(photo, operators="darken", ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert display.plot().ax_ is not ax


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operators": "jepg"}, "There is no bank 'jepg'"),
        ({"operators": ("jepg",)}, "There is no degradation named 'jepg'"),
        ({"levels": (0, 1)}, r"levels=\(0, 1\): give one or more of 1\.\.5"),
        ({"levels": ()}, r"levels=\(\)"),
    ],
)
def test_gallery_refuses(photo, arguments, message):
    with pytest.raises(ValueError, match=message):
        DegradationGalleryDisplay.from_photo(photo, **arguments)


def test_missing_matplotlib_is_explained(photo, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "skiqa\[plot\]"'):
        DegradationGalleryDisplay.from_photo(photo, operators="jpeg", levels=[1])


def test_progress_is_shown_on_demand(photo, capsys, monkeypatch):
    monkeypatch.setattr("skiqa._progress.SECONDS_BETWEEN_LINES", 0)
    for verbose in (0, 1):
        DegradationGalleryDisplay.from_photo(
            photo[:24, :32], operators=("jpeg", "darken"), verbose=verbose
        )
        shown = capsys.readouterr()
        assert shown.out == ""
        assert ("2 of 2 " in shown.err) == (verbose > 0)
