import numpy as np
import pytest
from made_database import database
from sklearn.linear_model import Ridge

from skiqa.metrics import srocc_score
from skiqa.model_selection import Evaluation, compare, evaluate, srocc_interval


def test_predictions_are_scored_as_those_of_a_split():
    data = database()
    found = evaluate(Ridge(), data, n_repeats=1)
    train, test = found.splits[0]
    predicted = Ridge().fit(data.data[train], data.target[train]).predict(data.data)
    opinions = np.where(np.isin(np.arange(400), test), data.target, np.nan)
    again = Evaluation.from_predictions(
        opinions, predicted, groups=data.groups, degradation=data.degradation
    )
    assert repr(again).startswith("80 images, nothing fitted here")
    np.testing.assert_equal(again.summary(), found.summary())
    assert srocc_interval(again) == srocc_interval(found)
    assert compare(again, again).noise
    predicted[test[0]] = np.nan
    with pytest.raises(ValueError, match="y_pred holds nan"):
        Evaluation.from_predictions(opinions, predicted)


def test_of_few_images_the_interval_stands_below_the_table():
    rng = np.random.default_rng(0)
    y, scores = rng.standard_normal((2, 29))
    found = Evaluation.from_predictions(y, scores)
    interval = srocc_interval(found)
    last = repr(found).splitlines()[-1]
    assert last == (
        "Of fewer than 30 images (29) nothing can be told: SROCC, 95 % interval "
        f"{interval.low:.3f} to {interval.high:.3f}."
    )
    assert interval.low < 0 < interval.high
    alone = Evaluation.from_predictions(y, scores, groups=np.zeros(29))
    assert repr(alone).endswith("Of fewer than 30 images (29) nothing can be told.")
    rated = np.append(np.full(9, np.nan), rng.standard_normal(30))  # 39 images, 30 with a score
    assert "nothing can" not in repr(Evaluation.from_predictions(rated, np.arange(39.0)))
    data = database(10, 10)
    assert "nothing can be told" not in repr(evaluate(Ridge(), data, n_repeats=3))  # 60 of them


@pytest.mark.parametrize(("n", "seed"), [(12, 0), (6, 3)])
def test_noise_on_few_pictures_is_not_flattered(n, seed):
    """It was: SROCC -.500 stood beside PLCC +.683 for twelve, and PLCC reached .95 for six."""
    rng = np.random.default_rng(seed)
    y, scores = next(
        pair
        for pair in (rng.standard_normal((2, n)) for _ in range(500))
        if srocc_score(*pair) < -0.45
    )
    found = Evaluation.from_predictions(y, scores)
    assert found.scores["plcc"][0] < -0.45
    text = repr(found)
    assert f"Of fewer than 30 images ({n}) nothing can be told" in text
    high = float(text.rsplit(" to ", 1)[1].rstrip("."))
    assert high >= 0  # the interval holds what noise is worth


def test_plcc_is_negative_where_the_curve_falls():
    data = database()
    predicted = Ridge().fit(data.data, data.target).predict(data.data)
    right, turned = (
        Evaluation.from_predictions(data.target, p, degradation=data.degradation)
        for p in (predicted, -predicted)
    )
    for of_right, of_turned in [
        (right.scores, turned.scores),
        *zip(right.by_degradation.values(), turned.by_degradation.values(), strict=True),
    ]:
        assert of_right["plcc"] > 0.5
        assert of_turned["plcc"] == pytest.approx(-of_right["plcc"])
        assert of_turned["srocc"] == pytest.approx(-of_right["srocc"])
        assert of_turned["rmse"] == pytest.approx(of_right["rmse"])


def test_tables():
    pd = pytest.importorskip("pandas")
    found = evaluate(Ridge(), database(), n_repeats=3)
    assert isinstance(found.frame, pd.DataFrame)
    assert found.frame.shape == (9, 6)
    of_all = found.frame.query("degradation == 'all'")
    np.testing.assert_array_equal(of_all["srocc"], found.scores["srocc"])
    lines = found.to_markdown().splitlines()
    assert lines[0] == "|  | SROCC | PLCC | KROCC | RMSE |"
    assert lines[2].startswith(f"| median | {np.median(found.scores['srocc']):.3f} |")
    assert repr(found).startswith("3 splits, contents apart: 320 images to train on, 80 to test on")
    assert "blur" in repr(found)
    assert repr(evaluate(Ridge(), database(per_content=1), n_repeats=1)).startswith("1 split, by")
    assert {"scores", "frame", "to_markdown"} <= set(dir(found))
