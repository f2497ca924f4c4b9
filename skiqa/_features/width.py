"""How many features an image has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from skiqa._features.pool import pool
from skiqa._network.live import live_networks
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
        _WIDTH_CACHE[key] = _measured_width(state, pooling)
    return _WIDTH_CACHE[key]


def _measured_width(state: EncoderState, pooling: str) -> int:
    network = live_networks(state, torch.device("cpu"), torch.float32)[0]
    image = np.zeros((1, network.stride, network.stride, 3), np.uint8)
    with torch.inference_mode():
        return pool(image, network, pooling, torch.device("cpu"), torch.float32).shape[1]
