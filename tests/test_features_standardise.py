import numpy as np
from conftest import TINY

from skiqa._features.standardise import standardiser
from skiqa._network.build import random_state_of
from skiqa._network.state import EncoderState


def test_each_scale_takes_the_nearest_constants():
    state = random_state_of(TINY, 0)
    center = np.stack([np.full(4, 1.0), np.full(4, 2.0)])[None].astype(np.float32)
    fields = {"backbone": TINY, "networks": state.networks, "mean": state.mean, "std": state.std}
    whole = EncoderState(**fields, center=center, scale=np.ones_like(center))
    row = np.zeros(12, np.float32)
    found = standardiser(whole, (0.4, 0.75, 1.0))(row) * np.sqrt(12)
    # .75 lies nearer to 1 than to .5 in ratio
    np.testing.assert_allclose(found, np.repeat([-2.0, -1.0, -1.0], 4), rtol=1e-6)
