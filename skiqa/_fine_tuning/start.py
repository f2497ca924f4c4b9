"""The encoder that a fine-tuning starts from."""

from __future__ import annotations

import copy
import os
from typing import Any

from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from skiqa._encoder import ContrastiveQualityEncoder
from skiqa._inputs.images import ImageList
from skiqa._types import Path


def starting_encoder(
    encoder: ContrastiveQualityEncoder | FrozenEstimator | Path | None,
    images: ImageList,
    *,
    image_shape: tuple[int, ...] | None,
    device: str,
    n_jobs: int | None,
) -> ContrastiveQualityEncoder:
    """Return a fitted encoder, never the one that was given.

    Parameters
    ----------
    encoder, image_shape, device, n_jobs
        As of :class:`~skiqa.FineTunedQualityRegressor`.
    images : ImageList
        What an encoder that is not frozen is fitted to.

    Raises
    ------
    TypeError
        If it is no encoder.
    NotFittedError
        If it is frozen, but was never fitted.
    ValueError
        If it has several networks, or cannot be fitted.
    """
    start: ContrastiveQualityEncoder
    if isinstance(encoder, FrozenEstimator):
        start = copy.copy(_require_encoder(encoder.estimator))
        check_is_fitted(start)
    else:
        if encoder is None or isinstance(encoder, str | os.PathLike):
            encoder = _named_encoder(encoder, device, n_jobs)
        start = clone(_require_encoder(encoder)).fit(images)
    state = start.state_
    if len(state.networks) > 1 or state.content is not None:
        raise ValueError(
            "The encoder has several networks; one is fine-tuned. Use keep_start=False and "
            "content_backbone=None."
        )
    changes: dict[str, Any] = {"image_shape": image_shape, "on_error": "raise"}
    if n_jobs is not None:
        changes["n_jobs"] = n_jobs
    return start.set_params(**changes)


def _named_encoder(name: Path | None, device: str, n_jobs: int | None) -> ContrastiveQualityEncoder:
    """Return an encoder, not fitted, with a file's weights, timm's or the bundled ones."""
    if name is None:
        return ContrastiveQualityEncoder(device=device, n_jobs=n_jobs)
    if os.path.exists(name):
        return ContrastiveQualityEncoder(weights=name, device=device, n_jobs=n_jobs)
    return ContrastiveQualityEncoder(str(name), weights="timm", device=device, n_jobs=n_jobs)


def _require_encoder(encoder: Any) -> ContrastiveQualityEncoder:
    """Raise TypeError if what was given is no encoder."""
    if not isinstance(encoder, ContrastiveQualityEncoder):
        raise TypeError(
            f"encoder is a {type(encoder).__name__}; give a ContrastiveQualityEncoder (a fitted "
            "one in a FrozenEstimator), a file of weights, timm's name of a network, or None."
        )
    return encoder
