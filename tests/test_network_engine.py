import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import CPU, TINY

from skiqa._network import engine as module
from skiqa._network.engine import live_engine
from skiqa._network.live import live_networks, to_input
from skiqa._network.pooling import POOLINGS
from skiqa._network.state import random_state_of


def network_of(name):
    return live_networks(random_state_of(name, 0), CPU, torch.float32)[0]


def in_pytorch(images, network, pooling):
    with torch.inference_mode():
        return POOLINGS[pooling](
            network.maps(to_input(images, network, CPU, torch.float32))
        ).numpy()


@pytest.mark.parametrize("pooling", ["stages", "avg"])
@pytest.mark.parametrize("name", [TINY, "test_efficientnet.r160_in1k", "test_vit.r160_in1k"])
def test_features_are_those_of_pytorch(name, pooling, photo):
    network = network_of(name)
    engine = live_engine(network, pooling)
    noise = np.random.default_rng(0).integers(0, 256, (1, 224, 160, 3), np.uint8)
    dead = np.full((1, 32, 32, 3), 128, np.uint8)  # maps that do not vary: no NaN
    for images in (photo[None].copy(), noise, dead):
        expected = in_pytorch(images, network, pooling)
        found = engine(images)
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_networks_that_are_no_graph_stay_in_pytorch(caplog, capfd):
    """Attention of MobileViT unfolds maps to sizes that a trace takes for constants."""
    network = network_of("mobilevit_xxs")
    with caplog.at_level(logging.DEBUG, logger="skiqa"):
        assert live_engine(network, "avg") is None
        assert live_engine(network, "avg") is None
    (record,) = caplog.records  # tried once
    assert "runs in PyTorch" in record.getMessage()
    assert capfd.readouterr() == ("", "")


def test_an_engine_that_differs_is_not_used(caplog, monkeypatch):
    network = network_of(TINY)
    monkeypatch.setattr(module, "_ENGINES", type(module._ENGINES)())
    monkeypatch.setattr(module, "TOLERANCE", 1e-12)
    with caplog.at_level(logging.DEBUG, logger="skiqa"):
        assert live_engine(network, "avg") is None
    assert "features differ by" in caplog.text


def test_one_engine_for_each_network_and_pooling():
    network = network_of(TINY)
    assert live_engine(network, "stages") is live_engine(network, "stages")
    assert live_engine(network, "avg") is not live_engine(network, "stages")


@pytest.mark.parametrize("missing", ["onnxruntime", "onnx"])
def test_without_it_pytorch_runs_everything(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(module, "_ENGINES", type(module._ENGINES)())
    module._runtime.cache_clear()
    assert live_engine(network_of(TINY), "avg") is None


def test_loading_a_model_starts_nothing():
    """Neither a session nor the package: whoever forks after it is safe."""
    code = "import skiqa, sys; skiqa.load_model(); print('onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
