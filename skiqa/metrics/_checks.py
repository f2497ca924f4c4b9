"""What the figures of merit take: two vectors of real numbers, finite and of one length."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from skiqa._types import Floats, Integers


def check_scores(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return both as float64 (n,), or raise an error that says what is wrong with them."""
    true, predicted = _check_vectors(y_true, y_pred)
    for name, values in (("y_true", true), ("y_pred", predicted)):
        _check_finite(values, name, np.arange(len(values)))
    return true, predicted


def check_labelled(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Drop the rows without a label; refuse bad predictions for the others, by their own index."""
    true, predicted = _check_vectors(y_true, y_pred)
    index = np.flatnonzero(~np.isnan(true))
    _check_finite(predicted[index], "y_pred", index)
    return true[index], predicted[index]


def _check_vectors(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> tuple[Floats, Floats]:
    true, predicted = _check_vector(y_true, "y_true"), _check_vector(y_pred, "y_pred")
    if len(true) != len(predicted):
        raise ValueError(
            f"y_true has {len(true)} samples and y_pred {len(predicted)}: "
            "they must be of one length"
        )
    return true, predicted


def _check_vector(values: npt.ArrayLike, name: str) -> Floats:
    """Return `values` as float64 (n,); NaN and infinity may be in it."""
    if hasattr(values, "isna") and hasattr(values, "to_numpy"):  # pandas, whose NA is no float
        values = values.to_numpy(dtype=np.float64, na_value=np.nan)
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        try:
            if array.dtype.kind != "O":
                raise TypeError
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise TypeError(
                f"{name} must hold real numbers, got an array of dtype {array.dtype}"
            ) from None
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{name} must have shape (n_samples,), got {array.shape}: pass one score per image"
        )
    return array.astype(np.float64)


def _check_finite(values: Floats, name: str, index: Integers) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        remedy = (
            "predictions must be finite: leave unreadable images out, or look at the model"
            if name == "y_pred"
            else "drop unlabelled images first (the scorers do)"
        )
        raise ValueError(
            f"{name} holds {values[bad[0]]} at index {index[bad[0]]} ({len(bad)} in all): {remedy}"
        )
