"""A whole scorer as one module that can be exported: from the pixels of a photo to its score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL
import torch
from torch import nn
from torch.nn.functional import normalize

from skiqa._features.standardise import stage_constants
from skiqa._network.export import PooledNetwork, to_graph
from skiqa._network.live import live_networks
from skiqa._network.live_engines import live_engines
from skiqa._network.state import EncoderState
from skiqa._types import Floats

# Below it Pillow would average whole blocks of pixels before it filters.
SMALLEST_SCALE = 0.3

BITS = 22  # of a weight in Pillow's filters
HALF = 2 ** (BITS // 2)

# From 13 on Pillow filters the columns before the rows where it takes more than twice as much from
# the height as from the width.
BY_SHAPE = int(PIL.__version__.partition(".")[0]) >= 13


class Scorer(nn.Module):
    """What a linear model of the features makes of the pixels of one photo.

    All that `skiqa._inputs.resizing` and `skiqa._features.standardise` do, in operations that a
    trace follows whatever the size of the photo.

    Parameters
    ----------
    state : EncoderState
        Without content beside it.
    scales : sequence of float
        Of the encoder; none below `SMALLEST_SCALE`.
    pooling : {"stages", "avg"}
    coef : ndarray of shape (n_features,)
    intercept : float

    Raises
    ------
    TypeError
        If a network does not run outside PyTorch, or a scale is too small.
    """

    center: torch.Tensor
    weight: torch.Tensor
    intercept: torch.Tensor

    def __init__(
        self,
        state: EncoderState,
        scales: Sequence[float],
        pooling: str,
        coef: Floats,
        intercept: float,
    ) -> None:
        super().__init__()
        if min(scales) < SMALLEST_SCALE:
            raise TypeError(f"a scale of {min(scales)} is below {SMALLEST_SCALE}")
        networks = live_networks(state, torch.device("cpu"), torch.float32)
        if not all(live_engines(state, pooling)):
            raise TypeError(f"the network {state.backbone} does not run outside PyTorch")
        self.networks = nn.ModuleList(PooledNetwork(network, pooling) for network in networks)
        self.strides, self.pooling = [network.stride for network in networks], pooling
        self.scales = tuple(scales)
        self.normed = pooling == "avg" and state.unit_norm
        center: Floats = np.zeros((), np.float32)
        weight = np.asarray(coef, np.float64)
        if pooling == "stages":
            center, scale = stage_constants(state, scales)
            weight = weight / (scale * np.sqrt(weight.size))
        for name, value in {"center": center, "weight": weight, "intercept": intercept}.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Score uint8 pixels (1, h, w, 3): (1,) float32."""
        copies = [_scaled(pixels, scale) for scale in self.scales]
        blocks = [
            network(_padded(copy, stride, self.pooling))
            for network, stride in zip(self.networks, self.strides, strict=True)
            for copy in copies
        ]
        if self.normed:
            blocks = [normalize(block, dim=1) for block in blocks]
        row = torch.cat(blocks, dim=1)
        return ((row - self.center) * self.weight).sum(1) + self.intercept


def scorer_graph(scorer: Scorer) -> bytes:
    """Return a scorer as an ONNX file, from "pixels", uint8 (1, h, w, 3), to "score", (1,)."""
    example = torch.zeros(1, 130, 171, 3, dtype=torch.uint8)
    return to_graph(scorer, "pixels", "score", example)


def _scaled(pixels: torch.Tensor, scale: float) -> torch.Tensor:
    """Scale pixels (1, h, w, 3) as `skiqa._inputs.resizing.resize` does, to the bit.

    Pillow's bicubic filter along rows and columns, each with weights of `BITS` bits and rounded to
    levels. A matrix of float32 does it exactly where the weights come in two halves.
    """
    if scale == 1:
        return pixels
    sides = torch.stack([torch.as_tensor(side) for side in pixels.shape[1:3]])
    height, width = sides
    new_height, new_width = (sides.double() * scale).floor().long().clamp(min=1)
    across, down = _weights(width, new_width), _weights(height, new_height)
    # A trace has no branches, but there is no work in none of the three channels.
    rows_first = 3 * (height - new_height <= 2 * (width - new_width)).long() if BY_SHAPE else 3
    x = pixels.permute(0, 3, 1, 2).float()
    first = _filtered_down(_filtered_across(x[:, :rows_first], *across), *down)
    second = _filtered_across(_filtered_down(x[:, rows_first:], *down), *across)
    return torch.cat([first, second], 1).permute(0, 2, 3, 1)


def _filtered_across(x: torch.Tensor, high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    return _rounded(x @ high.T, x @ low.T)


def _filtered_down(x: torch.Tensor, high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    return _rounded(high @ x, low @ x)


def _weights(side: torch.Tensor, new_side: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Pillow's weights (new_side, side) of a filter along one side.

    In units of 2 ** -(BITS / 2): their whole numbers, and what is left of them.
    """
    old, new = side.double(), new_side.double()
    places = (_count(side) + 0.5) * new
    centers = (_count(new_side) + 0.5) * old
    x = ((places[None] - centers[:, None]) / old).abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((x - 5) * x + 8) * x * -0.5 + 2
    weights = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    weights = weights / weights.sum(1, keepdim=True) * 2**BITS
    weights = torch.where(weights < 0, (weights - 0.5).ceil(), (weights + 0.5).floor())
    weights = weights / HALF
    high = weights.floor()
    return high.float(), (weights - high).float()


def _count(length: Any) -> torch.Tensor:
    return torch.arange(length).double()


def _rounded(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """Return the levels, 0 to 255, that two halves of sums stand for."""
    return ((high + low.floor() + HALF / 2) / HALF).floor().clamp(0, 255)


def _padded(pixels: torch.Tensor, stride: int, pooling: str) -> torch.Tensor:
    """Pad pixels (1, h, w, 3) as `skiqa._inputs.resizing.pad_for_network` does."""
    for dim in (1, 2):
        side: Any = torch.as_tensor(pixels.shape[dim])  # of which a trace makes a variable
        missing = (-side) % stride
        if pooling != "stages":
            missing = missing * (side < stride)
        new = torch.arange(side, side + missing)  # back and forth, if need be repeatedly
        period = (2 * (side - 1)).clamp(min=1)
        mirrored = torch.minimum(new % period, (-new) % period)
        pixels = torch.cat([pixels, pixels.index_select(dim, mirrored)], dim)
    return pixels
