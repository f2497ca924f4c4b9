"""Which photos of a training are known to be degraded, or pristine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def authentic_marks(authentic: npt.ArrayLike | None, n_images: int) -> npt.NDArray[np.int64]:
    """Return 1 (degraded by life), 0 (pristine) or -1 (unknown) for each image.

    Raises
    ------
    ValueError
        If there is not one bool for each image.
    """
    if authentic is None:
        return np.full(n_images, -1, dtype=np.int64)
    marks = np.asarray(authentic)
    if marks.shape != (n_images,):
        raise ValueError(
            f"authentic has shape {marks.shape}; give one bool for each of the {n_images} images."
        )
    if not np.isin(marks, (0, 1)).all():
        raise ValueError("authentic must hold only True (degraded by life) and False (pristine).")
    return marks.astype(np.int64)
