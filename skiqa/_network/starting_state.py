"""Where an encoder starts: the state that its parameters name."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace

from skiqa._network.state import EncoderState
from skiqa._network.weight_files import BUNDLED, load_state
from skiqa._types import Path


def starting_state(
    backbone: str | None,
    weights: Path | None,
    content_backbone: Path | None,
    *,
    seed: int,
    trained: bool,
) -> EncoderState:
    """Return the state that an encoder's parameters name, with that of the content beside it.

    Parameters
    ----------
    backbone, weights, content_backbone
        As of :class:`~skiqa.ContrastiveQualityEncoder`.
    seed : int
        Decides random weights.
    trained : bool
        Whether training follows; random weights are warned of where none does.

    Returns
    -------
    EncoderState

    Raises
    ------
    FileNotFoundError
        If a file of weights is not there.
    ValueError
        If the parameters contradict each other, or name nothing that exists.
    """
    state = _own_state(backbone, weights, seed, trained)
    if content_backbone is None:
        return state
    return replace(state, content=_content_state(content_backbone))


def _own_state(
    backbone: str | None, weights: Path | None, seed: int, trained: bool
) -> EncoderState:
    if weights is None or weights == "timm":
        if backbone is None:
            raise ValueError(f"weights={weights!r} needs a backbone: name a network of timm.")
        from skiqa._network.build import random_state_of, timm_state  # imports PyTorch

        if weights == "timm":
            return timm_state(backbone)
        if not trained:
            warnings.warn(
                "weights=None with epochs=0 gives random features. Set epochs, or weights.",
                UserWarning,
                stacklevel=6,
            )
        return random_state_of(backbone, seed)
    state = load_state(BUNDLED if weights == "default" else weights, backbone)
    if backbone not in (None, state.backbone):
        raise ValueError(
            f"backbone={backbone!r}, but weights={weights!r} are of {state.backbone!r}. Leave "
            "backbone=None to use those weights, or set weights=None (random) or weights='timm' to "
            "use that backbone."
        )
    return state


def _content_state(name: Path) -> EncoderState:
    """Return the state that `content_backbone` names."""
    if name == "default":
        return load_state(BUNDLED)
    if os.path.exists(name):
        return load_state(name)
    from skiqa._network.build import timm_state  # imports PyTorch

    return timm_state(str(name))
