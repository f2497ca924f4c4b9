import copy
import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
import ready_python
import torch
from conftest import TINY
from sklearn.datasets import load_sample_images

from skiqa import ContrastiveQualityEncoder
from skiqa._inputs.containers import as_image_list
from skiqa._inputs.resizing import pad_to
from skiqa._network.build import build, random_state_of
from skiqa._network.pooling import stage_statistics
from skiqa._network.state import EncoderState
from skiqa._network.weight_files import BUNDLED, load_state
from skiqa._training.checkpoints import NoFolder
from skiqa._training.drift import feature_drift
from skiqa._training.loop import train
from skiqa._training.schedule import Plan, cut_window, epoch_order, rate, sample_seeds
from skiqa._training.trainer import Trainer
from skiqa.exceptions import ImageError
from skiqa.objectives import Contrique, Objective, Qpt, Reiqa, nt_xent


def tiny(**parameters):
    defaults = {"weights": None, "epochs": 2, "batch_size": 4, "view_size": 64, "random_state": 0}
    return ContrastiveQualityEncoder(TINY, **defaults | parameters)


@pytest.fixture
def trainer():
    return make_trainer()


def make_trainer(dtype=None, objective=None, state=None, **changes):
    defaults = {"epochs": 1, "batch_size": 4, "view_size": 64, "train_statistics": True}
    plan = Plan(**defaults | {"learning_rate": 0.01, "weight_decay": 0.1} | changes)
    state, objective = state or random_state_of(TINY, 0), objective or Contrique()
    return Trainer(state, objective, plan, torch.device("cpu"), dtype, 0)


# Schedule, order, seeds --------------------------------------------------------------------------


def test_rate_warms_up_and_falls_to_zero():
    factors = [rate(step, 100) for step in range(101)]
    np.testing.assert_allclose(factors[:10], np.arange(1, 11) / 11)
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0, abs=1e-12)
    assert all(a > b for a, b in pairwise(factors[10:]))
    assert rate(10 + 30, 100) == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)))
    assert 0 < rate(0, 1) < 1


def test_rates_reach_the_optimiser(crops):
    seen = []

    class Watching(Silent):
        def step_ended(self, loss):
            seen.extend(group["lr"] for group in trainer.optimizer.param_groups)

    trainer = make_trainer(epochs=2, head_factor=5)
    run_loop(trainer, crops, hooks=Watching())
    expected = [0.01 * f * rate(step, 4) for step in range(4) for f in (1, 1, 5, 5)]
    np.testing.assert_allclose(seen, expected)


def test_a_new_projector_learns_as_from_scratch(crops, monkeypatch):
    plans = []
    note = lambda trainer, *_, **__: plans.append(trainer.plan)  # noqa: E731
    monkeypatch.setattr("skiqa._training.loop.train", note)
    for weights in ("default", None):
        backbone = None if weights else TINY
        encoder = ContrastiveQualityEncoder(backbone, weights=weights, batch_size=4, view_size=64)
        encoder.set_params(epochs=1, learning_rate=0.003).fit(crops)
    trained, scratch = plans
    assert trained.learning_rate == scratch.learning_rate == pytest.approx(0.003 * 4 / 512)
    assert trained.learning_rate * trained.head_factor == pytest.approx(0.6 * 4 / 512)
    assert scratch.head_factor == 1


class Silent:
    """Hooks that say nothing."""

    def epoch_begins(self, n_steps):
        pass

    def step_ended(self, loss):
        pass

    def epoch_ended(self, trainer):
        return False


def run_loop(trainer, images, hooks=None):
    options = {"n_jobs": None, "on_error": "raise", "folder": NoFolder()}
    unknown = np.full(len(images), -1)
    train(trainer, as_image_list(images), unknown, hooks=hooks or Silent(), **options)


def test_epochs_are_permutations_of_their_own():
    orders = [epoch_order(3, epoch, 50) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(50))
    assert not np.array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[2], epoch_order(3, 2, 50))
    assert not np.array_equal(orders[0], epoch_order(4, 0, 50))


def test_seeds_depend_on_epoch_and_position_alone():
    seeds = sample_seeds(7, 2, range(100))
    assert seeds.dtype == torch.int64
    assert len(set(seeds.tolist())) == 100
    assert torch.equal(sample_seeds(7, 2, [42, 3]), seeds[[42, 3]])
    everywhere = {int(s) for run in (7, 8) for e in (0, 2) for s in sample_seeds(run, e, range(50))}
    assert len(everywhere) == 200


def test_windows_are_cut_from_everywhere():
    image = np.arange(36, dtype=np.uint8).reshape(6, 6, 1).repeat(3, axis=2)
    tops = {int(cut_window(image, 4, seed)[0, 0, 0]) for seed in range(-50, 50)}
    assert tops == {row * 6 + column for row in range(3) for column in range(3)}
    assert cut_window(image, 9, 0).shape == (9, 9, 3)  # reflect-padded
    assert cut_window(image[:3], 5, 0, fill=False).shape == (3, 5, 3)
    np.testing.assert_array_equal(cut_window(image[:3], 9, 0, fill=False), image[:3])


# Optimiser ---------------------------------------------------------------------------------------


def test_only_matrices_and_kernels_decay(trainer):
    groups = trainer.optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0, 0.1, 0]
    assert {group["momentum"] for group in groups} == {0.9}
    decayed = [p for group in groups[::2] for p in group["params"]]
    others = [p for group in groups[1::2] for p in group["params"]]
    norms = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)
    free = set()
    for root in (trainer.network, trainer.head):
        for module in root.modules():
            if isinstance(module, norms):
                free |= {id(p) for p in module.parameters(recurse=False)}
            free |= {id(p) for name, p in module.named_parameters(recurse=False) if name == "bias"}
    assert {id(p) for p in others} == free
    assert not {id(p) for p in decayed} & free
    every = [*trainer.network.parameters(), *trainer.head.parameters()]
    assert len(decayed) + len(others) == len(every)


def test_batchnorm_statistics_move_only_from_scratch(crops):
    for moves in (True, False):
        trainer = make_trainer(train_statistics=moves)
        before = {k: v.clone() for k, v in trainer.network.model.state_dict().items()}
        run_loop(trainer, crops)
        after = trainer.network.model.state_dict()
        means = [k for k in before if k.endswith("running_mean")]
        assert any(not torch.equal(before[k], after[k]) for k in means) == moves
        assert not torch.equal(before["layer4.0.conv1.weight"], after["layer4.0.conv1.weight"])


def test_bfloat16_trains(crops):
    trainer = make_trainer(dtype=torch.bfloat16)
    run_loop(trainer, crops)
    assert math.isfinite(trainer.history[0]["loss"])
    assert all(p.dtype == torch.float32 for p in trainer.network.parameters())


# One seed, one result ----------------------------------------------------------------------------


def test_same_seed_same_bits_whatever_the_workers(crops):
    one, two = tiny().fit(crops), tiny(n_jobs=2).fit(crops)
    assert one.state_.digest == two.state_.digest
    assert one.loss_curve_ == two.loss_curve_
    assert all(np.array_equal(one.state_.head[k], two.state_.head[k]) for k in one.state_.head)
    assert tiny(random_state=1).fit(crops).state_.digest != one.state_.digest
    y = np.arange(8)
    assert tiny().fit(crops, y).state_.digest == one.state_.digest  # y is never looked at


CHILD = """
import sys
import time
import numpy as np
import torch
torch.set_num_threads(1)
import skiqa._training.checkpoints as checkpoints
from skiqa._training.trainer import Trainer
from skiqa import ContrastiveQualityEncoder
from skiqa.objectives import Qpt
checkpoints.CHECKPOINT_SECONDS = -1.0  # every step is kept
step_on = Trainer.step_on

def told(self, *args):
    loss = step_on(self, *args)
    print(self.step, flush=True)
    if self.step == 4:
        time.sleep(600)  # to be killed here, on however slow a machine
    return loss

Trainer.step_on = told
ContrastiveQualityEncoder(
    "test_resnet.r160_in1k", weights=None, epochs=3, batch_size=3, view_size=64, random_state=0,
    checkpoint_dir=sys.argv[2], objective=Qpt(queue_size=10),
).fit(np.load(sys.argv[1]), authentic=[True, False] * 4)
"""


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_killed_and_resumed_is_bit_equal(crops, tmp_path, monkeypatch):
    np.save(tmp_path / "images.npy", np.stack(crops))
    runs = tmp_path / "runs"
    child = ready_python.start("-c", CHILD, tmp_path / "images.npy", runs)
    for line in child.stdout:
        if int(line) == 4:  # of 6, two in each epoch
            child.kill()
            break
    _, errors = child.communicate()
    assert child.returncode != 0
    assert not errors
    assert len(list(runs.glob("*/step-*.pt"))) == 2

    steps, step_on = [], Trainer.step_on

    def noted(self, *args):
        loss = step_on(self, *args)
        steps.append(self.step)
        return loss

    monkeypatch.setattr(Trainer, "step_on", noted)
    X, marks = np.stack(crops), [True, False] * 4
    parameters = {"epochs": 3, "batch_size": 3, "objective": Qpt(queue_size=10)}
    resumed = tiny(**parameters, checkpoint_dir=runs).fit(X, authentic=marks)
    assert steps == [4, 5, 6]  # it went on from the checkpoint of step 3
    assert not list(runs.iterdir())  # the training ended well: nothing is left
    del steps[:]
    whole = tiny(**parameters).fit(X, authentic=marks)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert resumed.state_.digest == whole.state_.digest
    assert resumed.loss_curve_ == whole.loss_curve_
    assert resumed.n_iter_ == 3
    for name, array in whole.state_.head.items():
        np.testing.assert_array_equal(resumed.state_.head[name], array)


# Large batches in small parts ---------------------------------------------------------------------


def in_double(objective, **changes):
    """A trainer in float64, and a batch of views; its queue is filled with other photos' keys."""
    trainer = make_trainer(objective=objective, **changes)
    trainer.network.double()
    trainer.head.double()
    generator = torch.Generator().manual_seed(0)
    views = torch.rand(10, 3, 64, 64, generator=generator).double()
    if trainer.memory is not None:
        trainer.memory.network.double()
        trainer.memory.head.double()
        trainer.memory.keys = torch.randn(7, 128, generator=generator).double()
        trainer.memory.labels = torch.tensor([0, 1, 2, 100, 101, 102, 103])
        views = views[:5], views
    return trainer, views


def gradient(trainer):
    parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    return torch.cat([p.grad.flatten() for p in parameters])


@pytest.mark.parametrize("objective", [Contrique(), Qpt()], ids=["contrique", "qpt"])
@pytest.mark.parametrize("size", [1, 4])
def test_micro_batches_give_the_gradient_of_the_batch(objective, size):
    """The projector of CONTRIQUE normalises by the batch: by the whole one."""
    labels, results = torch.arange(5), []
    for micro_batch_size in (None, size):
        trainer, views = in_double(
            objective, train_statistics=False, micro_batch_size=micro_batch_size
        )
        loss, _, keys = trainer.gradients(views, labels, seed=3)
        results.append((loss, gradient(trainer), keys))
    (loss, slope, keys), (other_loss, other_slope, other_keys) = results
    assert float(loss) == pytest.approx(float(other_loss), rel=1e-13)
    assert slope.norm() > 1e-3
    torch.testing.assert_close(other_slope, slope, rtol=1e-9, atol=1e-13 * float(slope.abs().max()))
    if keys is not None:
        torch.testing.assert_close(other_keys, keys, rtol=1e-12, atol=1e-13)


def test_micro_batches_with_distillation_and_dropout():
    """The second run of the network draws the same dropout as the first."""
    slopes = []
    for size in (None, 3):
        trainer = make_trainer(train_statistics=False, start_penalty=0.5, micro_batch_size=size)
        with torch.no_grad():  # away from the start, where start_penalty has no slope
            for p in trainer.network.parameters():
                p.mul_(1.01)
        views = torch.rand(10, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        trainer.gradients(views, torch.arange(5), seed=3)
        slopes.append(gradient(trainer))
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-4 * float(slopes[0].abs().max()))
    trainer = make_trainer(micro_batch_size=3)
    trainer.network.model.drop = torch.nn.Dropout(0.5)
    trainer.network.maps = lambda x: [trainer.network.model.drop(x)]
    (first,), (second,) = (trainer._outputs(views[:3], 7) for _ in range(2))
    (other,) = trainer._outputs(views[:3], 8)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_batchnorm_sees_each_micro_batch_once():
    trainer, views = in_double(Contrique(), micro_batch_size=4)
    expected = copy.deepcopy(trainer.network)
    with torch.no_grad():
        for part in views.tensor_split(3):
            expected(trainer._input(part))
    trainer.gradients(views, torch.arange(5), seed=3)
    buffers = dict(expected.model.named_buffers())
    for name, buffer in trainer.network.model.named_buffers():
        if "running" in name:
            torch.testing.assert_close(buffer, buffers[name], rtol=1e-12, atol=1e-14)


def test_long_gradients_are_shortened(crops):
    def moved(**changes):
        trainer = make_trainer(weight_decay=0.0, **changes)
        parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
        before = [p.detach().clone() for p in parameters]
        windows = np.stack([np.pad(c, ((0, 88), (0, 72), (0, 0)), mode="reflect") for c in crops])
        n = len(crops)
        trainer.step_on(windows, torch.arange(n), torch.ones(n), torch.arange(n), 1.0)
        steps = [(p.detach() - b).flatten() for p, b in zip(parameters, before, strict=True)]
        return torch.cat(steps) / 0.01  # the rate: the first step is against the gradient

    free = moved()
    assert free.norm() > 0.02
    short = moved(max_grad_norm=0.01)
    assert float(short.norm()) == pytest.approx(0.01, rel=1e-3)
    assert float(torch.cosine_similarity(free, short, dim=0)) == pytest.approx(1, abs=1e-3)
    assert torch.equal(moved(max_grad_norm=1e6), free)


# Momentum encoder and queue ----------------------------------------------------------------------


def test_keys_enter_the_queue_after_the_step(crops):
    trainer = make_trainer(objective=Qpt(queue_size=10), learning_rate=1.0)
    sizes, start = [], {k: v.clone() for k, v in trainer.memory.network.state_dict().items()}

    class Watching(Silent):
        def step_ended(self, loss):
            sizes.append(len(trainer.memory.keys))

    run_loop(trainer, crops, hooks=Watching())
    assert sizes == [10, 10]  # 16 keys, 2 of each photo, have filled it before the first step
    order = epoch_order(0, 0, 8)
    assert trainer.memory.labels.tolist() == [*order[2:4], *order[4:], *order[4:]]
    now, network = trainer.memory.network.state_dict(), trainer.network.state_dict()
    for name in ("model.layer4.0.conv1.weight", "model.conv1.1.running_mean"):
        ahead, behind = network[name] - start[name], now[name] - start[name]
        assert 0 < behind.norm() < ahead.norm()
        assert torch.cosine_similarity(ahead.flatten(), behind.flatten(), dim=0) > 0.9


@pytest.mark.parametrize("objective", [Qpt(queue_size=12), Reiqa(n_degradations=1)], ids=repr)
def test_the_queue_is_full_before_the_first_step(objective, crops):
    """So the first loss is about that of chance, not 0, and has a gradient; no rise follows."""
    trainer = make_trainer(objective=objective, epochs=2)
    start = [p.detach().clone() for p in trainer.network.parameters()]
    seen = []

    class Watching(Silent):
        def step_ended(self, loss):
            moved = any(
                not torch.equal(p, b)
                for p, b in zip(trainer.network.parameters(), start, strict=True)
            )
            seen.append((loss, len(trainer.memory.keys), moved))

    run_loop(trainer, crops, hooks=Watching())
    size = min(objective.queue_size, 32)  # of Re-IQA's 65,536: the keys of eight photos
    assert {length for _, length, _ in seen} == {size}
    loss, _, moved = seen[0]
    assert moved
    assert loss > 0.5 * math.log(1 + size)


def test_partial_fit_goes_on_with_the_queue(crops):
    def encoder():
        return tiny(objective=Qpt(queue_size=10), random_state=3)

    one = encoder().partial_fit(crops).partial_fit(crops)
    two = pickle.loads(pickle.dumps(encoder().partial_fit(crops))).partial_fit(crops)
    assert one.state_.digest == two.state_.digest
    three = encoder().partial_fit(crops)
    assert three.training_state_["memory"]["keys"].shape == (10, 128)
    del three.training_state_["memory"]
    assert three.partial_fit(crops).state_.digest != one.state_.digest
    one.set_params(objective="contrique").partial_fit(crops)  # another objective starts anew
    assert "memory" not in one.training_state_


# Staying near the start --------------------------------------------------------------------------


def trained_by(crops, **changes):
    trainer = make_trainer(train_statistics=False, weight_decay=0.0, **changes)
    run_loop(trainer, crops)
    return trainer


def test_only_the_first_stages_are_trained(crops):
    start = random_state_of(TINY, 0).networks[0]
    trainer = trained_by(crops, trained_first_stages=2, learning_rate=0.1)
    network, _ = trainer.arrays()
    moved = {name.split(".")[0] for name in network if (network[name] != start[name]).any()}
    assert moved == {"conv1", "bn1", "layer1"}  # the stem is the first stage of a ResNet
    for count in (0, 6):
        with pytest.raises(ValueError, match=f"trained_first_stages={count}, but .* has 5 stages"):
            make_trainer(trained_first_stages=count)


def test_trained_stages_of_a_network_that_is_no_chain(crops):
    encoder = tiny(trained_first_stages=1).set_params(backbone="test_vit.r160_in1k")
    with pytest.raises(ValueError, match="no chain of stages"):
        encoder.fit(crops)


def test_feature_drift_by_hand():
    g = torch.tensor([[1.0], [3.0], [1.0], [3.0]])  # variance 1
    flat = torch.full((4, 1), 7.0)  # the same in the whole batch: left out
    start = torch.cat([g, flat], dim=1)
    assert float(feature_drift(start, start)) == 0
    moved = torch.cat([g + 0.5, flat + 9.0], dim=1)
    assert float(feature_drift(moved, start)) == pytest.approx(0.25 / 1.25)
    mean = torch.cat([torch.full_like(g, 2.0), flat], dim=1)
    assert float(feature_drift(mean, start)) == pytest.approx(0.5)


def test_start_penalty_holds_features_to_the_start(crops):
    state = load_state(BUNDLED)
    x = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) / 127.5 - 1
    start = build(state).eval()

    def drift(weight):
        rates = {"learning_rate": 0.0001, "weight_decay": 0.0}
        held = {"train_statistics": False, "start_penalty": weight}
        trainer = make_trainer(state=state, epochs=10, **rates, **held)
        run_loop(trainer, [pad_to(crop, 128) for crop in crops])  # as large as a window
        with torch.no_grad():
            maps = (stage_statistics(net.maps(x)) for net in (trainer.network, start))
            return float(feature_drift(*maps))

    free, held = drift(0.0), drift(10.0)
    assert 0 < held < 0.7 * free, (held, free)


# Learning ----------------------------------------------------------------------------------------


def test_loss_falls_below_the_plateau():
    """Twenty crops, each a class of its own, from scratch. Learning degradations takes minutes:
    a benchmark shows it.
    """
    photos = [
        image[top : top + 128, left : left + 128]
        for image in load_sample_images().images
        for top in (0, 180)
        for left in range(0, 560, 112)
    ]
    objective = Contrique(color_spaces=("rgb",))
    encoder = tiny(epochs=30, batch_size=20, learning_rate=2.0, objective=objective)
    encoder.fit(photos, authentic=[True] * 20)
    last = np.mean(encoder.loss_curve_[-5:])
    assert last < encoder.loss_curve_[0] - 0.7
    assert last < math.log(20 * 2 * 4 - 1) - 1.8  # the floor is log(7), 3.1 below the plateau


# Errors ------------------------------------------------------------------------------------------


def test_unreadable_images_raise_or_are_passed_over(crops, tmp_path):
    X = [*crops[:5], str(tmp_path / "missing.jpg"), *crops[5:]]
    with pytest.raises(ImageError, match=r"X\[5\] = .*missing\.jpg"):
        tiny(batch_size=3).fit(X)
    with pytest.warns(UserWarning, match="Passed over 1 images") as caught:
        encoder = tiny(batch_size=3, on_error="nan", checkpoint_dir=tmp_path).fit(X)
    assert len(caught) == 2  # once an epoch
    assert encoder.n_iter_ == 2
    assert np.isfinite(encoder.transform(crops[:1])).all()
    with pytest.raises(ValueError, match="Only 1 of 3 images of a batch can be read"):
        tiny(batch_size=3, on_error="nan").fit([crops[0], "a.jpg", "b.jpg"])


class Exploding(Contrique):
    def loss(self, projections, labels):
        return super().loss(projections, labels) * torch.inf


def test_nonfinite_loss_says_what_to_do(crops):
    with pytest.raises(ValueError, match=r"loss became (inf|nan) in step 1.*learning_rate \(now"):
        tiny(objective=Exploding()).fit(crops)


# Objectives of others ----------------------------------------------------------------------------


class Halves(Objective):
    """The smallest objective: two views of an image attract. Its network has dropout."""

    defaults_scratch = defaults_pretrained = {
        "batch_size": 4,
        "view_size": 64,
        "learning_rate": 0.1,
        "weight_decay": 0.0,
    }
    learning_rate_batch = 4

    def window_size(self, view_size):
        return view_size

    def head(self, n_features):
        return torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(n_features, 8))

    def views(self, windows, indices, authentic, seeds, view_size):
        return torch.cat([windows, windows.flip(3)]), indices

    def pool(self, maps):
        return maps.mean(dim=(2, 3))

    def loss(self, projections, labels):
        return nt_xent(projections, labels.repeat(2))


def test_own_objectives_and_dropout_draw_from_the_seed(crops):
    before = torch.get_rng_state()
    one, two = (tiny(objective=Halves()).fit(crops) for _ in range(2))
    assert one.state_.digest == two.state_.digest
    assert torch.equal(before, torch.get_rng_state())
    assert isinstance(one.objective_, Halves)


def test_state_of_training_is_numpy(crops):
    state = tiny().fit(crops).state_
    assert isinstance(state, EncoderState)
    for arrays in (*state.networks, state.head):
        assert {type(array) for array in arrays.values()} == {np.ndarray}
