import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skiqa.inspection import EmbeddingDisplay

plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = pytest.mark.usefixtures("pyplot")


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(9, 5)) * [4, 3, 1, 1, 1]


def test_points_are_those_of_the_principal_components(features):
    names = ["jpeg", None, "lens_blur"] * 3
    level = np.array([1, 0, 2, 3, 0, 4, 5, 0, 5])
    display = EmbeddingDisplay.from_features(features, degradation=names, level=level)
    pca = PCA(2)
    expected = pca.fit_transform(features)
    np.testing.assert_allclose(display.embedding, expected)
    assert list(display.points_) == ["jpeg", "lens_blur", "pristine"]
    for k, name in enumerate(["jpeg", "pristine", "lens_blur"]):
        points = display.points_[name]
        np.testing.assert_allclose(points.get_offsets(), expected[k::3])
        assert np.array_equal(np.argsort(points.get_sizes(), kind="stable"), [0, 1, 2])
    assert len({tuple(points.get_facecolor()[0]) for points in display.points_.values()}) == 3
    jpeg, blur = display.points_["jpeg"].get_sizes(), display.points_["lens_blur"].get_sizes()
    assert jpeg[2] == blur[2] > blur[1] > jpeg[1] > blur[0] > jpeg[0]
    share = pca.explained_variance_ratio_
    assert display.ax_.get_xlabel() == f"PCA 1 ({share[0]:.0%} of the variance)"
    assert display.ax_.get_ylabel() == f"PCA 2 ({share[1]:.0%} of the variance)"
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["jpeg", "lens_blur", "pristine", *(f"level {k}" for k in range(6))]
    display.figure_.canvas.draw()


def test_many_degradations_have_different_marks(features):
    names = [f"degradation {k:02}" for k in range(25)]
    display = EmbeddingDisplay(embedding=np.zeros((25, 2)), degradation=names).plot()
    marks = {
        (tuple(points.get_facecolor()[0]), points.get_paths()[0].vertices.tobytes())
        for points in display.points_.values()
    }
    assert len(marks) == 25


def test_another_transformer(features):
    transformer = FunctionTransformer(lambda X: X[:, 1:3])
    display = EmbeddingDisplay.from_features(features, transformer=transformer)
    assert np.array_equal(display.embedding, features[:, 1:3])
    assert display.ax_.get_xlabel() == "FunctionTransformer 1"
    assert display.ax_.get_legend() is None


def test_features_before_the_regressor(features):
    model = make_pipeline(StandardScaler(), Ridge()).fit(features, np.arange(9))
    figure, ax = plt.subplots()
    display = EmbeddingDisplay.from_estimator(model, features, ax=ax)
    expected = PCA(2).fit_transform(StandardScaler().fit_transform(features))
    np.testing.assert_allclose(display.embedding, expected)
    assert display.figure_ is figure
    alone = EmbeddingDisplay.from_estimator(model[0], features)
    np.testing.assert_allclose(alone.embedding, expected)


def test_refuses(features):
    with pytest.raises(ValueError, match="level has 2 entries, but there are 9"):
        EmbeddingDisplay.from_features(features, level=[1, 2])
    with pytest.raises(ValueError, match=r"two columns of 9 rows, not \(9, 3\)"):
        EmbeddingDisplay.from_features(features, transformer=PCA(3))
    with pytest.raises(TypeError, match="Ridge has no transform"):
        EmbeddingDisplay.from_estimator(Ridge(), features)
