"""ONNX Runtime in PyTorch's place: on a CPU half of the time for the same features."""

from __future__ import annotations

import logging
import threading
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch

from skiqa._network.export import PooledNetwork, to_graph
from skiqa._network.live import to_input
from skiqa._network.pooling import POOLINGS
from skiqa._network.stages import Stages
from skiqa._types import Floats, Pixels

TOLERANCE = 1e-5  # largest difference to PyTorch's features, relative to the largest of them

# Memory is kept from photo to photo, which halves the time; that of a larger one is given back.
KEPT_PIXELS = 1_000_000

# network -> pooling -> its engine, or None where there is none. An engine goes with its network,
# which `skiqa._network.live` keeps.
_ENGINES: WeakKeyDictionary[Stages, dict[str, Engine | None]] = WeakKeyDictionary()
_LOCK = threading.Lock()
_LOGGER = logging.getLogger("skiqa")


class Engine:
    """A network and its pooling, run by ONNX Runtime on one thread.

    May be called by several threads at once. No threads are started: it survives a fork.

    Parameters
    ----------
    graph : bytes
        What `skiqa._network.export.to_graph` returns for a `PooledNetwork`.
    """

    def __init__(self, graph: bytes) -> None:
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # remembers something of every size of photo
        options.log_severity_level = 4  # errors are raised; it would print them as well
        self._session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._giving_back = runtime.RunOptions()
        shrink = ("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._giving_back.add_run_config_entry(*shrink)

    def __call__(self, images: Pixels) -> Floats:
        """Return the pooled features of uint8 images of one size: (n, h, w, 3) -> (n, d) float32.

        Sides must be multiples of the network's stride.
        """
        large = images.shape[1] * images.shape[2] > KEPT_PIXELS
        options = self._giving_back if large else None
        rows = [self._session.run(None, {"pixels": image[None]}, options)[0] for image in images]
        return np.concatenate(rows)


@cache
def _runtime() -> Any:
    """Return the module of ONNX Runtime, which is not to report anything to anyone."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # official builds for Windows have some
    return onnxruntime


def live_engine(network: Stages, pooling: str) -> Engine | None:
    """Return the engine of a live network, or None where only PyTorch runs it as it should.

    Parameters
    ----------
    network : Stages
        As `skiqa._network.live.live_networks` returns it, on the CPU, in float32.
    pooling : {"stages", "avg"}
    """
    with _LOCK:
        engines = _ENGINES.setdefault(network, {})
        if pooling not in engines:
            engines[pooling] = _make_engine(network, pooling)
        return engines[pooling]


def _make_engine(network: Stages, pooling: str) -> Engine | None:
    side = network.stride
    try:
        example = torch.from_numpy(_noise(4 * side, 5 * side))
        engine = Engine(to_graph(PooledNetwork(network, pooling), "pixels", "row", example))
        apart = max(
            _difference(network, pooling, engine, _noise(rows * side, columns * side))
            for rows, columns in ((3, 7), (5, 2))
        )
    except Exception as error:  # of any kind: this network has never been run elsewhere
        _LOGGER.debug("%s runs in PyTorch: %r", type(network.model).__name__, error)
        return None
    if not apart <= TOLERANCE:
        name = type(network.model).__name__
        _LOGGER.debug("%s runs in PyTorch: features differ by %.1g", name, apart)
        return None
    return engine


def _noise(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)


def _difference(network: Stages, pooling: str, engine: Engine, pixels: Pixels) -> float:
    """Return the largest difference to PyTorch's features, relative to the largest of them."""
    with torch.inference_mode():
        x = to_input(pixels, network, torch.device("cpu"), torch.float32)
        expected = POOLINGS[pooling](network.maps(x)).numpy()
    return float(np.abs(engine(pixels) - expected).max() / np.abs(expected).max())
