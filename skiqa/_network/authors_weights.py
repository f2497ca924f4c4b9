"""Weights that the authors of CONTRIQUE, ARNIQA and Re-IQA publish, read as an encoder's state."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from skiqa import _types
from skiqa._network.authors_regressors import in_brackets
from skiqa._network.shapes import array_shapes
from skiqa._network.state import EncoderState
from skiqa._network.tensor_files import to_array

BACKBONE = "resnet50"  # of all three papers
_NO_NORMALISATION = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_PLACES = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}


@dataclass(frozen=True)
class Layout:
    """How a paper's authors lay out their weight files.

    Parameters
    ----------
    paper : str
    prefix : str
        What stands before the name of every tensor of the network.
    head : str
        What stands before those of the projector.
    numbered : bool
        Whether layers go by their place among torchvision's children rather than by name.
    normalisation : tuple of (mean, std)
        What the network's input went through.
    unit_norm : bool
        Whether the paper's features are L2-normed.
    """

    paper: str
    prefix: str
    head: str
    numbered: bool
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    unit_norm: bool

    def key(self, name: str) -> str:
        """Return the name that a tensor of the network has in the weight file."""
        first, _, rest = name.partition(".")
        return f"{self.prefix}{_PLACES[first] if self.numbered else first}.{rest}"


LAYOUTS = (
    Layout("CONTRIQUE", "encoder.", "projector.", True, _NO_NORMALISATION, True),
    Layout("ARNIQA", "model.", "projector.", True, _IMAGENET, True),
    # what ARNIQA's own training writes after each epoch
    Layout("ARNIQA", "encoder.model.", "encoder.projector.", True, _IMAGENET, True),
    Layout("Re-IQA", "encoder.", "head.", False, _NO_NORMALISATION, False),
)


def authors_state(path: _types.Path, tensors: Mapping[str, torch.Tensor]) -> EncoderState:
    """Return the encoder state in a weight file of CONTRIQUE, ARNIQA or Re-IQA.

    With ``pooling="avg"`` and the default scales CONTRIQUE's and Re-IQA's features are the paper's
    own: the whole image and its half by Pillow's bicubic, in this order, the input not normalised;
    L2-normed for each scale, but for Re-IQA. ARNIQA's are those of its authors' prompt for users,
    again of the whole image (which takes the half by a bilinear filter), its input normalised by
    ImageNet's statistics; its paper's numbers are of five crops, each a sample:
    :class:`~skiqa.FiveCropRegressor`.

    Parameters
    ----------
    path : str or path
        ``CONTRIQUE_checkpoint25.tar``, ``ARNIQA.pth``, ``quality_aware_r50.pth`` or
        ``content_aware_r50.pth``. The last two differ in nothing but what is in them: a file whose
        name begins with "content" is taken for Re-IQA's content encoder, which wants ImageNet's
        normalisation.
    tensors : dict
        What the file holds, by name.

    Raises
    ------
    ValueError
        If these are tensors of another network: what was expected and what was found.
    """
    path = Path(path)
    shapes = array_shapes(BACKBONE)
    layout = max(LAYOUTS, key=lambda x: sum(x.key(name) in tensors for name in shapes))
    expected = {layout.key(name): shape for name, shape in shapes.items()}
    if not expected.keys() & tensors.keys():
        known = ", ".join(f"{x.paper}'s {x.key('conv1.weight')!r}" for x in LAYOUTS)
        raise ValueError(
            f"{os.fspath(path)!r} holds no weights known here. Expected tensors of a ResNet-50: "
            f"{known}... Found {len(tensors)} tensors{in_brackets(tensors)}. Weights of timm's "
            "networks are got by backbone= and weights='timm'."
        )
    _check(path, tensors, layout, expected)
    of_content = layout.paper == "Re-IQA" and path.name.startswith("content")
    mean, std = _IMAGENET if of_content else layout.normalisation
    arrays = {key: to_array(value) for key, value in tensors.items()}
    card = {"paper": layout.paper, "file": path.name}
    return EncoderState(
        backbone=BACKBONE,
        networks=[{name: arrays[layout.key(name)] for name in shapes}],
        mean=mean,
        std=std,
        head={
            key.removeprefix(layout.head): array
            for key, array in arrays.items()
            if key.startswith(layout.head) and not key.endswith("num_batches_tracked")
        },
        unit_norm=layout.unit_norm,
        card=card | {"scales": [1.0, 0.5], "filter": "bicubic", "pooling": "avg"},
    )


def _check(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    layout: Layout,
    expected: Mapping[str, tuple[int, ...]],
) -> None:
    """Raise ValueError unless the tensors of a layout's network are those expected."""
    missing = [key for key in expected if key not in tensors]
    not_needed = (layout.prefix + "fc.", layout.head)
    extra = [
        key
        for key in tensors
        if key.startswith(layout.prefix)
        and key not in expected
        and not key.startswith(not_needed)
        and not key.endswith("num_batches_tracked")
    ]
    wrong = [
        f"{key} {tuple(tensors[key].shape)} instead of {shape}"
        for key, shape in expected.items()
        if key in tensors and tuple(tensors[key].shape) != shape
    ]
    if missing or extra or wrong:
        raise ValueError(
            f"{os.fspath(path)!r} looks like {layout.paper}'s weights, but is no ResNet-50: of "
            f"{len(expected)} tensors {len(missing)} are missing{in_brackets(missing)}, "
            f"{len(wrong)} have another shape{in_brackets(wrong)}, and {len(extra)} are not "
            f"expected{in_brackets(extra)}."
        )
