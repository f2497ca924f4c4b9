"""A step of fine-tuning: which weights move how fast, what is averaged, and resuming."""

import numpy as np
import pytest
import torch
from fine_tuning_parts import network, photos, plan, windows

from skiqa._fine_tuning.data import BatchTargets
from skiqa._fine_tuning.tuner import FineTuner, parameter_groups
from skiqa._network.build import build, random_state_of, to_arrays


def tuner(**changes):
    return FineTuner(plan(**changes), photos())


def arrays(run):
    with run.averaged() as averaged:
        return to_arrays(averaged.model)


def targets(y, width):
    coef = np.random.default_rng(1).normal(size=width)
    coef = torch.tensor(coef, dtype=torch.float32).expand(len(y), -1)
    zeros, ones = torch.zeros(len(y)), torch.ones(len(y))
    groups = torch.arange(len(y))
    return BatchTargets(torch.tensor(y), zeros.long(), ones, coef, zeros, groups, ones)


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit"])
def test_last_stages_move_the_deeper_the_faster(backbone):
    network = build(random_state_of(backbone, 0))
    groups = parameter_groups(network, plan())
    assert [group["factor"] for group in groups] == [1.0, 0.5]
    moving = {id(p) for group in groups for p in group["params"]}
    assert moving == {id(p) for p in network.parameters() if p.requires_grad}
    assert len(moving) < len(list(network.parameters()))
    every = parameter_groups(network, plan(trained_last_stages=None))
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    trained = sum(len(group["params"]) for group in every)
    assert trained == len(list(network.parameters())) - len(norms)
    with pytest.raises(ValueError, match="stages"):
        parameter_groups(network, plan(trained_last_stages=99))


def test_only_trained_weights_move_and_batchnorm_statistics_stay():
    run = tuner()
    before = {k: v.clone() for k, v in run.network.model.state_dict().items()}
    moving = {k for k, p in run.network.model.named_parameters() if p.requires_grad}
    for _ in range(2):
        run.step_on(windows(), targets([0.0, 1, 2, 3], len(run.gate)), 1.0)
    after = run.network.model.state_dict()
    assert {k for k in before if not torch.equal(before[k], after[k])} == moving


def test_training_lowers_the_loss():
    run = tuner(averaging=0.0, learning_rate=1e-2)
    goal = targets([0.0, 1.0, -1.0, 0.5], len(run.gate))
    losses = [run.step_on(windows(), goal, 1.0) for _ in range(30)]
    assert losses[-1] < losses[0] / 2


def test_an_endless_pull_holds_the_network_at_its_start():
    run = tuner(start_penalty=1e9)
    before = arrays(run)
    run.step_on(windows(), targets([0.0, 1, 2, 3], len(run.gate)), 1.0)
    for name, array in arrays(run).items():
        np.testing.assert_array_equal(array, before[name])


def test_weights_are_averaged_over_steps_and_return_to_training():
    run = tuner(averaging=0.2)
    weight = run.trained[0]
    average = weight.detach().clone()
    for step in (1, 2, 3, 4):
        run.step_on(windows(), targets([0.0, 1, 2, 3], len(run.gate)), 1.0)
        decay = min(0.2, step / (step + 10))  # the first steps leave the start behind sooner
        average = decay * average + (1 - decay) * weight.detach()
    last = weight.detach().clone()
    assert (last - average).abs().max() > 1e-4
    with run.averaged():
        torch.testing.assert_close(weight.detach(), average, rtol=0, atol=1e-7)
    assert torch.equal(weight, last)


def test_gate_opens_where_the_noise_does_harm():
    run = tuner(semantic_noise=1.0)
    goal = targets([0.0] * 4, len(run.gate))
    run.step_on(windows(), goal, 1.0)
    with torch.no_grad():
        assert (run.gate != 0).any()
        images, partners = photos().features(network(), windows()).chunk(2)
        noise = (partners - images) * goal.coef[0]
        slope = ((0.5 * noise).sum(1).clamp(-1, 1)[:, None] * noise).mean(0)
    clear = slope.abs() > 1e-2 * slope.abs().max()
    assert torch.equal(run.gate[clear].sign(), slope[clear].sign())


def test_training_goes_on_as_if_it_had_not_been_interrupted():
    whole, first = (tuner(start_penalty=50.0, trained_last_stages=2) for _ in range(2))
    goal = targets([0.0, 1, 2, 3], len(whole.gate))
    for factor in (1.0, 0.5):
        whole.step_on(windows(), goal, factor)
    first.step_on(windows(), goal, 1.0)
    second = tuner(start_penalty=50.0, trained_last_stages=2)
    second.load_state_dict(first.state_dict())
    second.step_on(windows(), goal, 0.5)
    for a, b in zip(whole.trained, second.trained, strict=True):
        assert torch.equal(a, b)
