"""Images of one size to pooled features, and how many of these there are."""

import numpy as np
import torch

from skiqa._network.live import live_networks, to_input
from skiqa._network.pooling import POOLINGS
from skiqa._network.tiles import needs_tiles, tiled_features


def pool(images, network, pooling, device, dtype):
    """Return the pooled features of uint8 images of one size: (n, h, w, 3) -> (n, d) float32."""
    if needs_tiles(network, images.shape[1:3]):
        return torch.stack(
            [tiled_features(image, network, pooling, device, dtype) for image in images]
        )
    return POOLINGS[pooling](network.maps(to_input(images, network, device, dtype)))


def row_width(state, scales, pooling):
    """Return the number of features of an image: all networks, all scales."""
    return sum(part_width(part, scales, pooling) for part in state.parts())


def part_width(state, scales, pooling):
    """Return the number of features of an image, those of the content beside `state` apart."""
    return len(state.networks) * len(scales) * feature_width(state, pooling)


def feature_width(state, pooling):
    """Return the number of features of one network at one scale, content apart.

    Raises
    ------
    ValueError
        If the weights do not fit the network.
    """
    key = (state.digest, pooling)
    if key not in _WIDTHS:
        _WIDTHS[key] = _measured_width(state, pooling)
    return _WIDTHS[key]


_WIDTHS = {}  # two small numbers for each set of weights that a process has seen


def _measured_width(state, pooling):
    network = live_networks(state, torch.device("cpu"), torch.float32)[0]
    image = np.zeros((1, network.stride, network.stride, 3), np.uint8)
    with torch.inference_mode():
        return pool(image, network, pooling, torch.device("cpu"), torch.float32).shape[1]
