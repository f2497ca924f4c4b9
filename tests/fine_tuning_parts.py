"""What the tests of fine-tuning share: a small network, random windows, a few rated crops."""

import numpy as np
from PIL import Image
from sklearn.frozen import FrozenEstimator

from skiqa import ContrastiveQualityEncoder, FineTunedQualityRegressor
from skiqa._features.extract import Extraction
from skiqa._fine_tuning.sources import Photos
from skiqa._fine_tuning.tuner import FineTuningPlan
from skiqa._inputs.containers import as_image_list
from skiqa._network.build import build, random_state_of

STATE = random_state_of("test_efficientnet", 0)


def plan(**changes):
    numbers = {"epochs": 1, "batch_size": 4, "window_size": None, "learning_rate": 1e-3}
    numbers |= {"layer_decay": 0.5, "trained_last_stages": 2, "averaging": 0.9}
    numbers |= {"start_penalty": 0.0, "ranking": 0.0, "semantic_noise": 0.0}
    return FineTuningPlan(**numbers | changes)


def windows(n=4, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (n, 64, 64, 3), np.uint8))


def extraction(state=STATE, scales=(1.0, 0.5), pooling="stages"):
    return Extraction(state, scales, pooling, "cpu", "float32")


def photos(images=(), pooling="stages", window_size=None):
    images = as_image_list(list(images) or windows())
    return Photos(images, extraction(pooling=pooling), None, window_size)


def network():
    return build(STATE).eval()


def tiny(backbone="test_efficientnet", scales=(1.0, 0.5), **parameters):
    encoder = ContrastiveQualityEncoder(scales=scales).with_state(random_state_of(backbone, 0))
    defaults = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "alpha": 1e-3}
    defaults |= {"trained_last_stages": 2, "random_state": 0}
    return FineTunedQualityRegressor(FrozenEstimator(encoder), **defaults | parameters)


def rated_crops(photo_paths):
    """Crops of two photos of two sizes, the more pixels are gone the worse."""
    images, y, groups = [], [], []
    for place in range(8):
        with Image.open(photo_paths[place % 2]) as photo:
            crop = photo.crop((50 * place, 100, 50 * place + 64 + 16 * (place % 3), 180))
        for k in (1, 2, 4):
            small = crop.resize((crop.width // k, crop.height // k))
            images.append(np.asarray(small.resize(crop.size)))
            y.append(5.0 - k + 0.1 * place)
            groups.append(place)
    return images, np.array(y), np.array(groups)
