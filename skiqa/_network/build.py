"""The network of a state, the state of a network, and the states that networks start in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from skiqa._network.graph import check_shapes
from skiqa._network.hub import check_hub, downloaded_weights
from skiqa._network.shapes import shapes_of
from skiqa._network.stages import Stages, create, seeded
from skiqa._network.state import EncoderState
from skiqa._types import Arrays


def to_arrays(module: nn.Module) -> Arrays:
    """Return the parameters and buffers of a module as numpy arrays, float32 where floating."""
    arrays = {}
    for name, value in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue  # counts steps for nobody: every BatchNorm here has a fixed momentum
        value = value.detach().cpu()
        arrays[name] = (value.float() if value.is_floating_point() else value).numpy().copy()
    return arrays


def load_arrays(
    module: nn.Module, arrays: Mapping[str, npt.NDArray[Any]], what: str = "the weights"
) -> None:
    """Copy numpy arrays into a module, every name and shape strictly equal."""
    check_shapes(shapes_of(module), arrays, what)
    # np.array copies: the arrays may be read-only views of a file (joblib's mmap_mode="r")
    tensors = {k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}
    module.load_state_dict(tensors, strict=False)


def random_state_of(backbone: str, seed: int) -> EncoderState:
    """Return the state of a network with random weights drawn from `seed`."""
    with seeded(seed):
        network = Stages(backbone)
    return EncoderState(
        backbone=backbone, networks=[to_arrays(network.model)], mean=network.mean, std=network.std
    )


def timm_state(backbone: str) -> EncoderState:
    """Return the state of a network with timm's own pretrained weights (may download them)."""
    with seeded(0):
        network = Stages(backbone)
        source: dict[str, Any] = {}
        if hub_id := network.model.pretrained_cfg.get("hf_hub_id"):
            if file := downloaded_weights(hub_id):
                source["pretrained_cfg_overlay"] = {"file": file}  # without asking the hub
            else:
                check_hub(hub_id)
        try:
            pretrained = create(backbone, pretrained=True, **source)
        except Exception as error:
            raise ValueError(
                f"weights='timm' could not get the weights of {backbone!r} ({error}). They are "
                "downloaded from a hub: without a network, use weights='default' or a file."
            ) from error
    arrays = {k: v for k, v in to_arrays(pretrained).items() if k in network.model.state_dict()}
    cfg = pretrained.pretrained_cfg
    return EncoderState(backbone=backbone, networks=[arrays], mean=cfg["mean"], std=cfg["std"])


def build(state: EncoderState, expert: int = 0) -> Stages:
    """Return the network of a state, on the CPU, in float32 and training mode."""
    with seeded(0):
        network = Stages(state.backbone)
    load_arrays(network.model, state.networks[expert], f"the weights of {state.backbone}")
    network.mean, network.std = state.mean, state.std
    return network
