"""The constants that stage features are standardised by, measured over photos."""

import numpy as np

from skiqa._features.extract import extract


def standardising_constants(images, indices, state, *, device, n_jobs):
    """Return (center, scale) of the stage features of some images, for their state.

    Parameters
    ----------
    images : ImageList
    indices : sequence of int
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
    options = {"scales": state.reference_scales, "pooling": "stages", "device": device,
               "precision": "float32", "n_jobs": n_jobs, "on_error": "nan"}  # fmt: skip
    rows = [row for _, row in extract(images, state=state, indices=indices, **options)]
    rows = np.stack([row for row in rows if isinstance(row, np.ndarray)]).astype(np.float64)
    rows *= np.sqrt(rows.shape[1])
    deviation = rows.std(axis=0)
    deviation[deviation < 1e-6 * np.abs(rows).max(axis=0)] = 1.0
    deviation[deviation == 0] = 1.0
    shape = (len(state.networks), len(state.reference_scales), -1)
    return (
        rows.mean(axis=0).astype(np.float32).reshape(shape),
        deviation.astype(np.float32).reshape(shape),
    )
