"""Networks from random weights: how they begin, and the BatchNorm statistics they end with."""

import numpy as np
import pytest
import torch
from conftest import TINY

from skiqa import ContrastiveQualityEncoder
from skiqa._network.build import build, random_state_of
from skiqa._training.run import Run
from skiqa._training.schedule import Plan
from skiqa._training.scratch import reestimate_statistics
from skiqa._training.trainer import Trainer
from skiqa.objectives import OBJECTIVES
from skiqa.persistence import save


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("scratch", [True, False])
def test_how_a_training_begins(tmp_path, name, scratch):
    """CONTRIQUE and Re-IQA normalise no input, and their networks start with scales of one."""
    state, objective = random_state_of(TINY, 0), OBJECTIVES[name]()
    save(ContrastiveQualityEncoder().with_state(state), tmp_path / "random.skiqa")
    weights = {} if scratch else {"weights": tmp_path / "random.skiqa"}
    encoder = ContrastiveQualityEncoder(TINY, **{"weights": None} | weights, objective=objective)
    begun = encoder._start(0, trained=True)
    plan = Plan(1, 4, 64, 0.1, 0.0, train_statistics=scratch)
    trainer = Trainer(begun, objective, plan, torch.device("cpu"), None, 0)
    raw = scratch and name in ("contrique", "reiqa")
    assert tuple(trainer.network.mean) == ((0, 0, 0) if raw else tuple(state.mean))
    assert tuple(trainer.network.std) == ((1, 1, 1) if raw else tuple(state.std))
    scales = [p for n, p in trainer.network.named_parameters() if p.ndim == 1 and "weight" in n]
    assert all(bool((p == 1).all()) for p in scales) == raw
    if scratch and name == "contrique":
        views = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        trainer.gradients(views, torch.arange(4), 0)
        slopes = {n: p.grad for n, p in trainer.network.named_parameters() if "conv" in n}
        assert all(bool(slope.any()) for slope in slopes.values())  # all learn from step one


def test_statistics_are_the_mean_of_those_of_the_batches():
    network = build(random_state_of(TINY, 0)).eval()
    generator = torch.Generator().manual_seed(0)
    batches = [torch.rand(5, 3, 64, 64, generator=generator) for _ in range(3)]
    reestimate_statistics(network, batches)
    norm, conv = network.model.conv1[1], network.model.conv1[0]
    with torch.no_grad():
        maps = [conv(x).double().transpose(0, 1).flatten(1).numpy() for x in batches]
    mean = np.mean([x.mean(1) for x in maps], axis=0)
    variance = np.mean([x.var(1, ddof=1) for x in maps], axis=0)
    np.testing.assert_allclose(norm.running_mean, mean, atol=1e-6)
    np.testing.assert_allclose(norm.running_var, variance, rtol=1e-4)
    assert not any(module.training for module in network.modules())
    assert norm.momentum == 0.1


@pytest.mark.parametrize("backbone", [TINY, None])
def test_a_training_from_scratch_ends_with_the_statistics_of_photos(backbone, crops, monkeypatch):
    """Weights as trained, statistics anew; those of trained weights are kept as they are."""
    trained = []
    whole = Run.trained_state

    def noted(run, trainer, n_jobs):
        trained.append(trainer.arrays()[0])
        return whole(run, trainer, n_jobs)

    monkeypatch.setattr(Run, "trained_state", noted)
    encoder = ContrastiveQualityEncoder(
        backbone, weights=None if backbone else "default", epochs=1, batch_size=4, view_size=64
    )
    found = encoder.set_params(random_state=0).fit(crops).state_.networks[0]
    for name, array in trained[-1].items():
        same = np.array_equal(array, found[name])
        assert same == (backbone is None or "running" not in name), name
    if backbone:
        assert encoder.state_.mean == (0, 0, 0)
