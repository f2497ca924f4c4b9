import numpy as np
import pytest

from skiqa.inspection import ContactSheetDisplay

plt = pytest.importorskip("matplotlib.pyplot")
pytestmark = pytest.mark.usefixtures("pyplot")


@pytest.fixture
def photos():
    return [np.full((6, 4 + i, 3), i, np.uint8) for i in range(9)]


def shown(display):
    return [int(image.get_array()[0, 0, 0]) for image in display.ax_.images]


def test_best_median_and_worst(photos):
    scores = [5.0, 1.0, 9.0, 3.0, np.nan, 8.0, 2.0, 7.0, 4.0]  # in order: 2 5 7 0 8 3 6 1
    display = ContactSheetDisplay.from_predictions(photos, scores, n=2)
    assert display.indices.tolist() == [[2, 5], [0, 8], [6, 1]]
    assert display.scores.tolist() == [[9, 8], [5, 4], [2, 1]]
    assert shown(display) == [2, 5, 0, 8, 6, 1]
    assert [text.get_text() for text in display.ax_.texts] == ["9", "8", "5", "4", "2", "1"]
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert labels == ["best", "median", "worst"]
    display.figure_.canvas.draw()
    figure, ax = plt.subplots()
    assert display.plot(ax=ax).figure_ is figure


def test_pictures_keep_their_shape_and_do_not_overlap(photos):
    display = ContactSheetDisplay.from_predictions(photos, np.arange(9.0), n=3)
    boxes = [image.get_extent() for image in display.ax_.images]
    for image, (left, right, bottom, top) in zip(display.ax_.images, boxes, strict=True):
        height, width = image.get_array().shape[:2]
        assert (right - left) / (bottom - top) == pytest.approx(width / height)
    for row in range(3):
        for a, b in zip(
            boxes[3 * row : 3 * row + 2], boxes[3 * row + 1 : 3 * row + 3], strict=True
        ):
            assert a[1] < b[0]


def test_of_an_estimator_with_file_names(tmp_path):
    class Brightness:
        def predict(self, X):
            return [plt.imread(path).mean() for path in X]

    paths = [tmp_path / name for name in ("dark.png", "bright.png", "of a very long name.png")]
    for path, value in zip(paths, (0.1, 0.9, 0.5), strict=True):
        plt.imsave(path, np.full((4, 4, 3), value))
    display = ContactSheetDisplay.from_estimator(Brightness(), paths, n=1)
    assert display.indices.ravel().tolist() == [1, 2, 0]
    assert display.names == [["bright.png"], ["… very long name.png"], ["dark.png"]]
    assert display.ax_.texts[0].get_text().endswith("\nbright.png")


def test_fewer_photos_than_places(photos):
    display = ContactSheetDisplay.from_predictions(photos[:2], [1.0, 2.0])
    assert display.indices.tolist() == [[1, 0]] * 3


def test_refuses(photos):
    with pytest.raises(ValueError, match="X has 9 images, but y_pred has shape"):
        ContactSheetDisplay.from_predictions(photos, [1.0])
    with pytest.raises(ValueError, match="No photo has a score"):
        ContactSheetDisplay.from_predictions(photos, np.full(9, np.nan))
    with pytest.raises(ValueError, match="n=0"):
        ContactSheetDisplay.from_predictions(photos, np.arange(9.0), n=0)
