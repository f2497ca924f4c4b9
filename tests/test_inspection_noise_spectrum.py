import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

import skiqa
from skiqa.inspection import NoiseSpectrumDisplay

plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = pytest.mark.usefixtures("pyplot")


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
    legend = {text.get_text() for text in display.ax_.get_legend().get_texts()}
    assert legend == {"gate", "noise ratio"}
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
