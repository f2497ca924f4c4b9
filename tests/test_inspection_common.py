import io

import numpy as np
import pytest

from skiqa import inspection
from skiqa.inspection import (
    ContactSheetDisplay,
    DegradationGalleryDisplay,
    DegradationResponseDisplay,
    EmbeddingDisplay,
    NoiseSpectrumDisplay,
    PredictedMosDisplay,
    QualityMapDisplay,
)
from skiqa.metrics import fit_logistic

plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = pytest.mark.usefixtures("pyplot")

PICTURE = np.zeros((8, 12, 3), np.uint8)
NAMES = ("jpeg", "non_eccentricity_patch")
MOS = np.array([-1.23456e5, 2.0, 3.0, 4.0, 5.0, 9.87654e5])
PREDICTED = np.linspace(-1e-5, 1e-5, 6)


def of_every_kind():
    sheet = [[PICTURE] * 2] * 3
    level = np.array([1.0, 5.0])
    return [
        ContactSheetDisplay(
            thumbnails=sheet,
            scores=np.full((3, 2), -1.23456e-5),
            indices=np.zeros((3, 2), int),
            names=[["… very long name.png", ""]] * 3,
        ),
        DegradationGalleryDisplay(
            photo=PICTURE, images=np.zeros((2, 1, 8, 12, 3), np.uint8), operators=NAMES, levels=(5,)
        ),
        DegradationResponseDisplay(scores=np.zeros((2, 3, 4)), operators=NAMES, levels=(2, 4)),
        EmbeddingDisplay(embedding=1e5 * np.eye(2), degradation=NAMES, level=level),
        NoiseSpectrumDisplay(noise_ratio=np.eye(3)[0], gates=np.zeros(3), threshold=0.5),
        PredictedMosDisplay(
            y_true=MOS,
            y_pred=PREDICTED,
            curve=fit_logistic(MOS, PREDICTED),
            outliers=np.array([0, 5, 1]),
            thumbnails=[np.zeros((8, 80, 3), np.uint8), PICTURE, PICTURE],
        ),
        QualityMapDisplay(photo=PICTURE, score=-1.23456e5, map=1e5 * np.eye(2)),
    ]


KINDS = pytest.mark.parametrize("display", of_every_kind(), ids=lambda x: type(x).__name__)


def holds_all_that_is_drawn(figure):
    figure.canvas.draw()
    drawn, page = figure.get_tightbbox(), figure.bbox_inches
    return drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= page.x1 and drawn.y1 <= page.y1


def test_all_displays_are_here():
    public = {name for name in inspection.__all__ if name.endswith("Display")}
    assert public == {type(display).__name__ for display in of_every_kind()}


@KINDS
def test_the_figure_is_documented_and_saved(display):
    assert "\n    figure_ : matplotlib Figure\n" in type(display).__doc__
    display.plot().figure_.savefig(file := io.BytesIO())
    assert file.getvalue().startswith(b"\x89PNG")


@KINDS
def test_nothing_is_cut_off(display):
    assert holds_all_that_is_drawn(display.plot().figure_)
    figure, ax = plt.subplots(layout="constrained")
    assert display.plot(ax=ax).figure_ is figure
    assert holds_all_that_is_drawn(figure)


@pytest.mark.parametrize("kind", [EmbeddingDisplay, PredictedMosDisplay])
def test_what_stands_beside_axes_ends_where_they_ended(kind):
    (display,) = (display for display in of_every_kind() if isinstance(display, kind))
    figure, axes = plt.subplots(1, 2, figsize=(12, 5))
    for ax in axes:
        before = ax.get_position()
        display.plot(ax=ax)
        after = ax.get_position()
        assert (after.x0, after.y0, after.y1) == pytest.approx((before.x0, before.y0, before.y1))
        assert after.width > 0.3 * before.width
        ends = ax.get_tightbbox().transformed(figure.transFigure.inverted())
        assert ends.x1 == pytest.approx(before.x1, abs=0.05)
    assert holds_all_that_is_drawn(figure)


@KINDS
def test_axes_of_a_subfigure(display):
    figure = plt.figure(figsize=(12, 5), layout="constrained")
    ax = figure.subfigures(1, 2)[1].subplots()
    assert display.plot(ax=ax).figure_ is figure
    assert holds_all_that_is_drawn(figure)
