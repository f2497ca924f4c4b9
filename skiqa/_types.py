"""Names for what functions take and give, for annotations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import PIL.Image
    import torch


class SupportsArray(Protocol):
    """Anything that numpy makes an array of: arrays, tensors, Series and data frames."""

    def __array__(self) -> npt.NDArray[Any]: ...


Path: TypeAlias = str | os.PathLike[str]

# One image: a path, encoded bytes, a PIL image, an array (h, w[, c]) or a tensor (c, h, w).
Image: TypeAlias = (
    "Path | bytes | bytearray | memoryview | PIL.Image.Image | npt.NDArray[Any] | torch.Tensor"
)

# What scikit-learn calls X: images in any container, or rows of numbers.
Images: TypeAlias = "Sequence[Image] | Sequence[Sequence[float]] | SupportsArray"

Pixels: TypeAlias = npt.NDArray[np.uint8]  # (h, w, 3), RGB
Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Integers: TypeAlias = npt.NDArray[np.integer[Any]]
Bools: TypeAlias = npt.NDArray[np.bool_]
Arrays: TypeAlias = dict[str, npt.NDArray[Any]]  # of a network: name -> parameter or buffer
