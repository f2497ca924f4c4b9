"""What a teacher's rating counts. No PyTorch here: a teacher may be any regressor."""

from __future__ import annotations

import numpy as np

from skiqa._types import Floats


def confidence(spread: Floats) -> Floats:
    """Return ``1 / (1 + (spread / median spread)**2)`` of ratings, in [0, 1]; 1 without spread."""
    median = np.median(spread)
    return np.ones(len(spread)) if median == 0 else 1 / (1 + (spread / median) ** 2)
