"""Scores of images one after the other: with what cannot be read, and what is odd about them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skiqa import _types
from skiqa._encoder import ContrastiveQualityEncoder
from skiqa._features.flags import Flags
from skiqa.exceptions import ImageError


def is_scorer(model: Any) -> bool:
    """Whether a model is a pipeline from images to predictions."""
    return (
        isinstance(model, Pipeline)
        and isinstance(model[0], ContrastiveQualityEncoder)
        and hasattr(model, "predict")
    )


class Quality(NamedTuple):
    """What is known of one image.

    Parameters
    ----------
    index : int
        Position in X, counted up from 0.
    score : float
        The prediction; NaN for an unreadable image.
    error : ImageError or None
        Why it is unreadable.
    flags : tuple of str
        What is odd about it, so that its score says little.

    Notes
    -----
    Flags speak of an image at its viewing size. "blank" is one color but for one pixel in a
    thousand, "nearly uniform" nine tenths of one color, "tiny" a side below 64 pixels, "extreme
    shape" a side more than five times the other, "upscaled" pixels that are repeated in blocks:
    enlarging that smooths cannot be told from blur. Of an "animated" file the first frame is
    scored; a "damaged" one has a score only where the encoder allows it. "unlike" are features
    farther from the average photo than those of 99 % of the photos that the scorer was fitted to,
    where its card says how far that is: the bundled one's, and those of ``skiqa fit``.
    """

    index: int  # type: ignore[assignment]  # no one looks for values in it
    score: float
    error: ImageError | None
    flags: tuple[str, ...]


def iter_quality(
    model: Pipeline, X: _types.Images, *, n_jobs: int | None = None
) -> Generator[Quality, None, None]:
    """Score images one after the other, as they are computed; unreadable ones do not stop it.

    Parameters
    ----------
    model : Pipeline
        Fitted, with a :class:`~skiqa.ContrastiveQualityEncoder` as its first step.
    X : array-like of images
        What the encoder takes.
    n_jobs : int or None, default=None
        Photos in work at a time; None keeps the encoder's own.

    Yields
    ------
    Quality
        (index, score, error, flags), in order.

    Examples
    --------
    >>> import numpy as np, skiqa
    >>> from skiqa.persistence import iter_quality
    >>> for quality in iter_quality(skiqa.load_model(), [np.zeros((100, 100, 3)), "missing.jpg"]):
    ...     print(quality.index, quality.flags, quality.error and quality.error.kind)
    0 ('blank', 'unlike') None
    1 () missing
    """
    return _each_quality(model, X, n_jobs, flagged=True)


def _each_quality(
    model: Pipeline, X: _types.Images, n_jobs: int | None, flagged: bool
) -> Generator[Quality, None, None]:
    """Score images; what is odd about them takes decoding those whose features are known."""
    check_is_fitted(model)
    if not is_scorer(model):
        raise TypeError(
            "The model must be a Pipeline that begins with a ContrastiveQualityEncoder, not "
            f"{type(model).__name__}."
        )
    encoder, rest = model[0], model[1:]
    images = encoder.open_images(X)
    seen: Flags | None = None
    if flagged:
        viewed, card = encoder.extraction("cpu").max_pixels, getattr(model[-1], "card_", {})
        seen = Flags(images, viewed, card)
    for index, row in encoder.iter_features(images, on_error="nan", n_jobs=n_jobs):
        failed = isinstance(row, ImageError)
        score = float("nan") if failed else float(rest.predict(row[None])[0])
        flags = seen.pop(index, row) if seen else ()
        yield Quality(index, score, row if failed else None, flags)


@overload
def predict_quality(
    model: Pipeline,
    X: _types.Images,
    *,
    n_jobs: int | None = None,
    return_flags: Literal[False] = False,
) -> npt.NDArray[np.float64]: ...


@overload
def predict_quality(
    model: Pipeline, X: _types.Images, *, n_jobs: int | None = None, return_flags: Literal[True]
) -> tuple[npt.NDArray[np.float64], list[tuple[str, ...]]]: ...


def predict_quality(
    model: Pipeline, X: _types.Images, *, n_jobs: int | None = None, return_flags: bool = False
) -> npt.NDArray[np.float64] | tuple[npt.NDArray[np.float64], list[tuple[str, ...]]]:
    """Predict as ``model.predict`` does, with NaN for images that cannot be read.

    Parameters
    ----------
    model : Pipeline
        As in :func:`~skiqa.persistence.iter_quality`.
    X : array-like of images
    n_jobs : int or None, default=None
        Photos in work at a time; None keeps the encoder's own.
    return_flags : bool, default=False
        Whether what is odd about each image is returned, too.

    Returns
    -------
    scores : ndarray of shape (n_samples,), float64
    flags : list of tuple of str
        As of :class:`~skiqa.persistence.Quality`. Only if `return_flags`.

    Examples
    --------
    >>> import numpy as np, skiqa
    >>> from sklearn.datasets import load_sample_images
    >>> china = load_sample_images().images[0]
    >>> skiqa.predict_quality(skiqa.load_model(), [china, "missing.jpg"]).shape
    (2,)
    >>> gray = np.full((200, 300, 3), 128, np.uint8)
    >>> skiqa.predict_quality(skiqa.load_model(), [china, gray], return_flags=True)[1]
    [(), ('blank', 'unlike')]
    """
    found = list(_each_quality(model, X, n_jobs, flagged=return_flags))
    scores = np.array([quality.score for quality in found])
    return (scores, [quality.flags for quality in found]) if return_flags else scores
