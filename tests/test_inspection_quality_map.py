import numpy as np
import pytest

import skiqa
from skiqa.inspection import QualityMapDisplay, quality_map

plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = pytest.mark.usefixtures("pyplot")


def test_of_the_shipped_model(photo):
    model = skiqa.load_model()
    display = QualityMapDisplay.from_estimator(model, photo, grid=(4, 6))
    score, cells = quality_map(model, photo, grid=(4, 6))
    assert (display.score, display.map.tolist()) == (score, cells.tolist())
    assert np.array_equal(display.photo, photo)
    display.figure_.canvas.draw()


def test_colors_are_score_points_about_the_score(photo):
    cells = np.array([[1.0, 2.0], [3.0, 6.0]])
    display = QualityMapDisplay(photo=photo, score=12.0, map=cells).plot()
    assert np.array_equal(display.im_.get_array(), 4 * cells)
    assert display.im_.get_clim() == (0.0, 24.0)  # the score in the middle
    assert np.argsort(display.im_.get_alpha().ravel()).tolist() == [2, 1, 0, 3]
    assert display.im_.get_alpha()[1, 0] == 0  # gives as much as the mean
    grey = display.ax_.images[0]
    assert display.im_.get_extent() == pytest.approx(grey.get_extent())
    assert grey.get_array().shape == photo.shape[:2]
    assert display.ax_.get_title() == "score 12"


def test_on_axes_of_ones_own_and_without_differences(photo):
    figure, ax = plt.subplots()
    display = QualityMapDisplay(photo=photo, score=8.0, map=np.full((2, 2), 2.0)).plot(ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    figure.canvas.draw()
