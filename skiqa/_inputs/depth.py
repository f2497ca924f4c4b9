"""Values of more than eight bits to eight: which of them is white?"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from skiqa._types import Pixels

__all__ = ["FEW_BITS", "to_eight_bits"]

# uint16 values whose largest lies below use no more than 14 bits: dark, or white is not 65535.
FEW_BITS = 2**14

STRIP = 2**18  # values


def to_eight_bits(
    values: npt.NDArray[Any], white: int | None = None, source: str = "uint16 values"
) -> Pixels:
    """Bring 16-bit values to 0..255.

    Parameters
    ----------
    values : ndarray of unsigned 16-bit integers, or integers in 0..65535
    white : int or None, default=None
        What the file says its white is; None: nothing, so it is 65535.
    source : str
        For the warning: whose values these are.

    Returns
    -------
    pixels : ndarray of uint8
        The nearest, rounded.

    Warns
    -----
    UserWarning
        When white is not known and no value uses more than 14 bits: then they may be of 10, 12 or
        14 bits, and look too dark.
    """
    used = np.zeros(2**16, bool)
    for strip in _strips(values):
        used[strip] = True
    found = np.flatnonzero(used)
    largest = int(found[-1])
    levels = np.arange(2**16)
    if white is not None and largest <= white and not _is_scaled(found, white):
        table = np.rint(levels.clip(max=white) * (255 / white)).astype(np.uint8)
    else:
        table = ((levels + 128) // 257).astype(np.uint8)  # 65535 = 257 * 255
    if white is None and 0 < largest < FEW_BITS:
        warnings.warn(
            f"{source} reach {largest}, and 65535 was taken for white: if they hold fewer than 16 "
            "bits, divide them by their own white and pass floats in [0, 1]",
            stacklevel=2,
        )
    pixels = np.empty(values.shape, np.uint8)
    for strip, out in zip(_strips(values), _strips(pixels), strict=True):
        out[...] = table[strip]
    return pixels


def _strips(values: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Yield some rows at a time: whoever looks values up in a table makes a copy of eight bytes."""
    rows = max(1, STRIP // max(1, values[:1].size))
    return (values[at : at + rows] for at in range(0, len(values), rows))


def _is_scaled(values: npt.NDArray[Any], white: int) -> bool:
    """Were values of 0..white scaled to 0..65535, by zeros below or by a factor?"""
    step = 65536 // (white + 1)
    nearest = np.rint(np.rint(values * (white / 65535)) * (65535 / white))
    return not (values % step).any() or bool((np.abs(nearest - values) <= 1).all())
