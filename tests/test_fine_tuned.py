"""FineTunedQualityRegressor: its start, what is kept, resuming, and scikit-learn's manners."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import skiqa._encoder
import skiqa._fine_tuned
import skiqa._inputs.images
from skiqa import ContrastiveQualityEncoder, FineTunedQualityRegressor, persistence
from skiqa._fine_tuning.held_out import HeldOut, Rated, mean_srocc
from skiqa._network.state import random_state_of
from skiqa._network.weight_files import state_to_tensors, write_file
from skiqa.exceptions import ImageError


def tiny(backbone="test_efficientnet", scales=(1.0, 0.5), **parameters):
    encoder = ContrastiveQualityEncoder(scales=scales)
    encoder.state_ = random_state_of(backbone, 0)
    encoder.backbone_name_ = backbone
    defaults = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "random_state": 0,
                "trained_last_stages": 2, "alpha": 1e-3}  # fmt: skip
    return FineTunedQualityRegressor(FrozenEstimator(encoder), **defaults | parameters)


@parametrize_with_checks([tiny(scales=(1.0,), epochs=1, batch_size=32)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture
def rated(photo_paths):
    """Crops of two photos of two sizes, the more pixels are gone the worse."""
    images, y, groups = [], [], []
    for place in range(8):
        with Image.open(photo_paths[place % 2]) as photo:
            crop = photo.crop((50 * place, 100, 50 * place + 64 + 16 * (place % 3), 180))
        for k in (1, 2, 4):
            small = crop.resize((crop.width // k, crop.height // k))
            images.append(np.asarray(small.resize(crop.size)))
            y.append(5.0 - k + 0.1 * place)
            groups.append(place)
    return images, np.array(y), np.array(groups)


def test_start_is_the_frozen_pipeline(rated):
    images, y, groups = rated
    model = tiny(epochs=0).fit(images, y, groups=groups)
    pipeline = make_pipeline(model.encoder, Ridge(1e-3)).fit(images, y)
    np.testing.assert_allclose(model.predict(images), pipeline.predict(images), rtol=1e-4)
    assert model.best_epoch_ == model.n_iter_ == 0


def test_training_that_only_harms_leaves_the_start(rated):
    images, y, groups = rated
    model = tiny(learning_rate=0.3, alpha=1e-5).fit(images, y, groups=groups)
    start, *trained = (h["validation_srocc"] for h in model.history_)
    assert max(trained) < start
    frozen = tiny(epochs=0, alpha=1e-5).fit(images, y, groups=groups)
    assert (model.n_iter_, model.best_epoch_) == (2, 0)
    np.testing.assert_array_equal(model.predict(images), frozen.predict(images))


def test_the_error_of_a_rank_counts_contents_not_images():
    rng = np.random.default_rng(3)
    y, a, b = np.repeat(rng.normal(size=(3, 12)), 40, axis=1) + 0.3 * rng.normal(size=(3, 480))
    taken = []
    for groups in (np.arange(480), np.repeat(np.arange(12), 40), np.arange(480) % 12):
        data = Rated(None, y, groups, np.zeros(480, np.intp))
        held_out = HeldOut(y[:, None], data, (np.arange(480),) * 2, 1e-6)
        held_out.start, held_out.best = -1.0, torch.from_numpy(y + 0.5 * a)
        taken.append(bool(held_out.takes((y + 0.8 * b)[:, None])))  # .905 beside .952
    assert taken == [False, True, False]  # the last contents are all alike: which are drawn is one


def test_a_network_that_ranks_nothing_is_the_worst():
    y, datasets = np.array([1.0, 2, 3, 1, 2, 3]), np.array([0, 0, 0, 1, 1, 1])
    mean = mean_srocc
    assert mean(y, np.array([1.0, 2, 3, 3, 2, 1]), datasets) == pytest.approx(0)
    assert mean(y, np.array([1.0, 2, 3, 5, 5, 5]), datasets) == pytest.approx(0)
    assert mean(y[:4], np.array([1.0, 3, 2, 0]), datasets[:4]) == pytest.approx(0.5)  # one alone
    assert mean(y[:1], y[:1], datasets[:1]) == -1


def test_equal_ratings_have_no_scale():
    level, spread = skiqa._fine_tuned._scales(
        np.array([0.1, 0.1, 0.1, 1, 3]), np.array([0] * 3 + [1] * 2)
    )
    np.testing.assert_allclose(level, [0.1, 2])
    assert spread.tolist() == [1, 1]


def taking(monkeypatch, *choices):
    """Let the held-out part take or leave each epoch, one after the other."""
    choices = iter(choices)
    monkeypatch.setattr(HeldOut, "takes", lambda self, rows: next(choices))


def test_a_later_epoch_is_taken_unless_it_is_clearly_worse():
    rng = np.random.default_rng(0)
    y = rng.normal(size=200)
    data = Rated(None, y, np.arange(200), np.zeros(200, np.intp))
    rows = (y + rng.normal(size=200))[:, None]
    held_out = HeldOut(rows, data, (np.arange(200), np.arange(200)), 1.0)

    def noisy(scale, seed):
        return (y + scale * np.random.default_rng(seed).normal(size=200))[:, None]

    good, as_good, worse = noisy(0.5, 1), noisy(0.55, 2), noisy(0.8, 3)
    better, fewer = held_out.rank(good), held_out.rank(as_good)
    assert better - 0.03 < fewer < better
    assert better > held_out.rank(worse) + 0.05 > held_out.rank(rows) + 0.05
    assert not held_out.takes(rows)  # as good as the start is not better
    assert [held_out.takes(r) for r in (good, as_good, worse, good)] == [True, True, False, True]


def test_the_chosen_epoch_is_kept(rated, monkeypatch):
    images, y, groups = rated
    taking(monkeypatch, True, False)
    seen, to_arrays = [], skiqa._fine_tuned.to_arrays
    monkeypatch.setattr(
        skiqa._fine_tuned, "to_arrays", lambda module: seen.append(to_arrays(module)) or seen[-1]
    )
    model = tiny().fit(images, y, groups=groups)
    assert model.best_epoch_ == 1
    for name, array in model.pipeline_[0].state_.networks[0].items():
        np.testing.assert_array_equal(array, seen[0][name])


@pytest.mark.parametrize(
    ("backbone", "parameters"),
    [
        ("test_efficientnet", {"ranking": 1.0, "semantic_noise": 1.0}),
        ("test_efficientnet", {"window_size": 48, "start_penalty": 1.0}),
        ("test_efficientnet", {"maps_dir": "maps"}),
        ("test_vit", {"trained_last_stages": None}),
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


def test_groups_are_never_split(rated):
    groups = rated[2]
    train, held_out = tiny()._split(groups, 0)
    assert len(held_out)
    assert not set(groups[train]) & set(groups[held_out])


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
    taking(monkeypatch, True, False)
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
    monkeypatch.setattr(skiqa._fine_tuned, "train_epoch", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.set_params(epochs=1).fit(images, y, groups=groups)
    assert model.pipeline_ is before["pipeline_"]
    assert model.history_ is before["history_"]


def test_a_file_is_an_encoder(rated, tmp_path):
    images, y, groups = rated
    tensors, header = state_to_tensors(random_state_of("test_efficientnet", 0))
    write_file(
        tmp_path / "start.skiqa",
        {f"encoder.{k}": v for k, v in tensors.items()},
        {"encoder": header},
    )
    model = FineTunedQualityRegressor(tmp_path / "start.skiqa", epochs=0, alpha=1e-3)
    expected = tiny(epochs=0).fit(images, y, groups=groups).predict(images)
    np.testing.assert_allclose(model.fit(images, y, groups=groups).predict(images), expected)


def test_a_name_of_timm_is_an_encoder_with_its_own_weights(rated, monkeypatch):
    images, y, groups = rated
    state = random_state_of("test_efficientnet", 7)
    monkeypatch.setattr(skiqa._encoder, "timm_state", {"test_efficientnet": state}.__getitem__)
    model = FineTunedQualityRegressor("test_efficientnet", epochs=0, alpha=1e-3)
    model.fit(images, y, groups=groups)
    assert model.pipeline_[0].state_.backbone == "test_efficientnet"
    np.testing.assert_array_equal(
        model.pipeline_[0].state_.networks[0]["conv_stem.weight"],
        state.networks[0]["conv_stem.weight"],
    )


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
    decoded, load = [], skiqa._inputs.images.ImageList.load
    monkeypatch.setattr(
        skiqa._inputs.images.ImageList, "load", lambda self, i: decoded.append(i) or load(self, i)
    )
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
    with pytest.raises(TypeError, match="Ridge"):
        skiqa._fine_tuned.FineTunedQualityRegressor(FrozenEstimator(Ridge()))._start(images)
    with pytest.raises(ValueError, match="window_size=None"):
        tiny(maps_dir="maps", window_size=48).fit(images, y, groups=groups)
    with pytest.raises(ValueError, match="y to be passed"):
        tiny().fit(images, None)
    with pytest.raises(ValueError, match="random_state to be an int, not None"):
        tiny(checkpoint_dir=tmp_path, random_state=None).fit(images, y)
    with pytest.raises(ValueError, match="no chain of stages"):
        tiny("test_vit", maps_dir=str(tmp_path)).fit(images, y, groups=groups)
    model = tiny()
    state = model.encoder.estimator.state_
    model.encoder.estimator.state_ = state.replace(networks=state.networks * 2)
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


def test_the_best_network_outlives_an_interruption(rated, tmp_path, monkeypatch):
    """Found before it: its features are not in the checkpoint, its weights are."""
    images, y, groups = rated
    trained = skiqa._fine_tuned.train_epoch
    taking(monkeypatch, True, False)

    def interrupted(*args, epoch, **kwargs):
        if epoch == 1:
            raise KeyboardInterrupt
        return trained(*args, epoch=epoch, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(skiqa._fine_tuned, "train_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny(checkpoint_dir=tmp_path).fit(images, y, groups=groups)
    resumed = tiny(checkpoint_dir=tmp_path).fit(images, y, groups=groups)
    taking(monkeypatch, True, False)
    whole = tiny().fit(images, y, groups=groups)
    assert resumed.best_epoch_ == whole.best_epoch_ == 1
    np.testing.assert_array_equal(resumed.predict(images), whole.predict(images))


def test_what_would_train_otherwise_has_its_own_checkpoints(rated, tmp_path, monkeypatch):
    images, y, groups = rated

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(skiqa._fine_tuned, "train_epoch", interrupted)

    def folders(model, y=y, **more):
        model.checkpoint_dir = tmp_path
        with pytest.raises(KeyboardInterrupt):
            model.fit(images, y, groups=groups, **more)
        return len(list(tmp_path.iterdir()))

    assert folders(tiny()) == folders(tiny(n_jobs=2, verbose=1)) == 1
    half = tiny()
    half.encoder.estimator.precision = "bfloat16"
    changed = [half, tiny(scales=(1.0,)), tiny(alpha=1.0), tiny(batch_size=5), tiny(random_state=1),
               tiny(validation_fraction=0.3), tiny("test_resnet.r160_in1k")]  # fmt: skip
    assert [folders(model) for model in changed] == [*range(2, 9)]
    assert folders(tiny(), y=y[::-1]) == 9
    assert folders(tiny(), datasets=groups % 2) == 10


SCRIPT = """
import sys, pickle, numpy as np, skiqa._fine_tuning.loop as loop
import skiqa._fine_tuning.tuner as f
sys.path.insert(0, {tests!r})
from test_fine_tuned import tiny
loop._CHECKPOINT_SECONDS = 0.0
images, y, groups = pickle.load(open({data!r}, "rb"))
old = f.FineTuner.step_on
def step_on(self, *args):
    import time
    loss = old(self, *args)
    print("step", self.step, flush=True)
    time.sleep(0.2)
    return loss
f.FineTuner.step_on = step_on
tiny(checkpoint_dir={folder!r}, semantic_noise=1.0).fit(images, y, groups=groups)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_goes_on_bit_for_bit_after_kill_9(rated, tmp_path):
    images, y, groups = rated
    with open(tmp_path / "data", "wb") as file:
        pickle.dump(rated, file)
    folder = tmp_path / "checkpoints"
    script = textwrap.dedent(SCRIPT).format(
        tests=os.path.dirname(__file__), data=str(tmp_path / "data"), folder=str(folder)
    )
    threads = str(torch.get_num_threads())
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": threads},
    )  # fmt: skip
    with process:
        for line in process.stdout:
            if line.startswith("step 3"):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert list(folder.glob("*/step-*.pt"))
    steps, step_on = [], skiqa._fine_tuned.FineTuner.step_on

    def counted(self, *args):
        steps.append(self.step)
        return step_on(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skiqa._fine_tuned.FineTuner, "step_on", counted)
        resumed = tiny(checkpoint_dir=folder, semantic_noise=1.0).fit(images, y, groups=groups)
    whole = tiny(semantic_noise=1.0).fit(images, y, groups=groups)
    assert steps[0] >= 2  # it did go on
    np.testing.assert_array_equal(resumed.predict(images), whole.predict(images))
    for ours, theirs in zip(resumed.history_, whole.history_, strict=True):
        np.testing.assert_equal(ours | {"seconds": 0}, theirs | {"seconds": 0})
    assert not list(folder.iterdir())
