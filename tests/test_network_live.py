import threading

import numpy as np
import pytest
import torch
from conftest import CPU, TINY

from skiqa._network import live
from skiqa._network.build import build, random_state_of
from skiqa._network.live import live_networks, normalise, to_input
from skiqa._network.stages import Stages
from skiqa._network.state import EncoderState


@pytest.fixture
def empty_cache():
    live.CACHE.clear()
    return live.CACHE


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
