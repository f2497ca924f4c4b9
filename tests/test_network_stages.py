import threading

import numpy as np
import pytest
import timm
import torch

from skiqa._network import live
from skiqa._network.batchnorm import absorb_batchnorm, fold_batchnorm
from skiqa._network.live import live_networks, normalise, to_input
from skiqa._network.stages import Stages, seeded
from skiqa._network.state import (
    EncoderState,
    build,
    current_versions,
    load_arrays,
    random_state_of,
    timm_state,
    to_arrays,
)

TINY = "test_resnet.r160_in1k"
CPU = torch.device("cpu")


def image(side=96):
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def empty_cache(monkeypatch):
    live._LIVE.clear()
    return live._LIVE


# Stages ------------------------------------------------------------------------------------------


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


def test_weights_of_timm_name_the_remedy_without_a_hub(monkeypatch):
    def no_hub(*args, pretrained=False, **kwargs):
        if pretrained:
            raise OSError("no route to host")
        return create(*args, **kwargs)

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", no_hub)
    with pytest.raises(ValueError, match=r"no route to host.*weights='default' or a file"):
        timm_state(TINY)


# Folding -----------------------------------------------------------------------------------------


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


# State and arrays --------------------------------------------------------------------------------


def test_arrays_round_trip():
    state = random_state_of(TINY, 0)
    network = build(state)
    arrays = to_arrays(network.model)
    assert arrays.keys() == state.networks[0].keys()
    for name, array in arrays.items():
        assert type(array) is np.ndarray
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, state.networks[0][name])
    with torch.no_grad():
        next(network.parameters()).zero_()
    assert next(iter(state.networks[0].values())).any()  # copies, in both directions
    assert np.array_equal(arrays["conv1.0.weight"], state.networks[0]["conv1.0.weight"])


def test_read_only_arrays_load():
    state = random_state_of(TINY, 0)
    for array in state.networks[0].values():
        array.flags.writeable = False
    build(state)


def test_loading_is_strict():
    arrays = random_state_of(TINY, 0).networks[0]
    module = Stages(TINY).model
    name = "layer1.0.conv1.weight"
    missing = {k: v for k, v in arrays.items() if k != name}
    with pytest.raises(ValueError, match=rf"1 tensors missing \['{name}'\], 0 not expected"):
        load_arrays(module, missing)
    with pytest.raises(ValueError, match=r"0 tensors missing \[\], 1 not expected \['extra'\]"):
        load_arrays(module, arrays | {"extra": np.zeros(1)})
    with pytest.raises(ValueError, match=rf"1 of another shape \['{name}'\]"):
        load_arrays(module, arrays | {name: np.zeros((1, 2))}, "the weights of mine")


def test_digest_covers_what_changes_a_feature():
    state = random_state_of(TINY, 0)
    fields = {"backbone": TINY, "networks": state.networks, "mean": state.mean, "std": state.std}
    assert EncoderState(**fields).digest == state.digest
    same = EncoderState(**fields, head={"x": np.zeros(2)}, card={"seed": 1}, versions={"a": "b"})
    assert same.digest == state.digest
    other = {k: v.copy() for k, v in state.networks[0].items()}
    other["conv1.0.weight"].flat[0] += 1e-6
    constants = np.zeros((1, 2, 800), np.float32)
    variants = [
        fields | {"mean": (0, 0, 0)},
        fields | {"std": (1, 1, 1)},
        fields | {"networks": [other]},
        fields | {"networks": [*state.networks, *state.networks]},
        fields | {"center": constants, "scale": constants + 1},
        fields | {"center": constants, "scale": constants + 2},
        fields | {"reference_scales": (1.0,)},
        fields | {"backbone": "resnet18"},
    ]
    digests = {EncoderState(**variant).digest for variant in variants} | {state.digest}
    assert len(digests) == len(variants) + 1


def test_random_weights_follow_the_seed():
    assert random_state_of(TINY, 1).digest == random_state_of(TINY, 1).digest
    assert random_state_of(TINY, 1).digest != random_state_of(TINY, 2).digest


def test_generator_is_given_back():
    before = torch.get_rng_state()
    random_state_of(TINY, 5)
    build(random_state_of(TINY, 5))
    with pytest.raises(RuntimeError), seeded(3):
        torch.rand(-1)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(3):
        one = torch.rand(5)
    with seeded(3):
        assert torch.equal(torch.rand(5), one)


def test_versions_are_plain_strings():
    assert {type(v) for v in current_versions().values()} == {str}
    assert current_versions().keys() == {"skiqa", "timm", "torch"}


# Live networks -----------------------------------------------------------------------------------


def test_two_networks_live_at_once(empty_cache):
    states = [random_state_of(TINY, seed) for seed in range(3)]
    first, second = (live_networks(s, CPU, torch.float32) for s in states[:2])
    assert live_networks(states[0], CPU, torch.float32) is first
    live_networks(states[2], CPU, torch.float32)  # the one not used for longest goes
    assert len(empty_cache) == 2
    assert live_networks(states[0], CPU, torch.float32) is first
    assert live_networks(states[1], CPU, torch.float32) is not second
    assert live_networks(states[1], CPU, torch.bfloat16)[0] is not first[0]


def test_live_networks_are_frozen(empty_cache):
    (network,) = live_networks(random_state_of(TINY, 0), CPU, torch.float32)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_eight_threads_build_one_network(empty_cache, monkeypatch):
    state, built, barrier = random_state_of(TINY, 0), [], threading.Barrier(8)

    def counted(*args):
        built.append(args)
        return build(*args)

    monkeypatch.setattr(live, "build", counted)

    def ask():
        barrier.wait()
        live_networks(state, CPU, torch.float32)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def test_failed_builds_leave_nothing_behind(empty_cache):
    state = random_state_of(TINY, 0)
    broken = EncoderState(backbone=TINY, networks=[{}], mean=state.mean, std=state.std)
    for _ in range(2):  # the lock is free again
        with pytest.raises(ValueError, match="do not fit the network"):
            live_networks(broken, CPU, torch.float32)
    assert not empty_cache


def test_input_is_normalised():
    network = Stages(TINY)
    network.mean, network.std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    found = to_input(pixels, network, CPU, torch.float32)
    expected = (pixels / 255 - network.mean) / network.std
    np.testing.assert_allclose(found.permute(0, 2, 3, 1), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(normalise(found, (0, 0, 0), (1, 1, 1)), found)  # 0 and 1 change no bit
