"""FeatureMatchingQualityRegressor: tokens, panel, matched noise, students, and its manners."""

import os
import pickle
import signal
import textwrap

import numpy as np
import pytest
import ready_python
import torch
from fine_tuning_parts import rated_crops
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks

from skiqa import ContrastiveQualityEncoder, FeatureMatchingQualityRegressor, persistence
from skiqa._fine_tuning.held_out import HeldOut
from skiqa._fine_tuning.panel import AttentionPanel
from skiqa._fine_tuning.panel_tuner import PanelTuner
from skiqa._fine_tuning.tuner import Tuner
from skiqa._network.build import random_state_of

ALL = {"matching": 1.0, "consistency": 1.0, "selection": 0.01, "ranking": 0.5, "memory": 8}


def matcher(backbone="test_efficientnet", scales=(1.0,), **parameters):
    encoder = ContrastiveQualityEncoder(scales=scales).with_state(random_state_of(backbone, 0))
    defaults = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "alpha": 1e-3, "width": 16}
    defaults |= {"token_grid": 2, "random_state": 0}
    return FeatureMatchingQualityRegressor(FrozenEstimator(encoder), **defaults | parameters)


@pytest.fixture
def rated(photo_paths):
    return rated_crops(photo_paths)


@pytest.fixture
def every_epoch_is_kept(monkeypatch):
    monkeypatch.setattr(HeldOut, "is_as_good", lambda self, scores: True)


@parametrize_with_checks([matcher(batch_size=32, matching=1.0, consistency=1.0)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.usefixtures("every_epoch_is_kept")
@pytest.mark.parametrize(
    ("backbone", "parameters"),
    [
        ("test_efficientnet", ALL | {"token_stages": 2}),
        ("test_efficientnet", {"maps_dir": "maps", "n_queries": 0, "trained_last_stages": 0}),
        ("test_vit", {"window_size": 48, "residual": False, "n_queries": 1}),
    ],
)
def test_same_seed_same_scores_and_files(rated, backbone, parameters, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, y, groups = rated
    model = matcher(backbone, **parameters)
    first, spread = model.fit(images, y, groups=groups).predict(images, return_std=True)
    assert model.best_epoch_ == 1
    again = clone(model).set_params(n_jobs=2).fit(images, y, groups=groups)
    np.testing.assert_array_equal(again.predict(images), first)
    assert (spread > 0).all() == (model.n_queries > 1)
    assert b"torch._utils" not in pickle.dumps(model)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(images), first)
    persistence.save(model, tmp_path / "model.skops")
    loaded = persistence.load(tmp_path / "model.skops")
    np.testing.assert_array_equal(loaded.predict(images), first)


@pytest.mark.usefixtures("every_epoch_is_kept")
def test_kept_maps_change_nothing_but_the_time(rated, tmp_path):
    images, y, groups = rated
    plain = matcher(**ALL, token_stages=3).fit(images, y, groups=groups)
    kept = matcher(**ALL, token_stages=3, maps_dir=tmp_path).fit(images, y, groups=groups)
    np.testing.assert_allclose(kept.predict(images), plain.predict(images), atol=1e-2)
    losses = [model.history_[1]["loss"] for model in (plain, kept)]
    np.testing.assert_allclose(*losses, rtol=2e-2)
    with pytest.raises(ValueError, match="token_stages=4, but there are maps of 3 stages"):
        matcher(token_stages=4, maps_dir=tmp_path).fit(images, y, groups=groups)


@pytest.mark.usefixtures("every_epoch_is_kept")
def test_the_panel_is_added_to_the_ridge_and_the_selector_is_in_its_path(rated):
    images, y, groups = rated
    model = matcher(selection=0.01, panel_learning_rate=1e-2).fit(images, y, groups=groups)
    scores, by_ridge = model.predict(images), model.pipeline_.predict(images)
    assert np.abs(scores - by_ridge).max() > 1e-3
    arrays = model.panel_["arrays"]
    shut = arrays | {"selector.bias": np.full(16, -30.0, np.float32)}
    model.panel_ = model.panel_ | {"arrays": shut}
    moved = model.predict(images)
    assert np.abs(scores - moved).max() > 1e-4
    np.testing.assert_allclose(np.ptp(moved - by_ridge), 0, atol=1e-4)  # all see the same nothing
    alone = matcher(residual=False).fit(images, 10 * y, groups=groups)
    assert np.abs(alone.predict(images) - 10 * y.mean()).max() < 20  # level and unit of y


@pytest.mark.usefixtures("every_epoch_is_kept")
@pytest.mark.parametrize("residual", [True, False])
def test_scores_and_their_spread_are_in_the_unit_of_the_ratings(rated, residual):
    images, y, groups = rated
    model = matcher(residual=residual, panel_learning_rate=1e-2)
    first = model.fit(images, y, groups=groups).predict(images, return_std=True)
    second = clone(model).fit(images, 10 * y + 300, groups=groups)
    scores, spread = second.predict(images, return_std=True)
    np.testing.assert_allclose(scores, 10 * first[0] + 300, rtol=1e-4)
    np.testing.assert_allclose(spread, 10 * first[1], rtol=1e-2)
    if not residual:
        votes = [[1.0, 2.0, 6.0]]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AttentionPanel, "forward", lambda self, x: torch.tensor(votes))
            scores, spread = model.predict(images[:1], return_std=True)
        assert scores == pytest.approx(y.mean() + 3 * y.std())
        assert spread == pytest.approx(np.std(votes) * y.std())


def test_teacher_and_student_start_alike_and_never_see_what_is_held_out(rated, monkeypatch):
    """As told by their tuners and held-out parts; photos of weight 0 shift places."""
    images, y, groups = rated
    some = np.where(np.arange(24) % 3 == 1, np.nan, y)  # one of each content
    weight = np.ones(24)
    weight[[0, 5]] = 0.0
    starts, trained, held_out = [], [], []
    of_tuner, of_held_out = PanelTuner.__init__, HeldOut.__init__

    def tuner(self, plan, source, indices, *args):
        starts.append(source.extraction.state.digest)
        trained.append(indices)
        of_tuner(self, plan, source, indices, *args)

    def held(self, rows, rated, train, indices, alpha):
        np.testing.assert_array_equal(train, trained[-1])
        trained[-1] = rated.places[train]
        held_out.append(rated.places[indices])
        of_held_out(self, rows, rated, train, indices, alpha)

    monkeypatch.setattr(PanelTuner, "__init__", tuner)
    monkeypatch.setattr(HeldOut, "__init__", held)
    monkeypatch.setattr(HeldOut, "is_as_good", lambda self, scores: True)
    matcher(validation_fraction=0.3).fit(images, some, weight, groups=groups)
    assert starts[0] == starts[1]
    of_teacher, of_student = (set(places) for places in held_out)
    assert of_teacher == of_student
    assert not np.isnan(some[list(of_teacher)]).any()
    assert np.isnan(some[trained[1]]).any()
    for places in trained:
        assert not set(groups[places]) & set(groups[held_out[0]])


def test_training_that_only_harms_leaves_the_start(rated):
    images, y, groups = rated
    how = {"alpha": 1e-5, "validation_fraction": 0.5, "epochs": 0}
    frozen = matcher(**how).fit(images, y, groups=groups)
    model = matcher(**how | {"epochs": 1, "learning_rate": 0.3, "panel_learning_rate": 1.0})
    scores, spread = model.fit(images, y, groups=groups).predict(images, return_std=True)
    assert (model.best_epoch_, model.n_iter_, model.panel_) == (0, 1, None)
    np.testing.assert_array_equal(scores, frozen.predict(images))
    assert not spread.any()


@pytest.mark.usefixtures("every_epoch_is_kept")
def test_datasets_have_scales_of_their_own_with_the_ridge_and_without(rated):
    images, y, groups = rated
    datasets = np.where(groups < 4, "ours", "theirs")
    mixed = np.where(datasets == "ours", y, 100 - 20 * (5 - y))
    for residual in (True, False):
        model = matcher(residual=residual, **ALL)
        model.fit(images, mixed, groups=groups, datasets=datasets)
        slope, offset = model.dataset_scales_["theirs"]
        assert slope == pytest.approx(20, rel=0.01)
        ours, spread = model.predict(images, return_std=True)
        theirs, their_spread = model.predict(images, return_std=True, dataset="theirs")
        np.testing.assert_allclose(theirs, slope * ours + offset)
        np.testing.assert_allclose(their_spread, slope * spread)
    levels = [mixed[datasets == name].mean() for name in ("ours", "theirs")]
    assert slope * levels[0] + offset == pytest.approx(levels[1])  # no ridge: level to level
    with pytest.raises(ValueError, match="dataset='hers'"):
        model.predict(images, dataset="hers")


@pytest.mark.usefixtures("every_epoch_is_kept")
def test_a_student_learns_from_what_the_teacher_rated(rated):
    images, y, groups = rated
    some = y.copy()
    some[groups % 3 == 1] = np.nan
    weight = np.ones(len(y))
    weight[np.flatnonzero(np.isnan(some))[0]] = 0.0  # nobody rated it, and it is not there
    model = matcher(token_matching=1.0, **ALL).fit(images, some, weight, groups=groups)
    asked = np.isnan(some) & (weight > 0)
    teacher = matcher(**ALL)
    teacher.fit(images, y, ~np.isnan(some), groups=groups)
    rated_by_it, spread = teacher.predict(images, return_std=True)
    np.testing.assert_allclose(model.transduction_[asked], rated_by_it[asked], rtol=1e-4)
    expected = 1 / (1 + (spread[asked] / np.median(spread[asked])) ** 2)
    np.testing.assert_allclose(model.confidence_[asked], expected, rtol=1e-2)
    assert (model.confidence_[~asked] == 1).all()
    assert np.isnan(model.transduction_).sum() == 1
    assert model.teacher_history_[1]["loss"] == pytest.approx(teacher.history_[1]["loss"])
    plain = clone(model).set_params(token_matching=0.0).fit(images, some, weight, groups=groups)
    assert np.abs(plain.predict(images) - model.predict(images)).max() > 1e-6


@pytest.mark.usefixtures("every_epoch_is_kept")
def test_a_student_may_be_another_network_and_see_windows(rated):
    images, y, groups = rated
    some = np.where(groups == 3, np.nan, y)
    other = ContrastiveQualityEncoder(scales=(1.0, 0.5))
    other = FrozenEstimator(other.with_state(random_state_of("test_resnet.r160_in1k", 0)))
    model = matcher(student=other, token_matching=1.0, window_size=48)
    model.fit(images, some, groups=groups)
    assert model.pipeline_[0].state_.backbone == "test_resnet.r160_in1k"
    assert np.isfinite(model.predict(images)).all()


def test_refusals(rated, tmp_path):
    images, y, groups = rated
    with pytest.raises(ValueError, match="a score for 1 of n_samples = 24"):
        matcher().fit(images, np.where(np.arange(24) == 3, y, np.nan))
    with pytest.raises(ValueError, match=r"y_std\[2\] = 0.0"):
        matcher().fit(images, y, y_std=np.where(np.arange(24) == 2, 0.0, 1.0))
    with pytest.raises(ValueError, match="y_std has shape"):
        matcher().fit(images, y, y_std=[1.0])
    some, names = np.where(groups == 3, np.nan, y), np.where(groups == 3, "b", "a")
    with pytest.raises(ValueError, match=r"datasets \['b'\] have no rated image"):
        matcher(epochs=0).fit(images, some, groups=groups, datasets=names)
    with pytest.raises(ValueError, match="random_state to be an int"):
        matcher(checkpoint_dir=tmp_path, random_state=None).fit(images, y)
    with pytest.raises(ValueError, match="maps of 5 stages"):
        matcher(token_stages=9).fit(images, y, groups=groups)


def test_callbacks_see_the_epochs_of_both_and_may_stop_each(rated, tmp_path):
    class Log:
        def __init__(self):
            self.tasks, self.scores = [], []

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context, **kwargs):
            pass

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator=None, **kwargs):
            self.tasks.append(context.task_name)
            if context.task_name == "epoch":
                self.scores.append(fitted_estimator.predict(X))
                return True

    images, y, groups = rated
    log = Log()
    model = matcher(checkpoint_dir=tmp_path, epochs=2).set_callbacks(log)
    model.fit(images, np.where(groups == 3, np.nan, y), groups=groups)
    assert log.tasks.count("epoch") == 2  # one of each
    assert len(model.history_) == len(model.teacher_history_) == 2
    np.testing.assert_array_equal(log.scores[-1], model.predict(images))
    assert not list(tmp_path.iterdir())


SCRIPT = """
import pickle, sys, time
sys.path.insert(0, {tests!r})
from test_feature_matching import interruptible
import skiqa._training.checkpoints as checkpoints
from skiqa._fine_tuning.tuner import Tuner
checkpoints.CHECKPOINT_SECONDS = 0.0
images, some, groups = pickle.load(open({data!r}, "rb"))
old, steps = Tuner.step_on, 0
def step_on(self, *args):
    global steps
    loss, steps = old(self, *args), steps + 1
    print("step", steps, flush=True)
    time.sleep(0.2)
    return loss
Tuner.step_on = step_on
interruptible({folder!r}).fit(images, some, groups=groups)
"""


def interruptible(folder):
    return matcher(**ALL, batch_size=5, token_matching=1.0, checkpoint_dir=folder)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_goes_on_bit_for_bit_after_kill_9_in_each_phase(rated, tmp_path):
    """Killed in the teacher's epoch; gone on with, and killed in the student's; gone on with."""
    images, y, groups = rated
    some = np.where(groups == 3, np.nan, y)
    (tmp_path / "data").write_bytes(pickle.dumps((images, some, groups)))
    folder = tmp_path / "checkpoints"
    script = textwrap.dedent(SCRIPT).format(
        tests=os.path.dirname(__file__), data=str(tmp_path / "data"), folder=str(folder)
    )
    env = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    for last in (2, 4):  # the teacher has three steps
        process = ready_python.start("-c", script, env=env)
        for line in process.stdout:
            if line.startswith(f"step {last}"):
                process.kill()
                break
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert len(list(folder.iterdir())) == 2  # the teacher's, at its end, and the student's
    steps, step_on = [], Tuner.step_on
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tuner, "step_on", lambda self, *a: steps.append(0) or step_on(self, *a))
        resumed = interruptible(folder).fit(images, some, groups=groups)
    assert len(steps) < 4  # it did go on
    whole = interruptible(None).fit(images, some, groups=groups)
    np.testing.assert_array_equal(resumed.predict(images), whole.predict(images))
    np.testing.assert_array_equal(resumed.transduction_, whole.transduction_)
    for name in ("history_", "teacher_history_"):
        for ours, theirs in zip(getattr(resumed, name), getattr(whole, name), strict=True):
            np.testing.assert_equal(ours | {"seconds": 0}, theirs | {"seconds": 0})
    assert not list(folder.iterdir())
