"""Losses of fine-tuning, by hand."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from skiqa._fine_tuning.losses import consistency_loss, fidelity_loss


def test_fidelity_by_hand():
    """LIQE's 1 - sqrt(p q) - sqrt((1 - p)(1 - q)) with p = 1 for the better of a pair."""
    predictions, y = np.array([0.3, -1.0, 2.0, 0.1]), np.array([1.0, 2.0, 3.0, 3.0])
    datasets = np.array([0, 0, 0, 1])
    pairs = [(1, 0), (2, 0), (2, 1)]
    win = [norm.cdf((predictions[a] - predictions[b]) / math.sqrt(2)) for a, b in pairs]
    loss = fidelity_loss(*map(torch.from_numpy, (predictions, y, datasets, np.ones(4))))
    assert float(loss) == pytest.approx(np.mean([1 - math.sqrt(p) for p in win]))


def test_fidelity_has_finite_slopes_where_the_order_is_badly_wrong():
    predictions = torch.tensor([300.0, -300.0], requires_grad=True)
    fidelity_loss(
        predictions, torch.tensor([0.0, 1.0]), torch.tensor([0, 0]), torch.ones(2)
    ).backward()
    assert torch.isfinite(predictions.grad).all()


def test_consistency_is_zero_behind_a_shut_gate_and_grows_with_it():
    rows, weight = torch.randn(6, 5, generator=torch.manual_seed(0)), torch.ones(3, 5)
    losses = [
        float(consistency_loss(rows, weight, torch.full((5,), g), torch.ones(3)))
        for g in (0, 0.5, 1)
    ]
    assert losses[0] == 0 < losses[1] < losses[2]
