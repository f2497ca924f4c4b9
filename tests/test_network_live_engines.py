import logging
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import CPU, TINY

from skiqa._network import export
from skiqa._network import live_engines as module
from skiqa._network.build import random_state_of
from skiqa._network.engine import _runtime
from skiqa._network.live import live_networks, to_input
from skiqa._network.live_engines import live_engines, with_graphs
from skiqa._network.pooling import POOLINGS


@pytest.fixture
def no_engines(monkeypatch):
    """None are there yet."""
    monkeypatch.setattr(module, "CACHE", type(module.CACHE)())
    export._graph_of.cache_clear()


def in_pytorch(images, state, pooling):
    network = live_networks(state, CPU, torch.float32)[0]
    with torch.inference_mode():
        return POOLINGS[pooling](
            network.maps(to_input(images, network, CPU, torch.float32))
        ).numpy()


@pytest.mark.parametrize("pooling", ["stages", "avg"])
@pytest.mark.parametrize("name", [TINY, "test_efficientnet.r160_in1k", "test_vit.r160_in1k"])
def test_features_are_those_of_pytorch(name, pooling, photo):
    state = random_state_of(name, 0)
    (engine,) = live_engines(state, pooling)
    noise = np.random.default_rng(0).integers(0, 256, (1, 224, 160, 3), np.uint8)
    dead = np.full((1, 32, 32, 3), 128, np.uint8)  # maps that do not vary: no NaN
    for images in (photo[None].copy(), noise, dead):
        expected = in_pytorch(images, state, pooling)
        found = engine(images)
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_networks_that_are_no_graph_stay_in_pytorch(no_engines, caplog, capfd):
    """Attention of MobileViT unfolds maps to sizes that a trace takes for constants."""
    state = random_state_of("mobilevit_xxs", 0)
    with caplog.at_level(logging.DEBUG, logger="skiqa"):
        assert live_engines(state, "avg") == [None]
        assert live_engines(state, "avg") == [None]
    (record,) = caplog.records  # tried once
    assert "runs in PyTorch" in record.getMessage()
    assert capfd.readouterr() == ("", "")


def test_an_engine_that_differs_is_not_used(no_engines, caplog, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE", 1e-12)
    with caplog.at_level(logging.DEBUG, logger="skiqa"):
        assert live_engines(random_state_of(TINY, 0), "avg") == [None]
    assert "features differ by" in caplog.text


def test_one_engine_for_each_network_and_pooling(no_engines):
    state = random_state_of(TINY, 0)
    engines = live_engines(state, "stages")
    assert live_engines(state, "stages") is engines
    assert live_engines(replace(state, center=np.zeros((1, 2, 800))), "stages") is engines
    assert live_engines(state, "avg")[0] is not live_engines(state, "stages")[0]
    several = replace(state, networks=[*state.networks, *random_state_of(TINY, 1).networks])
    one, two, beside = live_engines(replace(several, content=state), "avg")
    pixels = np.full((1, 64, 96, 3), 200, np.uint8)
    assert not np.array_equal(one(pixels), two(pixels))
    np.testing.assert_array_equal(one(pixels), beside(pixels))
    assert len(module.CACHE) == module.CACHE_SIZE  # those not used for longest are gone


@pytest.mark.parametrize("missing", ["onnxruntime", "onnx"])
def test_without_it_pytorch_runs_everything(missing, no_engines, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    _runtime.cache_clear()
    assert live_engines(random_state_of(TINY, 0), "avg") == [None]


def test_a_graph_serves_all_weights_of_its_network(no_engines, monkeypatch):
    """Also where the arrays that it was made of were alike: each keeps its own place."""
    start = random_state_of(TINY, 0)  # all of whose biases are zero
    known = with_graphs(start, "stages")
    assert known.graphs["stages"].shapes.keys() == start.networks[0].keys()
    rng = np.random.default_rng(1)
    arrays = {name: x + rng.uniform(0, 0.2, x.shape) for name, x in start.networks[0].items()}
    arrays = {name: x.astype(np.float32) for name, x in arrays.items()}
    other = replace(start, networks=[arrays], graphs=known.graphs)
    monkeypatch.setattr(export, "traced_graph", None)
    (engine,) = live_engines(other, "stages")
    noise = rng.integers(0, 256, (1, 224, 160, 3), np.uint8)
    expected = in_pytorch(noise, other, "stages")
    assert np.abs(engine(noise) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_graph_holds_no_weights():
    graph = with_graphs(random_state_of(TINY, 0), "stages").graphs["stages"]
    assert len(graph.structure) < 50_000 < sum(np.prod(s) for s in graph.shapes.values())
    assert (graph.stride, graph.width) == (32, 800)


def test_the_bundled_scorer_needs_no_pytorch():
    """From a cold start to a score, and to a pipeline of one's own.

    Loading starts neither a session nor the package: whoever forks after it is safe.
    """
    code = (
        "import sys, numpy as np, skiqa\n"
        "from sklearn.linear_model import Ridge\n"
        "from sklearn.pipeline import make_pipeline\n"
        "photos = [np.full((64, 64 + i, 3), 60 * i, np.uint8) for i in range(3)]\n"
        "model = skiqa.load_model()\n"
        "print('onnxruntime' in sys.modules)\n"
        "print(*model.predict(photos))\n"
        "own = make_pipeline(skiqa.ContrastiveQualityEncoder(), Ridge()).fit(photos, [1, 2, 3])\n"
        "own.predict(photos)\n"
        "print({'torch', 'timm', 'torchvision', 'onnx'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    started, scores, imported = done.stdout.splitlines()
    assert started == "False"
    assert len(scores.split()) == 3
    assert imported == "set()"
