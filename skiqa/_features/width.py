"""How many features an image has."""

from __future__ import annotations

from collections.abc import Sequence

from skiqa._network.graph import check_shapes
from skiqa._network.state import EncoderState

# (digest of a state, pooling) -> width: two small numbers for each set of weights that a process
# has seen.
_WIDTH_CACHE: dict[tuple[str, str], int] = {}


def row_width(state: EncoderState, scales: Sequence[float], pooling: str) -> int:
    """Return the number of features of an image: all networks, all scales."""
    return sum(part_width(part, scales, pooling) for part in state.parts())


def part_width(state: EncoderState, scales: Sequence[float], pooling: str) -> int:
    """Return the number of features of an image, those of the content beside `state` apart."""
    return len(state.networks) * len(scales) * feature_width(state, pooling)


def feature_width(state: EncoderState, pooling: str) -> int:
    """Return the number of features of one network at one scale, content apart.

    Raises
    ------
    ValueError
        If the weights do not fit the network.
    """
    key = (state.digest, pooling)
    if key not in _WIDTH_CACHE:
        _WIDTH_CACHE[key] = _width(state, pooling)
    return _WIDTH_CACHE[key]


def _width(state: EncoderState, pooling: str) -> int:
    what = f"the weights of {state.backbone}"
    if (graph := state.graphs.get(pooling)) is not None:
        for arrays in state.networks:
            graph.check(arrays, what)
        return graph.width
    from skiqa._network.shapes import array_shapes, pooled_width  # imports PyTorch

    for arrays in state.networks:
        check_shapes(array_shapes(state.backbone), arrays, what)
    return pooled_width(state.backbone, pooling)
