from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import CPU, TINY

from skiqa._features.pool import pool
from skiqa._features.width import feature_width
from skiqa._network.build import random_state_of
from skiqa._network.live import live_networks
from skiqa._network.live_engines import with_graphs


def test_widths():
    state = random_state_of("tf_efficientnet_lite0", 0)
    assert 2 * feature_width(state, "stages") == 3136  # at two scales
    assert feature_width(state, "avg") == 320
    assert feature_width(random_state_of("test_resnet.r160_in1k", 0), "stages") == 800


@pytest.mark.parametrize("pooling", ["stages", "avg"])
@pytest.mark.parametrize("name", [TINY, "test_vit.r160_in1k", "resnet18"])
def test_widths_are_known_without_a_photo(name, pooling):
    state = random_state_of(name, 0)
    network = live_networks(state, CPU, torch.float32)[0]
    image = np.zeros((1, network.stride, network.stride, 3), np.uint8)
    rows = pool(image, network, pooling, CPU, torch.float32)
    assert feature_width(state, pooling) == rows.shape[1]
    assert with_graphs(state, pooling).graphs[pooling].width == rows.shape[1]


def test_weights_that_do_not_fit():
    state = random_state_of(TINY, 0)
    known = with_graphs(state, "avg")
    arrays = dict(state.networks[0])
    first = next(iter(arrays))
    arrays[first] = arrays[first][:-1]
    for start in (state, known):
        with pytest.raises(ValueError, match=f"do not fit the network.*{first}"):
            feature_width(replace(start, networks=[arrays]), "avg")
