"""Palettes of least variance: the colours that an image is reduced to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from skiqa._types import Floats

__all__ = ["minimum_variance_palette", "reduce_colors"]

_BITS = 5
_SIDE = 1 << _BITS


def reduce_colors(image: Image.Image, n_colors: float) -> Image.Image:
    """The image in a palette of its own, dithered."""
    palette = minimum_variance_palette(np.asarray(image).reshape(-1, 3), int(n_colors))
    table = Image.new("P", (1, 1))
    filled = np.concatenate([palette, np.repeat(palette[-1:], 256 - len(palette), 0)])
    table.putpalette(filled.tobytes())
    return image.quantize(palette=table, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB")


def minimum_variance_palette(pixels: npt.NDArray[np.uint8], n_colors: int) -> npt.NDArray[np.uint8]:
    """Palette by Wu's greedy orthogonal bipartition of the colour cube.

    Boxes of a 32 x 32 x 32 histogram are cut, the one of greatest variance first, each where the
    sum of squared deviations falls most; a colour is the mean of its box.

    Parameters
    ----------
    pixels : uint8 array of shape (n, 3)
        The image's pixels.
    n_colors : int
        Most colours wanted.

    Returns
    -------
    uint8 array of shape (at most n_colors, 3)

    References
    ----------
    X. Wu, "Efficient statistical computations for optimal color quantization", Graphics Gems II,
    1991.
    """
    moments = _cumulative_moments(pixels)
    boxes = [_Box(moments, (0, 0, 0), (_SIDE, _SIDE, _SIDE))]
    while len(boxes) < n_colors:
        worst = max(boxes, key=lambda box: box.error if box.cut else -1)
        if worst.cut is None:
            break
        boxes.remove(worst)
        boxes.extend(worst.split(worst.cut))
    colors = np.array([box.total[1:4] / box.total[0] for box in boxes])
    return np.clip(np.round(colors), 0, 255).astype(np.uint8)


def _cumulative_moments(pixels: npt.NDArray[np.uint8]) -> Floats:
    """Sums of 1, r, g, b and r^2 + g^2 + b^2 over the cells below each corner of the cube."""
    channels = np.ascontiguousarray(pixels.T)
    cells = (channels >> (8 - _BITS)).astype(np.int64)
    index = (cells[0] << 2 * _BITS) | (cells[1] << _BITS) | cells[2]
    values = channels.astype(np.float64)
    columns = (None, *values, np.einsum("cn,cn->n", values, values))
    moments = np.zeros((_SIDE + 1, _SIDE + 1, _SIDE + 1, len(columns)))
    for i, weights in enumerate(columns):
        counts = np.bincount(index, weights, minlength=_SIDE**3)
        moments[1:, 1:, 1:, i] = counts.reshape(_SIDE, _SIDE, _SIDE)
    return moments.cumsum(0).cumsum(1).cumsum(2)


class _Box:
    """Cells low <= cell < high, their moments, and the best cut of the box."""

    def __init__(self, moments: Floats, low: Sequence[int], high: Sequence[int]) -> None:
        self.moments, self.low, self.high = moments, low, high
        below = [self._below(axis) for axis in range(3)]
        self.total = below[0][-1]
        explained = _gain(self.total)
        self.error = self.total[4] - explained
        self.cut: tuple[int, int] | None = None  # the axis, and where on it
        # all cuts of all axes at once
        first = np.concatenate([part[:-1] for part in below])
        if not len(first):
            return
        second = self.total - first
        possible = (first[:, 0] > 0.5) & (second[:, 0] > 0.5)
        gains = np.where(possible, _gain(first) + _gain(second), -1)
        best = int(gains.argmax())
        if gains[best] > explained + 1e-6 * max(self.error, 1.0):
            axis = 0
            while best >= len(below[axis]) - 1:
                best -= len(below[axis]) - 1
                axis += 1
            self.cut = axis, low[axis] + 1 + best

    def _below(self, axis: int) -> Floats:
        """Moments (n, 5) of the box's part below low + 1, low + 2, ... high along the axis."""
        planes = np.moveaxis(self.moments, axis, 0)[self.low[axis] : self.high[axis] + 1]
        (a, b), (c, d) = ((self.low[i], self.high[i]) for i in range(3) if i != axis)
        sums = planes[:, b, d] - planes[:, a, d] - planes[:, b, c] + planes[:, a, c]
        return sums[1:] - sums[0]

    def split(self, cut: tuple[int, int]) -> list[_Box]:
        """The two boxes on either side of a cut."""
        axis, position = cut
        middle_low, middle_high = list(self.low), list(self.high)
        middle_low[axis] = middle_high[axis] = position
        return [
            _Box(self.moments, self.low, middle_high),
            _Box(self.moments, middle_low, self.high),
        ]


def _gain(moments: Floats) -> Floats:
    """|sum of colours|^2 / count: what the mean explains of the squared colours."""
    colors = moments[..., 1:4]
    return np.einsum("...c,...c->...", colors, colors) / np.maximum(moments[..., 0], 1)
