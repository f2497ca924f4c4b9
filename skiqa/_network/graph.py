"""A network with its pooling as ONNX Runtime runs it, apart from its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy.typing as npt

from skiqa._types import Arrays

# What stands before the name of an array in a graph.
PREFIX = "network.model."

# Of any network there is: what lies beyond is no network, but a damaged file.
_LARGEST_STRIDE, _LARGEST_WIDTH = 1024, 10**6


@dataclass(frozen=True, eq=False, kw_only=True)
class Graph:
    """From the pixels of a photo to its pooled features, without PyTorch.

    Of any state that has the backbone, `mean` and `std` of the state that it was made of: the
    weights are put in when it is run.

    Parameters
    ----------
    structure : bytes
        An ONNX file whose input "pixels" is uint8 (1, h, w, 3), whose output "row" is float32
        (1, width), and whose weights lie outside of it under the names of `shapes` behind
        `PREFIX`.
    shapes : dict
        {name: shape} of the arrays of a state's network that it takes.
    stride : int
        Pixels of the photo per cell of the network's last map: sides are multiples of it.
    width : int
        Features of a photo.
    """

    structure: bytes = field(repr=False)
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)
    stride: int
    width: int

    def __post_init__(self) -> None:
        for name, most in (("stride", _LARGEST_STRIDE), ("width", _LARGEST_WIDTH)):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"a graph with {name}={value!r}: expected 1 to {most}")

    @cached_property
    def digest(self) -> str:
        """A hash of all of it."""
        rest = (sorted(self.shapes.items()), self.stride, self.width)
        return hashlib.sha256(self.structure + repr(rest).encode()).hexdigest()

    def check(self, arrays: Arrays, what: str) -> None:
        """Raise ValueError, which begins with `what`, if arrays that it takes are not there."""
        taken = {name: array for name, array in arrays.items() if name in self.shapes}
        check_shapes(self.shapes, taken, what)


def check_shapes(
    own: Mapping[str, tuple[int, ...]], arrays: Mapping[str, npt.NDArray[Any]], what: str
) -> None:
    """Raise ValueError, which begins with `what`, unless names and shapes are strictly equal."""
    missing, extra = sorted(own.keys() - arrays.keys()), sorted(arrays.keys() - own.keys())
    wrong = [k for k in own.keys() & arrays.keys() if tuple(own[k]) != arrays[k].shape]
    if missing or extra or wrong:
        raise ValueError(
            f"{what} do not fit the network: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(extra)} not expected {extra[:3]}, {len(wrong)} of another shape {wrong[:3]}."
        )
