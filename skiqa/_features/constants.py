"""The constants that stage features are standardised by, measured over photos."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from skiqa._features.extract import Extraction, extract
from skiqa._inputs.images import ImageList
from skiqa._network.state import EncoderState
from skiqa._types import Floats
from skiqa.exceptions import ImageError


def standardising_constants(
    images: ImageList,
    indices: Iterable[int],
    state: EncoderState,
    *,
    device: torch.device,
    n_jobs: int | None,
) -> tuple[Floats, Floats]:
    """Return (center, scale) of the stage features of some images, for their state.

    Parameters
    ----------
    images : ImageList
    indices : iterable of int
        Which images.
    state : EncoderState
        Without constants.
    device : torch.device
    n_jobs : int or None

    Returns
    -------
    center, scale : ndarray of shape (n_experts, n_reference_scales, d), float32
        Mean and standard deviation; where all images agree, a deviation of 1.
    """
    how = (tuple(state.reference_scales), "stages", str(device), "float32", state.max_pixels)
    extraction = Extraction(state, *how)
    extracted = extract(images, extraction, n_jobs=n_jobs, on_error="nan", indices=indices)
    readable = [row for _, row in extracted if not isinstance(row, ImageError)]
    rows = np.stack(readable).astype(np.float64)
    rows *= np.sqrt(rows.shape[1])
    deviation = rows.std(axis=0)
    deviation[deviation < 1e-6 * np.abs(rows).max(axis=0)] = 1.0
    deviation[deviation == 0] = 1.0
    shape = (len(state.networks), len(state.reference_scales), -1)
    return (
        rows.mean(axis=0).astype(np.float32).reshape(shape),
        deviation.astype(np.float32).reshape(shape),
    )
