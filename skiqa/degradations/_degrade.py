"""One image or many, from wherever they come, through one degradation."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from skiqa.degradations._pillow import to_bytes
from skiqa.degradations._registry import Operator, get_operator

__all__ = ["degrade"]

_Images = TypeVar("_Images")


def degrade(images: _Images, name: str | Operator, level: int = 3, seed: int = 0) -> _Images:
    """Degrade images by name; for the prompt and for scripts.

    Parameters
    ----------
    images : PIL.Image.Image, numpy.ndarray, torch.Tensor, or list of these
        A PIL image of any mode (read as RGB); an array (H, W, 3) of uint8 or of floats in [0, 1];
        a float32 tensor (3, H, W) or (N, 3, H, W) in [0, 1]. Images of a list may differ in kind
        and size.
    name : str or Operator
        One of :func:`list_operators`.
    level : int, default=3
        1 (faint) to 5 (strong).
    seed : int, default=0
        Seed of random degradations; image i of a list or batch takes ``seed + i``.

    Returns
    -------
    same as `images`
        New images of the same kind, shape and type (PIL images in RGB).

    Raises
    ------
    TypeError
        If something is not an image.
    ValueError
        If name, level, shape or range of values do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa.degradations import degrade
    >>> photo = np.zeros((32, 48, 3), np.uint8)
    >>> noisy = degrade(photo, "white_noise", level=5)
    >>> noisy.shape, noisy.dtype, int(noisy.max()) > 0
    ((32, 48, 3), dtype('uint8'), True)
    """
    return cast(_Images, _degrade(images, get_operator(name), level, seed))


def _degrade(images: object, operator: Operator, level: int, seed: int) -> object:
    """What :func:`degrade` says, by the kind of image."""
    if isinstance(images, (list, tuple)):
        return type(images)(
            _degrade(image, operator, level, seed + i) for i, image in enumerate(images)
        )
    if isinstance(images, Image.Image):
        array = np.asarray(images.convert("RGB"))
        return Image.fromarray(_degrade_array(array, operator, level, seed))
    if isinstance(images, np.ndarray):
        return _degrade_array(images, operator, level, seed)
    if isinstance(images, torch.Tensor):
        _check_range(images)
        batch = images[None] if images.ndim == 3 else images
        seeds = torch.arange(len(batch)) + seed
        return operator(batch, level, seeds).view_as(images)
    raise TypeError(
        f"A PIL image, NumPy array, tensor, or a list of these is needed, not "
        f"{type(images).__name__}."
    )


def _degrade_array(
    array: npt.NDArray[Any], operator: Operator, level: int, seed: int
) -> npt.NDArray[Any]:
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ValueError(f"An array must have shape (H, W, 3), not {array.shape}.")
    is_bytes = array.dtype == np.uint8
    if not is_bytes and not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"An array must be uint8 or floats in [0, 1], not {array.dtype}.")
    scale = 255 if is_bytes else 1
    planes = np.ascontiguousarray(array.transpose(2, 0, 1), dtype=np.float32) / scale
    image = torch.from_numpy(planes)[None]
    _check_range(image)
    result = operator(image, level, seed)
    if is_bytes:
        return to_bytes(result)[0]
    return np.ascontiguousarray(result[0].permute(1, 2, 0).numpy().astype(array.dtype))


def _check_range(images: torch.Tensor) -> None:
    if images.numel() and not (images.amin() >= 0 and images.amax() <= 1):
        low, high = float(images.amin()), float(images.amax())
        raise ValueError(
            f"Values must lie in [0, 1], but run from {low:g} to {high:g}; divide by 255?"
        )
