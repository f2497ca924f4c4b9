"""ONNX Runtime in PyTorch's place: on a CPU half of the time for the same features."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from skiqa._fork import ForkSafeLock
from skiqa._network.graph import PREFIX, Graph
from skiqa._network.state import EncoderState
from skiqa._types import Arrays, Floats, Pixels

TILED_ABOVE = 4_000_000  # pixels; up to here a photo runs whole

# Memory is kept from photo to photo, which halves the time; that of a larger one is given back.
KEPT_PIXELS = 1_000_000

# (digest of networks, pooling, digest of graphs) -> an engine for each network, None for one that
# only PyTorch runs as it should. Two entries, as for live networks. Never on the estimator, which
# must pickle.
CACHE: OrderedDict[tuple[str, str, str], list[Engine | None]] = OrderedDict()
CACHE_SIZE = 2
_LOCK = ForkSafeLock()
_LOGGER = logging.getLogger("skiqa")


class Engine:
    """A network and its pooling, run by ONNX Runtime on one thread.

    May be called by several threads at once. No threads are started: it survives a fork.

    Parameters
    ----------
    graph : Graph
    arrays : dict
        The weights, float32.
    """

    def __init__(self, graph: Graph, arrays: Arrays) -> None:
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # remembers something of every size of photo
        options.log_severity_level = 4  # errors are raised; it would print them as well
        values = [np.ascontiguousarray(arrays[name], np.float32) for name in graph.shapes]
        options.add_external_initializers(
            [PREFIX + name for name in graph.shapes],
            [runtime.OrtValue.ortvalue_from_numpy(value) for value in values],
        )
        providers = ["CPUExecutionProvider"]
        self._session = runtime.InferenceSession(graph.structure, options, providers=providers)
        self._giving_back = runtime.RunOptions()
        shrink = ("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._giving_back.add_run_config_entry(*shrink)
        self.stride = graph.stride

    def __call__(self, images: Pixels) -> Floats:
        """Return the pooled features of uint8 images of one size: (n, h, w, 3) -> (n, d) float32.

        Sides must be multiples of `stride`.
        """
        large = images.shape[1] * images.shape[2] > KEPT_PIXELS
        options = self._giving_back if large else None
        try:
            rows = [
                self._session.run(None, {"pixels": image[None]}, options)[0] for image in images
            ]
        except Exception as error:  # of ONNX Runtime's own kinds
            kind = MemoryError if "allocate" in str(error) else ValueError
            size = " x ".join(map(str, images.shape[2:0:-1]))
            raise kind(f"The network's graph does not run on {size} pixels: {error}") from error
        return np.concatenate(rows)


@cache
def _runtime() -> Any:
    """Return the module of ONNX Runtime, which is not to report anything to anyone."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # official builds for Windows have some
    return onnxruntime


def live_engines(state: EncoderState, pooling: str) -> list[Engine | None]:
    """Return the engine of each network of a state, or None where only PyTorch runs it.

    Those of the content beside it come last.
    """
    key = (state.networks_digest, pooling, state.graphs_digest(pooling))
    with _LOCK:
        if key not in CACHE:
            CACHE[key] = [engine for part in state.parts() for engine in _engines(part, pooling)]
        CACHE.move_to_end(key)
        while len(CACHE) > CACHE_SIZE:
            CACHE.popitem(last=False)
        return CACHE[key]


def _engines(state: EncoderState, pooling: str) -> Sequence[Engine | None]:
    nothing: list[None] = [None] * len(state.networks)
    if (graph := graph_of(state, pooling)) is None:
        return nothing
    try:
        return [Engine(graph, arrays) for arrays in state.networks]
    except Exception as error:  # of any kind: ONNX Runtime is not there, or is not as this one
        _LOGGER.debug("%s runs in PyTorch: %r", state.backbone, error)
        return nothing


def graph_of(state: EncoderState, pooling: str) -> Graph | None:
    """Return the graph of a state's networks, content apart: one it came with, or a new one."""
    if (graph := state.graphs.get(pooling)) is not None:
        return graph
    from skiqa._network.export import traced_graph  # imports PyTorch

    return traced_graph(state, pooling)


def with_graphs(state: EncoderState, pooling: str) -> EncoderState:
    """Return a state that, where it can, runs without PyTorch with this pooling."""
    graph = graph_of(state, pooling)
    graphs = dict(state.graphs) if graph is None else {**state.graphs, pooling: graph}
    content = None if state.content is None else with_graphs(state.content, pooling)
    return replace(state, graphs=graphs, content=content)
