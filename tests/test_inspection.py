"""Displays: what they compute, what they draw, and what they say when they cannot."""

import builtins

import numpy as np
import pytest
from PIL import Image
from scipy.stats import kendalltau
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

import skiqa
from skiqa.degradations import degrade, get_bank, list_operators
from skiqa.inspection import (
    DegradationGalleryDisplay,
    DegradationResponseDisplay,
    NoiseSpectrumDisplay,
    level_concordance,
)

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture
def photo(photo_paths):
    with Image.open(photo_paths[0]) as china:
        return np.asarray(china.crop((200, 100, 296, 164)))


class Contrast(BaseEstimator):
    """A scorer without a network: the standard deviation of the values."""

    def predict(self, X):
        assert all(image.dtype == np.uint8 and image.shape[2] == 3 for image in X)
        return np.array([image.std() for image in X])


# ---------------------------------------------------------------- gallery


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


# ---------------------------------------------------------------- concordance


def test_concordance_is_kendalls_tau():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4, 6, 7))
    taus = [[kendalltau(range(6), photo).statistic for photo in row.T] for row in scores]
    np.testing.assert_allclose(level_concordance(scores), (1 - np.mean(taus, 1)) / 2)
    falling = np.linspace(3, 0, 5)[:, None]
    assert level_concordance(falling) == 1
    assert level_concordance(-falling) == 0
    assert level_concordance(np.zeros((5, 2))) == 0.5
    assert np.isnan(level_concordance([[1.0], [np.nan]]))


@pytest.mark.parametrize("shape", [(3,), (1, 4), (5, 0)])
def test_concordance_needs_levels_and_photos(shape):
    with pytest.raises(ValueError, match="two levels or more"):
        level_concordance(np.zeros(shape))


# ---------------------------------------------------------------- response


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


def test_progress_is_shown_on_demand(photo, capsys):
    small = photo[:24, :32]
    for verbose in (0, 1):
        DegradationGalleryDisplay.from_photo(small, operators=("jpeg", "darken"), verbose=verbose)
        DegradationResponseDisplay.from_estimator(
            Contrast(), [small, small], operators=("jpeg", "darken"), verbose=verbose
        )
        shown = capsys.readouterr()
        assert shown.out == ""
        assert ("2/2" in shown.err, "20/20" in shown.err) == (verbose > 0, verbose > 0)


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


# ---------------------------------------------------------------- noise spectrum


@pytest.fixture
def features():
    generator = np.random.default_rng(0)
    y, X = generator.random(80), generator.normal(size=(80, 6))
    X[:, 4] += 5 * y
    return X, y


def test_spectrum_shows_what_the_selector_found(features):
    selector = skiqa.SemanticNoiseSelector().fit(*features)
    display = NoiseSpectrumDisplay.from_estimator(selector)
    assert display.order_[0] == 4
    ranks, ratios = display.line_.get_data()
    assert ranks.tolist() == [1, 2, 3, 4, 5, 6]
    assert np.array_equal(ratios, np.sort(selector.noise_ratio_))
    assert np.array_equal(display.gates_.get_ydata(), selector.gates_[display.order_])
    assert display.threshold_ is None
    assert {text.get_text() for text in display.ax_.get_legend().get_texts()} == {
        "gate", "noise ratio"
    }  # fmt: skip
    display.figure_.canvas.draw()


def test_spectrum_of_a_pipeline_on_axes_of_ones_own(features):
    model = make_pipeline(skiqa.SemanticNoiseSelector(threshold=0.5), Ridge()).fit(*features)
    figure, ax = plt.subplots()
    display = NoiseSpectrumDisplay.from_estimator(model, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert display.threshold_.get_ydata()[0] == 0.5
    assert display.plot().ax_ is not ax


def test_spectrum_refuses():
    with pytest.raises(TypeError, match=r"must be a SemanticNoiseSelector.*not Ridge"):
        NoiseSpectrumDisplay.from_estimator(Ridge())
    with pytest.raises(NotFittedError):
        NoiseSpectrumDisplay.from_estimator(skiqa.SemanticNoiseSelector())
