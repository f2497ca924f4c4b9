"""X as an estimator gets it: images, or rows of numbers that scikit-learn checks first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from skiqa._inputs.containers import as_image_list, is_rows, refuse_lone_numbers
from skiqa._inputs.images import ImageList
from skiqa._inputs.rows import rows_as_images
from skiqa._types import Images


class TakesImages(Protocol):
    """An estimator that is told what its rows of numbers are."""

    image_shape: Sequence[int] | None


def open_images(estimator: TakesImages, X: Images, *, reset: bool) -> ImageList:
    """Return X as an ImageList; `reset`: set what `fit` knows of its columns, else check it."""
    if is_rows(X):
        refuse_lone_numbers(X)
        rows = validate_data(estimator, X, dtype=rows_dtype(estimator), reset=reset)
        return rows_as_images(rows, estimator.image_shape)
    if reset:
        forget_columns(estimator)
    return as_image_list(X)


def tag_images(tags: Tags) -> None:
    """Say in an estimator's tags that X may be images, their paths, or rows of their pixels."""
    tags.input_tags.two_d_array = True
    tags.input_tags.three_d_array = True
    tags.input_tags.string = True


def rows_dtype(estimator: TakesImages) -> type[np.float32] | None:
    """Return what rows of numbers are turned into; pixels stay as they are."""
    return np.float32 if estimator.image_shape is None else None


def forget_columns(estimator: TakesImages) -> None:
    """Delete what an earlier fit knew of the columns of X: images have none."""
    for name in ("n_features_in_", "feature_names_in_"):
        if hasattr(estimator, name):
            delattr(estimator, name)
