"""Scores with intervals, and how a scorer is calibrated."""

import json
import pickle

import numpy as np
import pytest
from conftest import TINY
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skiqa import ContrastiveQualityEncoder
from skiqa._inputs.images import ImageList
from skiqa._network.build import random_state_of
from skiqa.exceptions import ImageError
from skiqa.persistence import (
    calibrate_intervals,
    iter_quality,
    load_model,
    model_card,
    predict_quality,
    save,
    to_onnx,
)

GROUPS = [*"aabbccdd"]
Y = np.array([1.0, 2.0, 4.0, 3.0, 3.5, 5.0, 2.5, 1.5])


@pytest.fixture(scope="module")
def fitted(crops):
    return make_pipeline(ContrastiveQualityEncoder(), Ridge()).fit(crops, Y)


@pytest.fixture
def model(fitted):
    """A fitted pipeline whose regressor is its own."""
    return pickle.loads(pickle.dumps(fitted))


@pytest.fixture
def calibrated(model, crops):
    calibrate_intervals(model, crops, Y)
    return model


def interval(model):
    return model[-1].card_["interval"]


# Scores -------------------------------------------------------------------------------------------


def test_bounds(calibrated, crops):
    X = [crops[0], "missing.jpg", crops[1]]
    scores = predict_quality(calibrated, X)
    for options in ({}, {"return_flags": True}):
        found, bounds, *flags = predict_quality(calibrated, X, interval=0.8, **options)
        np.testing.assert_array_equal(found, scores)
        assert (bounds.shape, bounds.dtype) == ((3, 2), np.float64)
        assert np.isnan(bounds).tolist() == [[False] * 2, [True] * 2, [False] * 2]
        np.testing.assert_allclose(bounds[[0, 2]].mean(axis=1), scores[[0, 2]])
        assert len(flags) == len(options)
    wider = predict_quality(calibrated, X, interval=0.85)[1]
    assert (np.ptp(wider[[0, 2]], axis=1) >= np.ptp(bounds[[0, 2]], axis=1)).all()

    for quality, expected in zip(iter_quality(calibrated, X, interval=0.8), bounds, strict=True):
        np.testing.assert_array_equal(quality.interval, expected)
    assert {quality.interval for quality in iter_quality(calibrated, X)} == {None}


@pytest.mark.parametrize(
    ("level", "message"),
    [(80, "must be between 0 and 1"), (0.95, "8 contents: at most 0.885"), (0.8, None)],
)
def test_what_cannot_be_told_is_said_before_anything_is_decoded(
    model, crops, level, message, monkeypatch
):
    if message:
        calibrate_intervals(model, crops, Y)

    def never(self, index, max_pixels=None):
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(ImageList, "load", never)
    message = message or 'card has no "interval".*skiqa fit.*calibrate_intervals'
    with pytest.raises(ValueError, match=message):
        predict_quality(model, crops, interval=level)
    with pytest.raises(ValueError, match=message):
        next(iter_quality(model, crops, interval=level))


# Calibration --------------------------------------------------------------------------------------


def test_calibration_is_by_regressors_that_have_not_seen_the_content(fitted, model, crops):
    rows = model[0].transform(crops)
    for groups, cv, folds in ((GROUPS, 5, GroupKFold(4)), (None, 3, GroupKFold(3))):
        calibrate_intervals(model, crops, Y, groups, cv=cv)
        contents = np.arange(8) if groups is None else groups
        unseen = cross_val_predict(Ridge(), rows, Y, groups=contents, cv=folds)
        found = interval(model)
        assert found["n"] == len(set(contents))
        errors = np.sort(np.abs(Y - unseen))
        assert 0.9 * errors[-1] < found["errors"][-1] <= errors[-1]
        assert found["errors"][0] == pytest.approx(errors[0])
    assert not hasattr(fitted[-1], "card_")
    np.testing.assert_array_equal(model[-1].coef_, fitted[-1].coef_)  # it was not fitted anew


def test_prefit_is_by_the_model_as_it_is(model, crops):
    calibrate_intervals(model, crops, model.predict(crops) + 0.5, GROUPS, cv="prefit")
    found = interval(model)
    assert found["n"] == 4
    assert 0.45 < found["errors"][0] <= found["errors"][-1] == pytest.approx(0.5)
    calibrate_intervals(model, crops[:1], [2.0], cv="prefit")
    assert len(interval(model)["errors"]) == 100  # of one content: levels up to a half


def test_what_stands_between_and_weights_are_fitted_again(crops):
    weights = np.array([1.0, 0, 1, 1, 1, 1, 1, 1])
    y = np.where(weights, Y, 1e6)
    model = make_pipeline(ContrastiveQualityEncoder(), StandardScaler(), Ridge())
    params = {"ridge__sample_weight": weights}
    model.fit(crops, y, **params)
    calibrate_intervals(model, crops, y, params=params)
    assert interval(model)["errors"][99] < 10
    calibrate_intervals(model, crops, y)
    assert interval(model)["errors"][99] > 1000
    crops, y = [*crops, crops[0]], [*y, np.nan]  # nobody rated it; weights go with the others
    calibrate_intervals(model, crops, y, params={"ridge__sample_weight": [*weights, 1]})
    assert interval(model)["errors"][99] < 10


def test_photos_that_cannot_be_read(model, crops):
    X, y = [*crops, b"no image"], [*Y, 3.0]
    with pytest.raises(ImageError, match=r"X\[8\]"):
        calibrate_intervals(model, X, y)
    assert not hasattr(model[-1], "card_")
    calibrate_intervals(model, crops, Y)
    expected = interval(model)
    model[0].set_params(on_error="nan")
    calibrate_intervals(model, X, y)
    assert interval(model) == expected


def test_what_is_in_the_card_stays(model, crops):
    card = model[-1].card_ = {"scale": [1, 5, "mine"]}
    calibrate_intervals(model, crops, Y, [None, *GROUPS[1:]])
    assert model[-1].card_ == card | {"interval": interval(model)}
    assert interval(model)["n"] == 5  # what has no name is of its own
    assert card == {"scale": [1, 5, "mine"]}


def test_calibrations_of_no_use(model, crops):
    with pytest.raises(ValueError, match=r"there is only 1.*cv='prefit'"):
        calibrate_intervals(model, crops, Y, ["one"] * 8)
    with pytest.raises(ValueError, match="only 0"):
        calibrate_intervals(model, crops, np.full(8, np.nan))
    with pytest.raises(ValueError, match="no rated photo"):
        calibrate_intervals(model, crops, np.full(8, np.nan), cv="prefit")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        calibrate_intervals(model, crops, Y[:7])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        calibrate_intervals(model, crops, Y, GROUPS[:7])
    for cv in ("fitted", 1, 2.5, None):
        with pytest.raises(ValueError, match="must be a number of folds, 2 or more, or 'prefit'"):
            calibrate_intervals(model, crops, Y, cv=cv)
    with pytest.raises(TypeError, match="begins with a ContrastiveQualityEncoder"):
        calibrate_intervals(model[1:], crops, Y)
    assert not hasattr(model[-1], "card_")


# Files --------------------------------------------------------------------------------------------


def test_calibrations_travel(calibrated, crops, tmp_path):
    expected = predict_quality(calibrated, crops[:2], interval=0.8)[1]
    widths = np.ptp(expected, axis=1)
    save(calibrated, tmp_path / "own.skiqa")
    again = load_model(tmp_path / "own.skiqa")
    assert interval(again) == interval(calibrated)
    bounds = predict_quality(again, crops[:2], interval=0.8)[1]
    np.testing.assert_allclose(np.ptp(bounds, axis=1), widths, rtol=1e-5)
    again = pickle.loads(pickle.dumps(calibrated))
    np.testing.assert_array_equal(predict_quality(again, crops[:2], interval=0.8)[1], expected)


@pytest.mark.parametrize("card", [5, "card", [1, 2]])
def test_files_whose_card_is_none(model, tmp_path, card):
    model[-1].card_ = card
    save(model, tmp_path / "hostile.skiqa")
    with pytest.raises(ValueError, match=r"hostile\.skiqa' is not a file of skiqa"):
        load_model(tmp_path / "hostile.skiqa")


@pytest.mark.parametrize("hostile", [[], 5, {"n": 9, "errors": [-1.0] * 180, "unlike_above": 1.0}])
def test_hostile_files(calibrated, crops, tmp_path, hostile):
    calibrated[-1].card_ = {"interval": hostile}
    save(calibrated, tmp_path / "hostile.skiqa")
    model = load_model(tmp_path / "hostile.skiqa")
    assert np.isfinite(predict_quality(model, crops[:1])).all()
    with pytest.raises(ValueError, match=r'The "interval" of the model\'s card is no calibration'):
        predict_quality(model, crops[:1], interval=0.8)


def test_the_card_in_an_onnx_file(crops, tmp_path):
    onnx = pytest.importorskip("onnx")
    encoder = ContrastiveQualityEncoder(TINY).with_state(random_state_of(TINY, 0))
    model = make_pipeline(encoder, Ridge().fit(encoder.transform(crops), Y))
    calibrate_intervals(model, crops, Y)
    to_onnx(model, tmp_path / "own.onnx")
    about = {x.key: x.value for x in onnx.load(tmp_path / "own.onnx").metadata_props}
    assert json.loads(about["card"]) == json.loads(json.dumps(model_card(model)))
    assert json.loads(about["card"])["scorer"]["interval"] == interval(model)
