"""FineTunedQualityRegressor: its start, scales, resuming, and scikit-learn's manners."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from fine_tuning_parts import rated_crops, tiny
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skiqa import ContrastiveQualityEncoder, persistence
from skiqa._fine_tuning.held_out import HeldOut
from skiqa._fine_tuning.loop import FineTuningRun
from skiqa._inputs.images import ImageList
from skiqa.exceptions import ImageError


@parametrize_with_checks([tiny(scales=(1.0,), epochs=1, batch_size=32)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture
def rated(photo_paths):
    return rated_crops(photo_paths)


def test_a_weight_is_a_number_of_copies(rated):
    """Bit for bit, in the ridge, the training, the choice of the epoch and the partners."""
    images, y, _ = rated
    images, y = images[:12], y[:12]
    rng = np.random.default_rng(0)
    counts, database = rng.integers(0, 4, 12), np.arange(12) % 2
    again = rng.permutation(np.repeat(np.arange(12), counts))
    for parameters in ({}, {"semantic_noise": 1.0, "ranking": 0.5}):
        model = tiny(epochs=1, scales=(1.0,), **parameters)
        weighted = clone(model).fit(images, y, counts, datasets=database)
        twice = clone(model).fit([images[k] for k in again], y[again], datasets=database[again])
        np.testing.assert_array_equal(weighted.predict(images), twice.predict(images))
        assert weighted.dataset_scales_ == twice.dataset_scales_
        assert weighted.history_[1]["loss"] == twice.history_[1]["loss"]
    plain = clone(model).fit(images, y, datasets=database)
    assert np.abs(plain.predict(images) - weighted.predict(images)).max() > 1e-3


def test_weights_reach_the_ridge_and_what_weighs_nothing_is_not_read(rated, tmp_path):
    images, y, _ = rated
    weight = np.random.default_rng(0).uniform(0.2, 2, len(y))
    model = tiny(epochs=0).fit([*images, tmp_path / "gone.png"], [*y, 9.0], [*weight, 0.0])
    encoder = model.pipeline_[0]
    ridge = Ridge(1e-3).fit(encoder.transform(images).astype(float), y, weight)
    ours = model.predict(images)
    # alpha is of y in units of its standard deviation, which a ridge does not see
    np.testing.assert_allclose(ours, ridge.predict(encoder.transform(images)), rtol=1e-4)


def test_start_is_the_frozen_pipeline(rated):
    images, y, groups = rated
    model = tiny(epochs=0).fit(images, y, groups=groups)
    pipeline = make_pipeline(model.encoder, Ridge(1e-3)).fit(images, y)
    np.testing.assert_allclose(model.predict(images), pipeline.predict(images), rtol=1e-4)
    assert model.best_epoch_ == model.n_iter_ == 0


def test_training_that_only_harms_leaves_the_start(rated):
    images, y, groups = rated
    how = {"alpha": 1e-5, "validation_fraction": 0.5}  # of three images chance gets them all right
    model = tiny(learning_rate=0.3, **how).fit(images, y, groups=groups)
    start, *trained = (h["validation_srocc"] for h in model.history_)
    assert max(trained) < start
    frozen = tiny(epochs=0, **how).fit(images, y, groups=groups)
    assert (model.n_iter_, model.best_epoch_) == (2, 0)
    np.testing.assert_array_equal(model.predict(images), frozen.predict(images))


@pytest.mark.parametrize(
    ("backbone", "parameters"),
    [
        ("test_efficientnet", {"ranking": 1.0, "semantic_noise": 1.0}),
        ("test_efficientnet", {"window_size": 48, "start_penalty": 1.0}),
        ("test_efficientnet", {"maps_dir": "maps"}),
        ("test_vit", {"trained_last_stages": None, "epochs": 1}),
    ],
)
def test_same_seed_same_scores_and_pickles(rated, backbone, parameters, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, y, groups = rated
    model = tiny(backbone, **parameters)
    first = model.fit(images, y, groups=groups).predict(images)
    again = clone(model).set_params(n_jobs=2).fit(images, y, groups=groups)
    np.testing.assert_array_equal(again.predict(images), first)
    np.testing.assert_array_equal(model.pipeline_.predict(images), first)
    assert b"torch._utils" not in pickle.dumps(model)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(images), first)
    losses = [h["loss"] for h in model.history_[1:]]
    assert np.isfinite(losses).all()


def test_spread_of_crops(rated):
    images, y, groups = rated
    model = tiny(epochs=0).fit(images, y, groups=groups)
    flat = np.full((64, 64, 3), 99, np.uint8)
    score, std = model.predict([images[0], flat], return_std=True)
    np.testing.assert_array_equal(score, model.predict([images[0], flat]))
    assert std[0] > 0
    assert std[1] == pytest.approx(0, abs=1e-5)


def test_goes_into_a_file_of_weights(rated, tmp_path, monkeypatch):
    images, y, groups = rated
    choices = iter([True, False])
    monkeypatch.setattr(HeldOut, "is_as_good", lambda self, scores: next(choices))
    model = tiny().fit(images, y, groups=groups)
    persistence.save(model.pipeline_, tmp_path / "tuned.skiqa")
    loaded = persistence.load(tmp_path / "tuned.skiqa")
    np.testing.assert_allclose(loaded.predict(images), model.predict(images), rtol=1e-6)
    assert loaded[0].state_.card["fine_tuned"] == "on 21 rated images"


def test_pipeline_takes_rows_of_pixels():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (40, 8 * 8 * 3), np.uint8), rng.normal(size=40)
    model = tiny(image_shape=(8, 8, 3), epochs=1).fit(X, y)
    assert model.n_features_in_ == 192
    np.testing.assert_array_equal(model.pipeline_.predict(X), model.predict(X))
    model.fit(list(X.reshape(-1, 8, 8, 3)), y)
    assert not hasattr(model, "n_features_in_")


def test_unreadable_photos_are_named_whatever_the_encoder_does(rated):
    images, y, groups = rated
    model = tiny(epochs=0)
    model.encoder.estimator.on_error = "nan"
    with pytest.raises(ImageError, match=r"X\[1\] = .*none.jpg"):
        model.fit([images[0], "none.jpg"], y[:2])
    model.fit(images, y, groups=groups)
    with pytest.raises(ImageError, match=r"X\[1\] = .*none.jpg"):
        model.predict([images[0], "none.jpg"])
    assert model.encoder.estimator.on_error == "nan"  # what was given stays as it is


def test_a_fit_that_fails_leaves_what_was_fitted(rated, monkeypatch):
    images, y, groups = rated
    model = tiny(trained_last_stages=99)
    monkeypatch.setattr(
        ContrastiveQualityEncoder, "transform", lambda self, X: pytest.fail("not refused at once")
    )
    with pytest.raises(ValueError, match="trained_last_stages=99"):
        model.fit(images, y, groups=groups)
    assert not [name for name in vars(model) if name.endswith("_")]
    monkeypatch.undo()
    model.set_params(trained_last_stages=1, epochs=0).fit(images, y, groups=groups)
    before = vars(model).copy()
    monkeypatch.setattr(FineTuningRun, "train_epoch", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.set_params(epochs=1).fit(images, y, groups=groups)
    assert model.pipeline_ is before["pipeline_"]
    assert model.history_ is before["history_"]


def test_features_of_the_last_map_are_fine_tuned(rated):
    images, y, groups = rated
    model = tiny(alpha=0.1, learning_rate=1e-2, epochs=4)
    model.encoder.estimator.set_params(pooling="avg")
    model.fit(images, y, groups=groups)
    losses = [h["loss"] for h in model.history_[1:]]
    assert losses[-1] < 0.8 * losses[0]
    assert model.best_epoch_ > 0
    rows = model.pipeline_[0].transform(images)
    np.testing.assert_allclose(model.pipeline_[1].predict(rows), model.predict(images), rtol=1e-4)


def test_kept_maps_change_nothing_but_the_time(rated, tmp_path, monkeypatch):
    images, y, groups = rated
    decoded, load = [], ImageList.load

    def noted(self, index, max_pixels=None):
        decoded.append(index)
        return load(self, index, max_pixels)

    monkeypatch.setattr(ImageList, "load", noted)
    every = {"batch_size": 7}  # of 21 in training: none is left over
    plain = tiny(**every).fit(images, y, groups=groups)
    kept = tiny(**every, maps_dir=tmp_path).fit(images, y, groups=groups)
    np.testing.assert_allclose(kept.predict(images), plain.predict(images), rtol=1e-3)
    losses = [[h["loss"] for h in model.history_[1:]] for model in (plain, kept)]
    np.testing.assert_allclose(*losses, rtol=2e-2)
    assert len(list(tmp_path.glob("*/*.npz"))) == len(images)
    before = len(decoded)
    again = tiny(**every, maps_dir=tmp_path).fit(images, y, groups=groups)
    assert len(decoded) - before == len(images)  # the features of the start
    np.testing.assert_array_equal(again.predict(images), kept.predict(images))


def test_datasets_of_different_scales_train_together(rated):
    images, y, groups = rated
    # the second half is rated by others, from 0 to 100: the same quality, another scale
    datasets = np.where(groups < 4, "ours", "theirs")
    mixed = np.where(datasets == "ours", y, 100 - 20 * (5 - y))
    model, naive, same_scale = (tiny(ranking=1.0, epochs=1, alpha=1e-5) for _ in range(3))
    scores = model.fit(images, mixed, groups=groups, datasets=datasets).predict(images)
    truth = same_scale.fit(images, y, groups=groups).predict(images)
    assert np.corrcoef(scores, truth)[0, 1] > 0.9
    naive.fit(images, mixed, groups=groups)
    assert np.corrcoef(naive.predict(images), truth)[0, 1] < 0.8
    for name, own in (("ours", y), ("theirs", mixed)):
        part = datasets == name
        errors = model.predict(images, dataset=name)[part] - own[part]
        assert np.abs(errors).mean() < np.abs(own[part] - own[part].mean()).mean()
    assert model.dataset_scales_["ours"] == (1.0, 0.0)
    assert model.dataset_scales_["theirs"][0] == pytest.approx(20)
    _, std = model.predict(images[:1], return_std=True)
    _, std_of_theirs = model.predict(images[:1], return_std=True, dataset="theirs")
    slope, _ = model.dataset_scales_["theirs"]
    np.testing.assert_allclose(std_of_theirs, slope * std)
    with pytest.raises(ValueError, match=r"dataset='hers', but fitted were \['ours', 'theirs'\]"):
        model.predict(images, dataset="hers")


def test_one_dataset_is_no_dataset(rated):
    images, y, groups = rated
    plain = tiny(epochs=1).fit(images, y, groups=groups)
    one = tiny(epochs=1).fit(images, y, groups=groups, datasets=np.zeros(len(y)))
    np.testing.assert_array_equal(one.predict(images), plain.predict(images))
    np.testing.assert_array_equal(one.predict(images, dataset=0.0), plain.predict(images))


def test_refusals(rated, tmp_path):
    images, y, groups = rated
    with pytest.raises(ValueError, match="two groups or more"):
        tiny().fit(images, y, groups=np.zeros(len(y)))
    with pytest.raises(ValueError, match="groups has 3 entries"):
        tiny().fit(images, y, groups=groups[:3])
    with pytest.raises(ValueError, match="window_size=None"):
        tiny(maps_dir="maps", window_size=48).fit(images, y, groups=groups)
    with pytest.raises(ValueError, match="y to be passed"):
        tiny().fit(images, None)
    with pytest.raises(ValueError, match="random_state to be an int, not None"):
        tiny(checkpoint_dir=tmp_path, random_state=None).fit(images, y)
    with pytest.raises(ValueError, match="no chain of stages"):
        tiny("test_mambaout", maps_dir=str(tmp_path)).fit(images, y, groups=groups)
    file = tmp_path / "file"
    file.touch()
    for name in ("checkpoint_dir", "maps_dir"):
        with pytest.raises(ValueError, match=f"{name}=.* is a file"):
            tiny(**{name: file}).fit(images, y, groups=groups)
    model = tiny()
    state = model.encoder.estimator.state_
    model.encoder.estimator.state_ = replace(state, networks=state.networks * 2)
    with pytest.raises(ValueError, match="several networks"):
        model.fit(images, y)


def test_callbacks_see_each_epoch_and_may_stop(rated, tmp_path):
    class Log:
        def __init__(self):
            self.tasks = []

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context, **kwargs):
            pass

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator=None, **kwargs):
            self.tasks.append(context.task_name)
            if context.task_name == "epoch":
                self.scores = fitted_estimator.predict(X)
                self.y = y
                return self.stop

    images, y, groups = rated
    for stop, n_epochs in ((False, 2), (True, 1)):
        log = Log()
        log.stop = stop
        model = tiny(checkpoint_dir=tmp_path).set_callbacks(log).fit(images, y, groups=groups)
        assert log.tasks.count("epoch") == n_epochs == model.n_iter_
        np.testing.assert_array_equal(log.scores, model.predict(images))
        np.testing.assert_array_equal(log.y, y)  # as given, not standardised
        assert not list(tmp_path.iterdir())
