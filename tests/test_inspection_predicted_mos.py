import numpy as np
import pytest

from skiqa.inspection import PredictedMosDisplay
from skiqa.metrics import fit_logistic, plcc_score, srocc_score

plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = pytest.mark.usefixtures("pyplot")


@pytest.fixture
def rated():
    generator = np.random.default_rng(0)
    predicted = generator.uniform(-2, 2, 60)
    mos = 1 + 4 / (1 + np.exp(-2 * predicted)) + 0.1 * generator.normal(size=60)
    mos[[11, 40]] += [-3.0, 2.0]
    return mos, predicted


class Means:
    def predict(self, X):
        return np.array([image.mean() for image in X])


def test_points_curve_and_measures(rated):
    display = PredictedMosDisplay.from_predictions(*rated, n_outliers=2)
    mos, predicted = rated
    assert np.array_equal(display.points_.get_offsets(), np.column_stack([predicted, mos]))
    x, y = display.curve_.get_data()
    assert (x.min(), x.max()) == (predicted.min(), predicted.max())
    np.testing.assert_allclose(y, fit_logistic(mos, predicted)(x))
    assert display.srocc == pytest.approx(srocc_score(mos, predicted))
    assert display.plcc == pytest.approx(plcc_score(mos, predicted, mapping="logistic4"))
    (legend,) = display.ax_.get_legend().get_texts()
    measures = f"SROCC {display.srocc:.3f}, PLCC {display.plcc:.3f}"
    assert legend.get_text() == f"logistic4 fit: {measures}"
    assert display.thumbnails_ == []
    display.figure_.canvas.draw()


def test_outliers_lie_farthest_from_the_curve(rated):
    mos, predicted = rated
    display = PredictedMosDisplay.from_predictions(mos, predicted, n_outliers=3)
    distance = np.abs(mos - fit_logistic(mos, predicted)(predicted))
    assert display.outliers.tolist()[:2] == [11, 40]
    assert np.array_equal(display.outliers, np.argsort(-distance)[:3])
    assert [text.get_text() for text in display.ax_.texts] == ["1", "2", "3"]
    assert [text.xy for text in display.ax_.texts] == [
        (predicted[i], mos[i]) for i in display.outliers
    ]


def test_thumbnails_are_the_outliers(rated):
    mos, predicted = rated
    photos = [np.full((8, 300 if i == 40 else 12, 3), i, np.uint8) for i in range(60)]
    display = PredictedMosDisplay.from_predictions(mos, predicted, X=photos, n_outliers=2)
    shown = [inset.images[0].get_array() for inset in display.thumbnails_]
    assert [picture[0, 0, 0] for picture in shown] == [11, 40]
    assert shown[1].shape == (6, 256, 3)
    title = display.thumbnails_[0].get_title(loc="left")
    assert title == f"1: MOS {mos[11]:.3g}, predicted {predicted[11]:.3g}"
    display.figure_.canvas.draw()
    texts = [text for inset in display.thumbnails_ for text in inset.findobj(plt.Text)]
    ends = [text.get_window_extent().x1 for text in texts if text.get_text()]
    assert len(ends) == 2
    assert max(ends) <= display.figure_.bbox.x1  # captions are not cut off
    figure, ax = plt.subplots()
    assert display.plot(ax=ax).figure_ is figure


def test_only_outliers_are_opened(rated, tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(60)]
    plt.imsave(paths[11], np.zeros((4, 4, 3)))
    display = PredictedMosDisplay.from_predictions(*rated, X=paths, n_outliers=1)
    assert display.thumbnails[0].shape == (4, 4, 3)


def test_of_an_estimator():
    photos = [np.full((4, 4, 3), 10 * i, np.uint8) for i in range(6)]
    display = PredictedMosDisplay.from_estimator(Means(), photos, [1, 2, 3, 9, 5, 6], n_outliers=1)
    assert display.y_pred.tolist() == [0, 10, 20, 30, 40, 50]
    assert display.outliers.tolist() == [3]
    assert display.thumbnails[0][0, 0, 0] == 30


def test_refuses(rated):
    mos, predicted = rated
    with pytest.raises(ValueError, match="X has 1 images, y_true 60 scores"):
        PredictedMosDisplay.from_predictions(mos, predicted, X=[np.zeros((4, 4), np.uint8)])
    with pytest.raises(ValueError, match="y_pred holds nan at index 0"):
        PredictedMosDisplay.from_predictions(mos, np.full(60, np.nan))
