"""Weights that others publish, as an encoder's state: whose they are is told by their names."""

from __future__ import annotations

from skiqa import _types
from skiqa._network.authors_weights import authors_state
from skiqa._network.open_clip_names import TOWER
from skiqa._network.open_clip_weights import open_clip_state
from skiqa._network.state import EncoderState
from skiqa._network.tensor_files import read_tensors


def others_state(path: _types.Path, backbone: str | None) -> EncoderState:
    """Return the encoder state in a file of CONTRIQUE, ARNIQA, Re-IQA or open_clip.

    Parameters
    ----------
    path : str or path
    backbone : str or None
        timm's name of the network, which weights of open_clip do not tell.

    Raises
    ------
    ValueError
        If it holds anything but tensors, or tensors of another network.
    """
    tensors = read_tensors(path)
    if any(name.startswith(TOWER) for name in tensors):
        return open_clip_state(path, tensors, backbone)
    return authors_state(path, tensors)
