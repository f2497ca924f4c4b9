import numpy as np
import pytest
import torch
from conftest import TINY

from skiqa._network.batchnorm import absorb_batchnorm, fold_batchnorm
from skiqa._network.build import load_arrays, to_arrays
from skiqa._network.stages import Stages


def image(side=96):
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))


def uneven(name):
    """A network whose BatchNorm does something."""
    network = Stages(name).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(std=0.1)
    return network


@pytest.mark.parametrize("name", [TINY, "resnet18", "test_vit.r160_in1k"])
def test_absorbing_changes_rounding_only_and_keeps_the_arrays(name):
    network = uneven(name)
    before = to_arrays(network.model)
    absorbed = absorb_batchnorm(network)
    for a, b in zip(network.maps(image()), absorbed.maps(image()), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5 * float(a.abs().max()))
    for module in absorbed.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert not module.running_mean.any()
    arrays = to_arrays(absorbed.model)
    assert arrays.keys() == before.keys()
    again = Stages(name).eval()
    load_arrays(again.model, arrays)
    for a, b in zip(absorbed.maps(image()), again.maps(image()), strict=True):
        torch.testing.assert_close(b, a.detach())
    after = to_arrays(network.model)
    assert all(np.array_equal(before[k], after[k]) for k in before)  # the original is as it was


@pytest.mark.parametrize("name", [TINY, "tf_efficientnet_lite0", "test_vit.r160_in1k"])
def test_folding_changes_rounding_only(name):
    network = uneven(name)
    before = to_arrays(network.model)
    folded = fold_batchnorm(network)
    left = [m for m in folded.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not left
    for a, b in zip(network.maps(image()), folded.maps(image()), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5 * float(a.abs().max()))
    after = to_arrays(network.model)
    assert all(np.array_equal(before[k], after[k]) for k in before)  # the original is as it was
