import pytest
import torch
from conftest import TINY

from skiqa._network.stages import Stages


def image(side=96):
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "name", [TINY, "resnet18", "test_efficientnet", "test_convnext", "hgnetv2_b0", "regnetx_002"]
)
def test_maps_are_those_timm_reports(name):
    network = Stages(name).eval()
    with torch.no_grad():
        found = list(network.maps(image()))
        expected = network.model.forward_intermediates(image(), intermediates_only=True)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert found[-1].shape[2] == 96 // network.stride


@pytest.mark.parametrize(
    ("name", "n_blocks"),
    [("tf_efficientnet_lite0", 7), ("mobilenetv3_small_050", 6), ("ghostnet_050", 10)],
)
def test_every_block_group_is_a_stage(name, n_blocks):
    network = Stages(name).eval()
    with torch.no_grad():
        maps = list(network.maps(image()))
        last = network.model.forward_features(image())  # the heads are left out
    assert len(maps) == n_blocks
    torch.testing.assert_close(maps[-1], last, rtol=1e-5, atol=1e-5)


def test_vision_transformers_take_any_size():
    network = Stages("test_vit.r160_in1k").eval()
    with torch.no_grad():
        *_, last = network.maps(torch.zeros(1, 3, 50, 80))
    assert last.shape == (1, 64, 4, 5)  # padded to patches of 16


def test_unknown_names_get_hints():
    with pytest.raises(ValueError, match=r"no network of timm.*See timm\.list_models"):
        Stages("a network of mine")
    with pytest.raises(ValueError, match=r"Did you mean one of \['resnet18\."):
        Stages("resnet18.nope")
    with pytest.raises(ValueError, match="one size only"):
        Stages("swin_tiny_patch4_window7_224")
