from skiqa._features.width import feature_width
from skiqa._network.state import random_state_of


def test_widths():
    state = random_state_of("tf_efficientnet_lite0", 0)
    assert 2 * feature_width(state, "stages") == 3136  # at two scales
    assert feature_width(state, "avg") == 320
    assert feature_width(random_state_of("test_resnet.r160_in1k", 0), "stages") == 800
