import os
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from conftest import TINY

import skiqa._training.checkpoints
import skiqa._training.trainer
from skiqa import ContrastiveQualityEncoder
from skiqa._training.checkpoints import TrainingFolder


def encoder(folder, **parameters):
    defaults = {"weights": None, "epochs": 2, "batch_size": 4, "view_size": 64, "random_state": 0}
    return ContrastiveQualityEncoder(TINY, checkpoint_dir=folder, **defaults | parameters)


@pytest.fixture
def each_step(monkeypatch):
    monkeypatch.setattr(skiqa._training.checkpoints, "CHECKPOINT_SECONDS", -1.0)


class Stop(Exception):
    """Ends a fit in the middle."""


def interrupted(monkeypatch, folder, crops, after, **parameters):
    """Fit until a number of steps is done; return the run's folder."""
    step_on = skiqa._training.trainer.Trainer.step_on

    def failing(self, *args):
        if self.step == after:
            raise Stop
        return step_on(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(skiqa._training.trainer.Trainer, "step_on", failing)
        with pytest.raises(Stop):
            encoder(folder, **parameters).fit(crops)
    (run,) = folder.iterdir()
    return run


# The folder --------------------------------------------------------------------------------------


def test_newest_checkpoint_is_loaded_and_two_are_kept(tmp_path):
    with TrainingFolder(tmp_path, {"seed": 0}) as folder:
        assert folder.load() is None
        for step in (1, 2, 10):
            folder.save(step, {"step": step, "weights": torch.full((3,), float(step))})
        assert folder.load()["step"] == 10
        assert len(list(folder.path.glob("step-*.pt"))) == 2
        folder.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_torn_file_is_passed_over(tmp_path, damage):
    with TrainingFolder(tmp_path, {}) as folder:
        for step in (1, 2):
            folder.save(step, {"step": step})
        newest = max(folder.path.glob("step-*.pt"))
        data = bytearray(newest.read_bytes())
        data[100] ^= 1
        newest.write_bytes({"cut": data[:50], "flipped": data, "empty": b""}[damage])
        with pytest.warns(UserWarning, match="step-000000002.*damaged"):
            assert folder.load()["step"] == 1
        min(folder.path.glob("step-*.pt")).write_bytes(b"nothing")
        with pytest.warns(UserWarning, match="damaged"):
            assert folder.load() is None


def test_two_runs_never_share_a_folder(tmp_path):
    with TrainingFolder(tmp_path, {"seed": 0}):
        with pytest.raises(RuntimeError, match=r"Another fit.*another checkpoint_dir"):
            TrainingFolder(tmp_path, {"seed": 0}).__enter__()
        with TrainingFolder(tmp_path, {"seed": 1}) as other:
            assert other.path.is_dir()
    with TrainingFolder(tmp_path, {"seed": 0}):  # free again
        pass


def test_full_disk_warns_and_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    with TrainingFolder(tmp_path, {}) as folder:
        folder.save(1, {"step": 1})
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", full)
            with pytest.warns(UserWarning, match=r"could not be written.*No space left"):
                folder.save(2, {"step": 2})
        assert folder.load()["step"] == 1
        assert not list(folder.path.glob("*.tmp"))


def test_a_folder_of_no_use_is_said_before_the_work(tmp_path, monkeypatch):
    def denied(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match=r"checkpoint_dir='.*file' is a file"):
        TrainingFolder(file, {})
    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", denied)
        with pytest.raises(ValueError, match=r"checkpoint_dir=.*Permission denied"):
            TrainingFolder(tmp_path, {})
    folder = TrainingFolder(tmp_path, {})
    (folder.path / "lock").mkdir()  # nothing of this name can be opened, not even by root
    with pytest.raises(ValueError, match=r"checkpoint_dir=.*lock"):
        folder.__enter__()


# The fit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [1, 2, 3])
def test_fit_goes_on_and_cleans_up(tmp_path, crops, monkeypatch, each_step, after):
    whole = encoder(None).fit(crops)
    run = interrupted(monkeypatch, tmp_path, crops, after)
    assert len(list(run.glob("step-*.pt"))) == min(after, 2)
    resumed = encoder(tmp_path).fit(crops)
    assert resumed.state_.digest == whole.state_.digest
    assert resumed.loss_curve_ == whole.loss_curve_
    assert not list(tmp_path.iterdir())


def test_the_bar_goes_on_too(tmp_path, crops, monkeypatch, each_step):
    interrupted(monkeypatch, tmp_path, crops, after=3)
    steps = []

    @contextmanager
    def bar(description, total, *, enabled, unit="images"):
        yield lambda n=1, note="": steps.append(n)
        assert sum(steps) == total

    monkeypatch.setattr("skiqa._encoder.progress_bar", bar)
    encoder(tmp_path).fit(crops)
    assert steps[0] == 3


def test_torn_checkpoint_costs_no_bits(tmp_path, crops, monkeypatch, each_step):
    run = interrupted(monkeypatch, tmp_path, crops, after=3)
    max(run.glob("step-*.pt")).write_bytes(b"torn")
    with pytest.warns(UserWarning, match="damaged"):
        resumed = encoder(tmp_path).fit(crops)
    assert resumed.state_.digest == encoder(None).fit(crops).state_.digest


def test_resumed_after_the_last_epoch_has_its_history(tmp_path, crops, monkeypatch):
    whole = encoder(None).fit(crops)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingFolder, "remove", lambda self: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            encoder(tmp_path).fit(crops)
    resumed = encoder(tmp_path).fit(crops)
    assert resumed.n_iter_ == 2
    assert resumed.loss_curve_ == whole.loss_curve_
    assert resumed.state_.digest == whole.state_.digest


def test_killed_after_the_last_epoch_loses_nothing(tmp_path, crops, monkeypatch):
    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("skiqa._training.run.standardising_constants", killed)
        with pytest.raises(KeyboardInterrupt):
            encoder(tmp_path).fit(crops)
    again = []
    monkeypatch.setattr(
        skiqa._training.trainer.Trainer, "step_on", lambda *args: again.append(1) or 1.0
    )
    resumed = encoder(tmp_path).fit(crops)
    assert not again  # no step was left to do
    assert resumed.n_iter_ == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [{"random_state": 1}, {"epochs": 3}, {"view_size": 72}, {"learning_rate": 0.3}, "images"],
)
def test_other_runs_have_other_folders(tmp_path, crops, monkeypatch, each_step, change):
    run = interrupted(monkeypatch, tmp_path, crops, after=2)
    parameters = {} if change == "images" else change
    images = crops[::-1] if change == "images" else crops
    fresh = encoder(tmp_path, **parameters).fit(images)
    assert fresh.state_.digest == encoder(None, **parameters).fit(images).state_.digest
    assert list(tmp_path.iterdir()) == [run]  # untouched, for whoever fits that again


def test_two_fits_at_once(tmp_path, crops):
    class Second:
        """Fits the same again in the middle of a fit."""

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            if context.task_name == "batch":
                encoder(tmp_path).fit(crops)

        def on_fit_task_end(self, estimator, context):
            pass

    with pytest.raises(RuntimeError, match="Another fit"):
        encoder(tmp_path).set_callbacks(Second()).fit(crops)
    encoder(tmp_path).fit(crops)  # the lock went with the run that failed


def test_training_continues_when_nothing_can_be_written(tmp_path, crops, monkeypatch, each_step):
    def full(source, target):
        raise OSError(28, "No space left on device")

    whole = encoder(None).fit(crops)
    with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patch.setattr(os, "replace", full)
        fitted = encoder(tmp_path).fit(crops)
    assert any("could not be written" in str(w.message) for w in caught)
    assert fitted.state_.digest == whole.state_.digest
    assert np.isfinite(fitted.transform(crops)).all()


def test_unreadable_images_have_no_digest_but_a_run(tmp_path, crops):
    X = [*crops, "not there.png"]
    with pytest.warns(UserWarning, match="Passed over 1 images"):
        encoder(tmp_path, on_error="nan", batch_size=9).fit(X)
