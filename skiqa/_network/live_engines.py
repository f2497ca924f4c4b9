"""The engines of this process, and the graphs that they are made from."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from skiqa._fork import ForkSafeLock
from skiqa._network.engine import Engine
from skiqa._network.graph import Graph
from skiqa._network.state import EncoderState

# (digest of networks, pooling, digest of graphs) -> an engine for each network, None for one that
# only PyTorch runs as it should. Two entries, as for live networks. Never on the estimator, which
# must pickle.
CACHE: OrderedDict[tuple[str, str, str], list[Engine | None]] = OrderedDict()
CACHE_SIZE = 2
_LOCK = ForkSafeLock()
_LOGGER = logging.getLogger("skiqa")


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
