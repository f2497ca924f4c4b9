"""Arrays and tensors, of any dtype, to RGB uint8; and what PIL images share with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skiqa._inputs.depth import to_eight_bits
from skiqa._inputs.forms import check_shape, is_tensor
from skiqa._types import Pixels
from skiqa.exceptions import ImageError

# Floats come out of other libraries' resizing and colour conversion a few ulp outside [0, 1].
FLOAT_TOLERANCE = 1e-5


def array_to_rgb(image: Any) -> Pixels:
    """Convert an array (h, w[, c]), a tensor (c, h, w) or nested lists to (h, w, 3), uint8."""
    if is_tensor(image):
        tensor = image.detach().cpu()
        # numpy has no bfloat16, and float16 has too few digits for what follows.
        values = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        values = values.transpose(1, 2, 0) if values.ndim == 3 else values
    else:
        values = np.asarray(image)
        if values.dtype == object:  # numpy.array([a, b], dtype=object) of equal sizes
            values = np.asarray(values.tolist())
    layout = "an array is (h, w) or (h, w, c)"
    check_shape(values.shape, values.dtype.kind, layout, channel_axis=-1)
    if values.size == 0:
        raise ImageError(f"the image has no pixels: its shape is {values.shape}", kind="damaged")
    pixels = to_uint8(values)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return grey_to_rgb(pixels.reshape(pixels.shape[:2]))
    if pixels.shape[2] == 4:
        return lay_over_white(pixels)
    pixels = np.ascontiguousarray(pixels)
    return pixels if pixels.flags.writeable else pixels.copy()


def to_uint8(values: npt.NDArray[Any]) -> Pixels:
    """Values of any dtype to 0..255; ValueError when what they mean is not certain."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:  # of either byte order
        return to_eight_bits(values)
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "uif":
        raise TypeError(f"the values are not real numbers but {values.dtype}")
    low, high = values.min(), values.max()
    if values.dtype.kind in "ui":
        if low < 0 or high > 255:
            raise ValueError(
                f"integer values must lie in 0..255, found {low}..{high}; "
                "pass 16-bit values as uint16"
            )
        return values.astype(np.uint8)
    if not np.isfinite(low + high):
        raise ValueError("the values contain NaN or infinity")
    if low < -FLOAT_TOLERANCE or high > 1 + FLOAT_TOLERANCE:
        remedy = "; divide by 255" if low >= 0 and high <= 255 else ""
        raise ValueError(f"float values must lie in [0, 1], found {low:g}..{high:g}{remedy}")
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def grey_to_rgb(grey: Pixels) -> Pixels:
    """Give a grey picture (h, w) three equal channels."""
    return np.repeat(grey[:, :, None], 3, axis=2)


def lay_over_white(rgba: Pixels) -> Pixels:
    """Lay RGB with alpha over white: round((c a + 255 (255 - a)) / 255), exactly, in uint8."""
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    if alpha.min() == 255:
        return np.array(colour, order="C")
    # c a + 255 (255 - a) = 255² - (255 - c) a, whose second term fits into 16 bits.
    cover = (255 - colour).astype(np.uint16) * alpha + np.uint16(127)
    return (255 - cover // 255).astype(np.uint8)
