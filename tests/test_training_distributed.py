"""Two processes on one machine (gloo) against one with the same global batch."""

import os
import sys

import numpy as np
import pytest
import ready_python
import torch
from conftest import TINY
from sklearn.datasets import load_sample_images
from timm.layers import BatchNormAct2d

from skiqa import ContrastiveQualityEncoder
from skiqa._network.build import random_state_of
from skiqa._training.distributed import (
    from_first,
    gather,
    maximum_over_processes,
    own_part,
    process_group,
    rank,
    synchronise_batchnorm,
    world_size,
)
from skiqa._training.schedule import Plan
from skiqa._training.trainer import Trainer
from skiqa.objectives import OBJECTIVES

CASES = {
    "contrique, BatchNorm of the batch": ("contrique", {"train_statistics": True}),
    "contrique, micro-batches": ("contrique", {"micro_batch_size": 4}),
    "weighted": ("weighted", {}),
    "arniqa": ("arniqa", {}),
    "qpt": ("qpt", {"train_statistics": True}),
    "reiqa": ("reiqa", {}),
}
# A micro-batch of BatchNorm is one of both processes: no single process has such batches.
BOTH = ("contrique", {"train_statistics": True, "micro_batch_size": 4})
N, UNEVEN = 6, (4, 2)  # photos, of which so many are the first and the second process's


def of(views, mine):
    return views.unflatten(0, (-1, N))[:, mine].flatten(0, 1)


def step(name, changes, mine):
    """Return loss, gradients, BatchNorm statistics and queue of one batch, in float64."""
    defaults = {"epochs": 1, "batch_size": N, "view_size": 64, "train_statistics": False}
    plan = Plan(**defaults | {"learning_rate": 0.1, "weight_decay": 0.0} | changes)
    objective = OBJECTIVES[name]()
    trainer = Trainer(random_state_of(TINY, 0), objective, plan, torch.device("cpu"), None, 0)
    trainer.network.double()
    trainer.head.double()
    generator = torch.Generator().manual_seed(0)
    views = torch.rand(2 * N, 3, 64, 64, generator=generator).double()
    labels = torch.arange(N)
    if name == "weighted":
        labels = torch.rand(N, 10, generator=generator).double()
        labels[:, 0] = torch.tensor([0, 1, 0, -1, 1, 0])
    elif name == "arniqa":
        labels = torch.arange(0, N, 2).repeat_interleave(2)
    if trainer.memory is None:
        views = of(views, mine)
    else:
        trainer.memory.network.double()
        trainer.memory.head.double()
        trainer.memory.keys = torch.randn(5, 128, generator=generator).double()
        trainer.memory.labels = torch.tensor([0, 3, 50, 51, 52])
        queries = views[:N]
        keys = views if name == "qpt" else views[N:]
        views = of(queries, mine), of(keys, mine)
    loss, labels, keys = trainer.gradients(views, labels[mine], seed=5)
    results = {"loss": loss, "labels": labels}
    if keys is not None:
        results["keys"] = keys
    for part, module in (("network", trainer.network.model), ("head", trainer.head)):
        for key, p in module.named_parameters():
            results[f"{part}.{key}.grad"] = p.grad
        for key, buffer in module.named_buffers():
            if "running" in key:
                results[f"{part}.{key}"] = buffer
    return {key: value.numpy() for key, value in results.items()}


def activated(mine):
    """Return outputs and statistics of a BatchNorm of timm, which holds an activation."""
    norm = BatchNormAct2d(3, act_layer=torch.nn.Hardswish).double()
    synchronise_batchnorm(norm)
    x = torch.randn(N, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    y = gather(norm(x[mine])).detach()
    return {"y": y.numpy(), "mean": norm.running_mean.numpy(), "var": norm.running_var.numpy()}


def trained(checkpoint_dir):
    photos = np.stack(
        [
            image[y : y + 48, y : y + 48]
            for image in load_sample_images().images
            for y in range(0, 320, 64)
        ]
    )
    encoder = ContrastiveQualityEncoder(
        TINY,
        weights=None,
        epochs=2,
        batch_size=4,
        view_size=64,
        learning_rate=0.1,  # rounding grows with the steps
        objective="qpt",
        random_state=0,
        precision="float32",
        device="cpu",
        checkpoint_dir=checkpoint_dir,
    )
    return encoder.fit(photos)


def child(folder):
    """What each of the two processes does."""
    me = rank()
    assert world_size() == 2
    assert from_first(me) == 0
    assert maximum_over_processes(3 + me, "cpu") == 4
    assert [*own_part(7)] == [[0, 1, 2], [3, 4, 5, 6]][me]
    mine = range(sum(UNEVEN[:me]), sum(UNEVEN[: me + 1]))
    for case, (name, changes) in CASES.items():
        np.savez(f"{folder}/{case}-{me}.npz", **step(name, changes, mine))
    np.savez(f"{folder}/both-{me}.npz", **step(*BOTH, mine))
    np.savez(f"{folder}/activated-{me}.npz", **activated(mine))
    encoder = trained(f"{folder}/runs")
    arrays = encoder.state_.networks[0] | {f"head.{k}": v for k, v in encoder.state_.head.items()}
    np.savez(f"{folder}/trained-{me}.npz", curve=encoder.loss_curve_, **arrays)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    children = []
    for number in range(2):  # as torchrun starts them
        environment = {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "RANK": str(number)}
        children.append(ready_python.start(__file__, folder, env=os.environ | environment))
    errors = [process.communicate()[1] for process in children]
    assert [process.returncode for process in children] == [0, 0], errors
    return folder


@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_gradient_of_one(folder, case):
    alone = step(*CASES[case], range(N))
    for number in range(2):
        with np.load(folder / f"{case}-{number}.npz") as one:
            assert sorted(one) == sorted(alone)
            for key, value in alone.items():
                size = max(1.0, np.abs(value).max())
                np.testing.assert_allclose(one[key], value, rtol=0, atol=1e-10 * size, err_msg=key)


def test_processes_end_in_step(folder):
    """Also where they have two micro-batches and one: both wait for both."""
    with np.load(folder / "both-0.npz") as one, np.load(folder / "both-1.npz") as two:
        for key in one:
            np.testing.assert_allclose(one[key], two[key], rtol=1e-12, atol=1e-14)
            assert np.isfinite(one[key]).all()


def test_batchnorm_with_an_activation(folder):
    alone = activated(range(N))
    for number in range(2):
        with np.load(folder / f"activated-{number}.npz") as one:
            for key, value in alone.items():
                np.testing.assert_allclose(one[key], value, rtol=1e-12, atol=1e-14)


def test_processes_train_to_the_same_weights(folder):
    alone = trained(None)
    with np.load(folder / "trained-0.npz") as one, np.load(folder / "trained-1.npz") as two:
        for key in one:
            np.testing.assert_array_equal(one[key], two[key])
        np.testing.assert_allclose(one["curve"], alone.loss_curve_, rtol=1e-3)
        for key, value in alone.state_.networks[0].items():
            np.testing.assert_allclose(one[key], value, atol=2e-3 * max(1, np.abs(value).max()))
    assert not list((folder / "runs").iterdir())  # the first one wrote, and tidied up


def test_one_process_needs_no_group():
    assert (world_size(), rank(), from_first("me"), maximum_over_processes(3, "cpu")) == (
        1,
        0,
        "me",
        3,
    )
    assert own_part(7) == range(7)
    x = torch.ones(3)
    assert gather(x) is x
    with process_group():  # torchrun did not start this one
        assert world_size() == 1


def test_every_process_needs_all_images(monkeypatch):
    monkeypatch.setattr("skiqa._training.loop.from_first", lambda value: 5 if value == 3 else value)
    encoder = ContrastiveQualityEncoder(TINY, weights=None, epochs=1, view_size=64)
    with pytest.raises(ValueError, match=r"given 3 images, the first one 5: .* the same X"):
        encoder.fit(np.zeros((3, 9, 9, 3), np.uint8))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group(f"file://{sys.argv[1]}/meet"):
        child(sys.argv[1])
