"""What pooled features still need: constants of their weights, or a norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from skiqa._features.width import part_width
from skiqa._network.state import EncoderState
from skiqa._types import Floats

RowFunction: TypeAlias = Callable[[Floats], Floats]  # (n_features,) -> (n_features,), float32


def finisher(state: EncoderState, scales: Sequence[float], pooling: str) -> RowFunction:
    """Return what pooled features still need, as a function of a row: their weights say what."""
    parts = state.parts()
    if len(parts) == 1:
        return _finisher_of_part(state, scales, pooling)
    finishers = [_finisher_of_part(part, scales, pooling) for part in parts]
    ends = np.cumsum([part_width(part, scales, pooling) for part in parts])[:-1]
    # stage features of a row: about one in all, whatever stands beside whatever
    weight = np.float32(len(parts) ** -0.5 if pooling == "stages" else 1.0)

    def finish(row: Floats) -> Floats:
        pieces = np.split(row, ends)
        return weight * np.concatenate([f(x) for f, x in zip(finishers, pieces, strict=True)])

    return finish


def _finisher_of_part(state: EncoderState, scales: Sequence[float], pooling: str) -> RowFunction:
    if pooling == "stages":
        return standardiser(state, scales)
    if not state.unit_norm:
        return lambda row: row
    blocks = len(state.networks) * len(scales)  # each of norm one

    def normed(row: Floats) -> Floats:
        rows = row.reshape(blocks, -1)
        return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).ravel()

    return normed


def standardiser(state: EncoderState, scales: Sequence[float]) -> RowFunction:
    """Return the function that centres and scales a row of stage features.

    Parameters
    ----------
    state : EncoderState
        With constants at its reference scales, or without any (then only the division by the
        square root of the width is left).
    scales : tuple of float
        The scales of the row; each takes the constants of the nearest reference scale.

    Returns
    -------
    callable
        (n_features,) -> (n_features,), float32.
    """
    center, scale = stage_constants(state, scales)
    return lambda row: (row - center) / (scale * np.float32(np.sqrt(row.size)))


def stage_constants(state: EncoderState, scales: Sequence[float]) -> tuple[Floats, Floats]:
    """Return (center, scale) of a row of stage features, float32: 0 and 1 where there are none."""
    if state.center is None or state.scale is None:
        return np.zeros((), np.float32), np.ones((), np.float32)
    reference = np.log(state.reference_scales)
    nearest = [int(np.abs(reference - np.log(s)).argmin()) for s in scales]
    return state.center[:, nearest].reshape(-1), state.scale[:, nearest].reshape(-1)
