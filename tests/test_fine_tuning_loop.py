"""The epochs of a fine-tuning: which network is kept, and going on after an interruption."""

import os
import pickle
import signal
import textwrap

import numpy as np
import pytest
import ready_python
import torch
from fine_tuning_parts import rated_crops, tiny

from skiqa._fine_tuning import loop
from skiqa._fine_tuning.held_out import HeldOut
from skiqa._fine_tuning.loop import FineTuningRun
from skiqa._fine_tuning.tuner import FineTuner


@pytest.fixture
def rated(photo_paths):
    return rated_crops(photo_paths)


def choose(monkeypatch, *choices):
    """Let the held-out part choose each epoch's network or not, one after the other."""
    choices = iter(choices)
    monkeypatch.setattr(HeldOut, "is_as_good", lambda self, scores: next(choices))


def test_the_chosen_epoch_is_kept(rated, monkeypatch):
    images, y, groups = rated
    choose(monkeypatch, True, False)
    seen, to_arrays = [], loop.to_arrays
    monkeypatch.setattr(
        loop, "to_arrays", lambda module: seen.append(to_arrays(module)) or seen[-1]
    )
    model = tiny().fit(images, y, groups=groups)
    assert model.best_epoch_ == 1
    for name, array in model.pipeline_[0].state_.networks[0].items():
        np.testing.assert_array_equal(array, seen[0][name])


def test_the_best_network_outlives_an_interruption(rated, tmp_path, monkeypatch):
    """Found before it: its features are not in the checkpoint, its weights are."""
    images, y, groups = rated
    train_epoch = FineTuningRun.train_epoch
    choose(monkeypatch, True, False)

    def interrupted(self, epoch, **kwargs):
        if epoch == 1:
            raise KeyboardInterrupt
        return train_epoch(self, epoch, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(FineTuningRun, "train_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny(checkpoint_dir=tmp_path).fit(images, y, groups=groups)
    resumed = tiny(checkpoint_dir=tmp_path).fit(images, y, groups=groups)
    choose(monkeypatch, True, False)
    whole = tiny().fit(images, y, groups=groups)
    assert resumed.best_epoch_ == whole.best_epoch_ == 1
    np.testing.assert_array_equal(resumed.predict(images), whole.predict(images))


def test_what_would_train_otherwise_has_its_own_checkpoints(rated, tmp_path, monkeypatch):
    images, y, groups = rated

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(FineTuningRun, "train_epoch", interrupted)

    def folders(model, y=y, **more):
        model.checkpoint_dir = tmp_path
        with pytest.raises(KeyboardInterrupt):
            model.fit(images, y, groups=groups, **more)
        return len(list(tmp_path.iterdir()))

    assert folders(tiny()) == folders(tiny(n_jobs=2, verbose=1)) == 1
    half = tiny()
    half.encoder.estimator.precision = "bfloat16"
    changed = [half, tiny(scales=(1.0,)), tiny("test_resnet.r160_in1k")]
    numbers = {"alpha": 1.0, "batch_size": 5, "random_state": 1, "validation_fraction": 0.3}
    changed += [tiny(**{name: number}) for name, number in numbers.items()]
    assert [folders(model) for model in changed] == [*range(2, 9)]
    assert folders(tiny(), y=y[::-1]) == 9
    assert folders(tiny(), datasets=groups % 2) == 10


SCRIPT = """
import pickle, sys, time
sys.path.insert(0, {tests!r})
from fine_tuning_parts import tiny
import skiqa._training.checkpoints as checkpoints
from skiqa._fine_tuning.tuner import FineTuner
checkpoints.CHECKPOINT_SECONDS = 0.0
images, y, groups = pickle.load(open({data!r}, "rb"))
old = FineTuner.step_on
def step_on(self, *args):
    loss = old(self, *args)
    print("step", self.step, flush=True)
    time.sleep(0.2)
    return loss
FineTuner.step_on = step_on
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
    env = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = ready_python.start("-c", script, env=env)
    for line in process.stdout:
        if line.startswith("step 3"):
            process.kill()
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert list(folder.glob("*/step-*.pt"))
    steps, step_on = [], FineTuner.step_on

    def counted(self, *args):
        steps.append(self.step)
        return step_on(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FineTuner, "step_on", counted)
        resumed = tiny(checkpoint_dir=folder, semantic_noise=1.0).fit(images, y, groups=groups)
    whole = tiny(semantic_noise=1.0).fit(images, y, groups=groups)
    assert steps[0] >= 2  # it did go on
    np.testing.assert_array_equal(resumed.predict(images), whole.predict(images))
    for ours, theirs in zip(resumed.history_, whole.history_, strict=True):
        np.testing.assert_equal(ours | {"seconds": 0}, theirs | {"seconds": 0})
    assert not list(folder.iterdir())
