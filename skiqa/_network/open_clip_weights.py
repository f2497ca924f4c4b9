"""Image towers of open_clip's weight files, read as the state of timm's network of the same shape.

The text tower is left aside: embeddings of texts come as arrays.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from skiqa import _types
from skiqa._network.authors_regressors import in_brackets
from skiqa._network.open_clip_names import PROJECTION, TOWER, renamed, table_of
from skiqa._network.shapes import array_shapes, normalisation_of
from skiqa._network.state import EncoderState
from skiqa._network.tensor_files import to_array
from skiqa._types import Arrays


def open_clip_state(
    path: _types.Path, tensors: Mapping[str, torch.Tensor], backbone: str | None
) -> EncoderState:
    """Return the state of an image tower; its projection into the space of texts is the head.

    Parameters
    ----------
    path : str or path
        For messages.
    tensors : dict
        A state dict of open_clip; names of the image tower begin with "visual.".
    backbone : str or None
        timm's name of the same network.

    Raises
    ------
    ValueError
        If `backbone` is None, for an activation cannot be told by weights; or if names and shapes
        are not those of `backbone`: which.
    """
    name = os.fspath(path)
    if backbone is None:
        raise ValueError(
            f"{name!r} holds weights of open_clip, which do not tell all of their network. Name "
            "it: backbone='vit_base_patch32_clip_224', or as OpenAI trained it, "
            "'vit_base_patch32_clip_quickgelu_224', or another one of timm.list_models('*clip*'). "
            "skiqa.persistence.save(encoder, 'tower.skiqa') makes a file that does tell."
        )
    visual = {
        key.removeprefix(TOWER): to_array(value)
        for key, value in tensors.items()
        if key.startswith(TOWER) and not key.endswith("num_batches_tracked")
    }
    shapes = array_shapes(backbone)
    table = table_of(visual)
    arrays, head, unknown = {}, {}, []
    for key, array in visual.items():
        if (own := renamed(key, PROJECTION)) is not None:
            head[own] = array.T if key == "proj" else array
        elif (own := renamed(key, table)) in shapes:
            arrays[own] = array
        else:
            unknown.append(TOWER + key)
    _check(name, backbone, arrays, shapes, unknown)
    mean, std = normalisation_of(backbone)
    return EncoderState(
        backbone=backbone,
        # embeddings of a class or of positions lack axes of length one in open_clip
        networks=[{own: array.reshape(shapes[own]) for own, array in arrays.items()}],
        mean=mean,
        std=std,
        head=head,
        card={"paper": "CLIP", "file": os.path.basename(name)},
    )


def _check(
    path: str,
    backbone: str,
    arrays: Arrays,
    shapes: Mapping[str, tuple[int, ...]],
    unknown: list[str],
) -> None:
    missing = [own for own in shapes if own not in arrays]
    wrong = [
        f"{own} {array.shape} instead of {shapes[own]}"
        for own, array in arrays.items()
        if _long_axes(array.shape) != _long_axes(shapes[own])
    ]
    if missing or unknown or wrong:
        raise ValueError(
            f"{path!r} holds weights of open_clip, but not of {backbone!r}: {len(unknown)} tensors "
            f"have no place in it{in_brackets(unknown)}, {len(missing)} of its own are "
            f"missing{in_brackets(missing)}, {len(wrong)} have another shape{in_brackets(wrong)}."
        )


def _long_axes(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]
