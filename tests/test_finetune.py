"""Fine-tuning: the losses by hand, which layers move, what an epoch sees."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from skiqa._backbones import build, random_state_of
from skiqa._finetune import (
    FineTuner,
    FineTuning,
    batches,
    consistency_loss,
    fidelity_loss,
    live_features,
    parameter_groups,
)

PLAN = FineTuning(
    epochs=1, batch_size=4, crop_size=None, learning_rate=1e-3, layer_decay=0.5,
    trained_stages=2, averaging=0.9, start_penalty=0.0, ranking=0.0, semantic_noise=0.0,
)  # fmt: skip
STATE = random_state_of("test_efficientnet", 0)
CPU = torch.device("cpu")


def plan(**changes):
    return FineTuning(**(vars(PLAN) | changes))


def windows(n=4, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (n, 64, 64, 3), np.uint8))


def features(network, images, scales=(1.0, 0.5), pooling="stages"):
    return live_features(network, images, STATE, scales, pooling, CPU)


def tuner(**changes):
    width = features(build(STATE).eval(), windows(1)).shape[1]
    coef = np.random.default_rng(1).normal(size=width)
    return FineTuner(build(STATE), coef, 0.0, plan(**changes), features, CPU)


def test_fidelity_by_hand():
    """LIQE's 1 - sqrt(p q) - sqrt((1 - p)(1 - q)) with p = 1 for the better of a pair."""
    predictions, y = np.array([0.3, -1.0, 2.0, 0.1]), np.array([1.0, 2.0, 3.0, 3.0])
    datasets = np.array([0, 0, 0, 1])
    pairs = [(1, 0), (2, 0), (2, 1)]
    win = [norm.cdf((predictions[a] - predictions[b]) / math.sqrt(2)) for a, b in pairs]
    loss = fidelity_loss(*map(torch.from_numpy, (predictions, y, datasets)))
    assert float(loss) == pytest.approx(np.mean([1 - math.sqrt(p) for p in win]))


def test_fidelity_has_finite_slopes_where_the_order_is_badly_wrong():
    predictions = torch.tensor([300.0, -300.0], requires_grad=True)
    fidelity_loss(predictions, torch.tensor([0.0, 1.0]), torch.tensor([0, 0])).backward()
    assert torch.isfinite(predictions.grad).all()


def test_consistency_is_zero_behind_a_shut_gate_and_grows_with_it():
    rows, weight = torch.randn(6, 5, generator=torch.manual_seed(0)), torch.ones(5)
    losses = [float(consistency_loss(rows, weight, torch.full((5,), g))) for g in (0, 0.5, 1)]
    assert losses[0] == 0 < losses[1] < losses[2]


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit"])
def test_last_stages_move_the_deeper_the_faster(backbone):
    network = build(random_state_of(backbone, 0))
    groups = parameter_groups(network, PLAN)
    assert [group["factor"] for group in groups] == [1.0, 0.5]
    moving = {id(p) for group in groups for p in group["params"]}
    assert moving == {id(p) for p in network.parameters() if p.requires_grad}
    assert len(moving) < len(list(network.parameters()))
    every = parameter_groups(network, plan(trained_stages=None))
    assert sum(len(group["params"]) for group in every) == len(list(network.parameters()))
    with pytest.raises(ValueError, match="stages"):
        parameter_groups(network, plan(trained_stages=99))


def test_only_trained_weights_move_and_batchnorm_statistics_stay():
    run = tuner()
    before = {k: v.clone() for k, v in run.network.model.state_dict().items()}
    moving = {k for k, p in run.network.model.named_parameters() if p.requires_grad}
    for _ in range(2):
        run.step_on(windows(), torch.tensor([0.0, 1, 2, 3]), torch.zeros(4).long(), 1.0)
    after = run.network.model.state_dict()
    assert {k for k in before if not torch.equal(before[k], after[k])} == moving


def test_training_lowers_the_loss():
    run, y = tuner(averaging=0.0, learning_rate=1e-2), torch.tensor([0.0, 1.0, -1.0, 0.5])
    losses = [run.step_on(windows(), y, torch.zeros(4).long(), 1.0) for _ in range(30)]
    assert losses[-1] < losses[0] / 2


def test_an_endless_pull_holds_the_network_at_its_start():
    run = tuner(start_penalty=1e9)
    start = run.arrays()
    run.step_on(windows(), torch.tensor([0.0, 1, 2, 3]), torch.zeros(4).long(), 1.0)
    for name, array in run.arrays().items():
        np.testing.assert_array_equal(array, start[name])


def test_gate_opens_where_the_noise_does_harm():
    run = tuner(semantic_noise=1.0)
    run.step_on(windows(), torch.zeros(4), torch.zeros(4).long(), 1.0)
    with torch.no_grad():
        assert (run.gate != 0).any()
        images, partners = features(build(STATE).eval(), windows()).chunk(2)
        weight = torch.tensor(np.random.default_rng(1).normal(size=len(run.weight))).float()
        noise = (partners - images) * weight
        slope = ((0.5 * noise).sum(1).clamp(-1, 1)[:, None] * noise).mean(0)
    clear = slope.abs() > 1e-2 * slope.abs().max()
    assert torch.equal(run.gate[clear].sign(), slope[clear].sign())


def test_windows_of_any_size_and_one_size_agree():
    network, images = build(STATE).eval(), windows(3)
    mixed = features(network, [*images, images[0][:40]])[:3]
    torch.testing.assert_close(mixed, features(network, images))


def test_an_epoch_sees_each_image_once_and_partners_beside_them():
    parts = batches(0, 0, 12, 4)
    assert sorted(np.concatenate(parts)) == list(range(12))
    partners = np.roll(np.arange(12), 1)
    parts = batches(0, 0, 12, 4, partners)
    assert sorted(np.concatenate([p[:2] for p in parts])) == list(range(12))
    assert all((partners[p[:2]] == p[2:]).all() for p in parts)
