import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.base import BaseEstimator

import skiqa
from skiqa.degradations import degrade
from skiqa.inspection import DegradationResponseDisplay, level_concordance

plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = pytest.mark.usefixtures("pyplot")


class Contrast(BaseEstimator):
    """A scorer without a network: the standard deviation of the values."""

    def predict(self, X):
        assert all(image.dtype == np.uint8 and image.shape[2] == 3 for image in X)
        return np.array([image.std() for image in X])


def test_concordance_is_kendalls_tau():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4, 6, 7))
    taus = [[kendalltau(range(6), photo).statistic for photo in row.T] for row in scores]
    np.testing.assert_allclose(level_concordance(scores), (1 - np.mean(taus, 1)) / 2)
    falling = np.linspace(3, 0, 5)[:, None]
    assert level_concordance(falling) == 1
    assert level_concordance(-falling) == 0
    assert level_concordance(np.zeros((5, 2))) == 0.5
    in_batches = [[75.81006547516157], [75.81006547516154]]  # of equal pictures
    assert level_concordance(in_batches) == level_concordance(in_batches[::-1]) == 0.5
    assert np.isnan(level_concordance([[1.0], [np.nan]]))


@pytest.mark.parametrize("shape", [(3,), (1, 4), (5, 0)])
def test_concordance_needs_levels_and_photos(shape):
    with pytest.raises(ValueError, match="two levels or more"):
        level_concordance(np.zeros(shape))


def test_response_is_the_models_scores(photo):
    photos = [photo, photo[:40, :50]]
    names = ("lens_blur", "mean_shift")
    display = DegradationResponseDisplay.from_estimator(
        Contrast(), photos, operators=names, levels=(4, 2)
    )
    assert display.levels == (2, 4)
    assert display.scores.shape == (2, 3, 2)
    for i, image in enumerate(photos):
        for k, name in enumerate(names):
            degraded = [image, *(degrade(image, name, level) for level in (2, 4))]
            np.testing.assert_allclose(display.scores[k, :, i], Contrast().predict(degraded))
    np.testing.assert_allclose(display.concordance, level_concordance(display.scores))
    assert display.concordance[0] == 1  # blur takes contrast away
    assert len(display.axes_) == 2
    assert [ax.get_title() for ax in display.axes_] == [
        "lens_blur\n1.00 in order",
        f"mean_shift\n{display.concordance[1]:.2f} in order, not monotone",
    ]
    mean = display.lines_[0]
    assert mean.axes is display.axes_[0]
    np.testing.assert_allclose(mean.get_xdata(), [0, 2, 4])
    np.testing.assert_allclose(mean.get_ydata(), display.scores[0].mean(1))
    display.figure_.canvas.draw()


def test_every_photo_draws_numbers_of_its_own(photo):
    grey = np.full((48, 48, 3), 128, np.uint8)
    scores = DegradationResponseDisplay.from_estimator(
        Contrast(), [grey, grey], operators="white_noise"
    ).scores
    assert np.all(scores[0, 0] == 0)
    assert np.all(scores[0, 1:, 0] != scores[0, 1:, 1])
    again = DegradationResponseDisplay.from_estimator(
        Contrast(), [grey, grey], operators="white_noise"
    ).scores
    assert np.array_equal(scores, again)


def test_response_on_given_axes(photo):
    scores = np.zeros((3, 6, 1))
    names = ("jpeg", "darken", "brighten")
    display = DegradationResponseDisplay(scores=scores, operators=names, levels=range(1, 6))
    figure, axes = plt.subplots(2, 2)
    assert list(display.plot(ax=axes).axes_) == list(axes.ravel()[:3])
    with pytest.raises(ValueError, match="3 operators need as many axes"):
        display.plot(ax=axes[0])
    divided = display.plot(ax=axes[1, 1])
    assert divided.figure_ is figure
    assert len(divided.axes_) == 3
    figure.canvas.draw()
    with pytest.raises(ValueError, match="axes of a grid"):
        display.plot(ax=plt.figure().add_axes((0, 0, 1, 1)))


def test_response_refuses(photo):
    with pytest.raises(TypeError, match="ndarray has no predict"):
        DegradationResponseDisplay.from_estimator(photo, [photo])

    class Classifier:
        def predict(self, X):
            return np.zeros((len(X), 2))

    with pytest.raises(ValueError, match="one score an image"):
        DegradationResponseDisplay.from_estimator(Classifier(), [photo], operators="jpeg")
    with pytest.raises(TypeError, match=r"pass \[image\]"):
        DegradationResponseDisplay.from_estimator(Contrast(), "a.jpg")


def test_response_of_the_shipped_model(photo):
    display = DegradationResponseDisplay.from_estimator(
        skiqa.load_model(), [photo], operators="gaussian_blur", levels=[5]
    )
    expected = skiqa.load_model().predict([photo, degrade(photo, "gaussian_blur", 5)])
    np.testing.assert_allclose(display.scores[0, :, 0], expected, rtol=1e-5)


def test_progress_is_shown_on_demand(photo, capsys, monkeypatch):
    monkeypatch.setattr("skiqa._progress.SECONDS_BETWEEN_LINES", 0)
    for verbose in (0, 1):
        DegradationResponseDisplay.from_estimator(
            Contrast(), 2 * [photo[:24, :32]], operators=("jpeg", "darken"), verbose=verbose
        )
        shown = capsys.readouterr()
        assert shown.out == ""
        assert ("20 of 20 " in shown.err) == (verbose > 0)
