"""The network that the bundled model starts from: EfficientNet-Lite0, trained on ImageNet."""

import numpy as np
import timm
import torch

from skiqa import ContrastiveQualityEncoder
from skiqa._features.constants import standardising_constants
from skiqa._inputs.containers import as_image_list
from skiqa._network.build import to_arrays
from skiqa._network.device import resolve_device
from skiqa._network.stages import Stages
from skiqa._network.state import EncoderState
from skiqa._network.weight_files import load_state
from skiqa.persistence import save

BACKBONE = "tf_efficientnet_lite0"


def imagenet_state(path):
    """Return the state of the ImageNet weights: same tensors, in timm's order and names."""
    tensors = list(torch.load(path, weights_only=True).values())
    names = list(timm.create_model(BACKBONE, pretrained=False).state_dict())
    if len(names) != len(tensors):
        raise SystemExit(f"{path} holds {len(tensors)} tensors, {BACKBONE} has {len(names)}.")
    arrays = {name: t.numpy() for name, t in zip(names, tensors, strict=True)}
    kept = to_arrays(Stages(BACKBONE).model)
    return {
        "backbone": BACKBONE,
        "networks": [{name: arrays[name] for name in kept}],
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }


def as_encoder(state, **parameters):
    """Return a fitted encoder that holds a state."""
    return ContrastiveQualityEncoder(**parameters).with_state(state)


def start_state(path, work, photos, of_constants):
    """Return the state of the start: its constants are of some of the photos (bool mask).

    Kept in start.skiqa in the folder `work`.
    """
    kept = work / "start.skiqa"
    if not kept.exists():
        fields = imagenet_state(path)
        center, scale = standardising_constants(
            as_image_list(photos),
            np.flatnonzero(of_constants),
            EncoderState(**fields),
            device=resolve_device("auto", strict=True),
            n_jobs=1,
        )
        save(as_encoder(EncoderState(**fields, center=center, scale=scale)), kept)
    return load_state(kept)
