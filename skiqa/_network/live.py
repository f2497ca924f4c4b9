"""Networks that are built and ready to run, shared by all estimators of a process."""

import threading
from collections import OrderedDict

import numpy as np
import torch

from skiqa._network.batchnorm import fold_batchnorm
from skiqa._network.state import build

# Live networks: two entries, because a process rarely scores with more than two models and each
# holds the whole network. Never on the estimator, which must pickle without torch.
_LIVE, _LIVE_SIZE, _LOCK = OrderedDict(), 2, threading.Lock()


def live_networks(state, device, dtype):
    """Return the networks of a state in evaluation mode on a device, from the cache if there."""
    key = (state.digest, str(device), dtype)
    with _LOCK:
        if key in _LIVE:
            _LIVE.move_to_end(key)
            return _LIVE[key]
        networks = []
        for part in state.parts():
            for expert in range(len(part.networks)):
                network = fold_batchnorm(build(part, expert).eval().requires_grad_(False))
                networks.append(network.to(device, dtype, memory_format=torch.channels_last))
        _LIVE[key] = networks
        while len(_LIVE) > _LIVE_SIZE:
            _LIVE.popitem(last=False)
        return networks


def normalise(pixels, mean, std):
    """Map [0, 1] pixels (n, 3, h, w) to the network's input: (pixels - mean) / std."""
    mean = torch.tensor(mean, dtype=pixels.dtype, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(std, dtype=pixels.dtype, device=pixels.device).view(1, 3, 1, 1)
    return (pixels - mean) / std


def to_input(images, network, device, dtype):
    """Turn uint8 images of one size, (n, h, w, 3), into the network's input (n, 3, h, w)."""
    x = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    x = normalise(x.float().div_(255.0), network.mean, network.std)
    return x.to(dtype, memory_format=torch.channels_last)
