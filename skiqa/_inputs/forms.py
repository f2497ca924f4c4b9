"""What forms an image may have, and which one is this? Nothing is opened, decoded or copied.

A form is a path or an address, the bytes of an encoded file, a row {"bytes", "path"} of a Hugging
Face data set, a PIL image, an array (h, w[, c]) or a torch tensor (c, h, w).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from PIL import Image

from skiqa._inputs.addresses import is_address, public_name
from skiqa._types import SupportsArray

if TYPE_CHECKING:
    import torch


def check_form(image: object) -> None:
    """Raise TypeError or ValueError when `image` cannot be an image; opens and copies nothing."""
    if is_single(image) or is_missing(image) or isinstance(image, list | tuple):
        return
    if is_tensor(image):
        kind = "b" if "bool" in str(image.dtype) else "c" if image.is_complex() else "f"
        layout = "a torch tensor is (h, w) or (c, h, w)"
        check_shape(tuple(image.shape), kind, layout, channel_axis=0)
        return
    if hasattr(image, "shape") and hasattr(image, "dtype"):
        kind = getattr(image.dtype, "kind", "f")
        check_shape(tuple(image.shape), kind, "an array is (h, w) or (h, w, c)", channel_axis=-1)
        return
    if is_array_like(image) or is_row_of_data_set(image):
        return
    hint = ", pass its .read()" if hasattr(image, "read") else ""
    raise TypeError(
        "an image is a path or an address, the bytes of an encoded file, a PIL image, an array or "
        f"a torch tensor, not {type(image).__name__}{hint}"
    )


def is_row_of_data_set(image: object) -> TypeGuard[Mapping[str, Any]]:
    """Is it {"bytes": ..., "path": ...}, as Hugging Face data sets hold undecoded images?"""
    return isinstance(image, Mapping) and ("bytes" in image or "path" in image)


def unpacked(image: Any) -> Any:
    """Return the bytes or, where there are none, the path in a row of a data set; else `image`."""
    if not is_row_of_data_set(image):
        return image
    data = image.get("bytes")
    return image.get("path") if data is None else data


def check_shape(shape: tuple[int, ...], kind: str, layout: str, channel_axis: int) -> None:
    """Raise TypeError or ValueError when numbers of this shape and numpy kind are no picture."""
    if kind not in "buifO":
        raise TypeError("the values are not real numbers")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[channel_axis] not in (1, 3, 4)):
        raise ValueError(f"{layout} with c = 1, 3 or 4, not {shape}")


def describe(image: object) -> str:
    """What stands in X, in a few words: the path, or what kind of object it is."""
    if is_row_of_data_set(image):
        return describe(image.get("path") or unpacked(image))
    if isinstance(image, str | os.PathLike):
        return repr(public_name(image) if is_address(image) else os.fspath(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return f"<{len(image)} bytes>"
    if isinstance(image, Image.Image):
        return f"<PIL image {image.mode} {image.size[0]}x{image.size[1]}>"
    if hasattr(image, "shape") and hasattr(image, "dtype"):
        name = "tensor" if is_tensor(image) else "array"
        return f"<{name} {tuple(image.shape)} {str(image.dtype).removeprefix('torch.')}>"
    if is_missing(image):
        return repr(image)
    return f"<{type(image).__name__}>"


def is_single(
    value: object,
) -> TypeGuard[str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image]:
    """Is it a path, encoded bytes or a PIL image: one image, whatever stands around it?"""
    return isinstance(value, str | os.PathLike | bytes | bytearray | memoryview | Image.Image)


def is_tensor(value: object) -> TypeGuard[torch.Tensor]:
    """Is it a torch tensor? Asked without importing torch, which takes seconds."""
    classes = type(value).__mro__
    return any(c.__name__ == "Tensor" and c.__module__.startswith("torch") for c in classes)


def is_array_like(value: object) -> TypeGuard[SupportsArray]:
    """Does numpy make an array of it: an array, a tensor, a Series, a data frame?"""
    return hasattr(value, "__array__") or hasattr(value, "__array_interface__")


def is_missing(value: object) -> bool:
    """Is it None, NaN or pandas' NA: a gap in a column of paths?"""
    if isinstance(value, float | np.floating):
        return bool(value != value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")
