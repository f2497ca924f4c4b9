"""What is evaluated: images and opinions of one length, from arrays or from a Bunch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import Bunch
from sklearn.utils.validation import _num_samples, column_or_1d

from skiqa._types import Floats, Images, Integers
from skiqa.datasets._contents import content_numbers


@dataclass(frozen=True)
class Samples:
    """Images, and of each its opinion score, content, type of degradation and official split."""

    X: Images
    y: Floats  # NaN: no opinion
    groups: Integers  # number of the content, from 0 on
    degradation: npt.NDArray[Any] | None
    split: npt.NDArray[Any] | None
    weights: Floats | None = None  # that each counts in fitting


def check_samples(
    X: Images | Bunch,
    y: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    degradation: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
) -> Samples:
    """Return samples of one length; what is not given is that of X, if X is a Bunch."""
    split = None
    if isinstance(X, dict):
        bunch = X
        if "data" not in bunch:
            raise ValueError(f"the Bunch has no 'data', only {sorted(bunch)}")
        X, split = bunch["data"], bunch.get("split")
        y = bunch.get("target") if y is None else y
        groups = bunch.get("groups") if groups is None else groups
        degradation = bunch.get("degradation") if degradation is None else degradation
    if y is None:
        raise ValueError("y is missing: give the opinion scores, or a Bunch with 'target'")
    n = _num_samples(X)
    samples = Samples(
        X,
        np.asarray(y, dtype=np.float64),
        np.arange(n) if groups is None else content_numbers(column_or_1d(groups)),
        None if degradation is None else np.asarray(degradation),
        None if split is None else np.asarray(split),
        None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64),
    )
    for name in ("y", "groups", "degradation", "weights"):
        values = getattr(samples, name)
        if values is not None and values.shape != (n,):
            raise ValueError(f"{name} must have shape ({n},), one for each image: {values.shape}")
    return samples
