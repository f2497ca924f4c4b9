"""Scores of images: with what cannot be read, what is odd about it, and how sure a score is."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from numbers import Integral
from typing import Any, Literal, NamedTuple, TypeAlias, overload

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import (
    _check_method_params,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from skiqa import _types
from skiqa._encoder import ContrastiveQualityEncoder
from skiqa._features.flags import Flags, unlike_above
from skiqa._inputs.streams import ImageStream
from skiqa._intervals import Intervals, calibrate
from skiqa._types import Floats, Integers
from skiqa.exceptions import ImageError

_Scores: TypeAlias = npt.NDArray[np.float64]
_Flags: TypeAlias = list[tuple[str, ...]]


def is_scorer(model: Any) -> bool:
    """Whether a model is a pipeline from images to predictions."""
    return (
        isinstance(model, Pipeline)
        and isinstance(model[0], ContrastiveQualityEncoder)
        and hasattr(model, "predict")
    )


def card_of(regressor: Any) -> dict[str, Any]:
    """Return what is known of a fitted regressor; nothing where nobody wrote it down."""
    card: dict[str, Any] = getattr(regressor, "card_", {})
    return card


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
    interval : tuple of 2 float, or None
        Between which numbers its opinion is, with the probability that was asked for; NaN for an
        unreadable image. None if none was asked for.

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
    interval: tuple[float, float] | None = None


def iter_quality(
    model: Pipeline,
    X: _types.Images | Iterator[_types.Image],
    *,
    n_jobs: int | None = None,
    interval: float | None = None,
) -> Generator[Quality, None, None]:
    """Score images one after the other, as they are computed; unreadable ones do not stop it.

    Parameters
    ----------
    model : Pipeline
        Fitted, with a :class:`~skiqa.ContrastiveQualityEncoder` as its first step.
    X : array-like or iterator of images
        What the encoder takes. Of an iterator no more are held than are in work, a few for each of
        `n_jobs`; what it yields may be an ImageError, too. Features that pass are not looked up in
        the encoder's cache, nor put there.
    n_jobs : int or None, default=None
        Photos in work at a time; None keeps the encoder's own.
    interval : float in (0, 1) or None, default=None
        Probability with which the interval around a score is to hold the opinion of a photo, as of
        :func:`~skiqa.persistence.predict_quality`. None: no intervals.

    Yields
    ------
    Quality
        (index, score, error, flags, interval), in order.

    Raises
    ------
    TypeError
        If the model is no scorer.
    ValueError
        If `interval` is not between 0 and 1, or the model cannot tell.

    Examples
    --------
    >>> import numpy as np, skiqa
    >>> from skiqa.persistence import iter_quality
    >>> for quality in iter_quality(skiqa.load_model(), [np.zeros((100, 100, 3)), "missing.jpg"]):
    ...     print(quality.index, quality.flags, quality.error and quality.error.kind)
    0 ('blank', 'unlike') None
    1 () missing
    """
    return _each_quality(model, X, n_jobs, interval, flagged=True)


def _check_scorer(model: Any) -> None:
    check_is_fitted(model)
    if not is_scorer(model):
        raise TypeError(
            "The model must be a Pipeline that begins with a ContrastiveQualityEncoder, not "
            f"{type(model).__name__}."
        )


def _each_quality(
    model: Pipeline,
    X: _types.Images | Iterator[_types.Image],
    n_jobs: int | None,
    interval: float | None,
    flagged: bool,
) -> Generator[Quality, None, None]:
    """Score images; what is odd about them takes decoding those whose features are known."""
    _check_scorer(model)
    encoder, rest, card = model[0], model[1:], card_of(model[-1])
    intervals = None if interval is None else Intervals(card, interval)
    images = (
        ImageStream(X, encoder.allow_damaged) if isinstance(X, Iterator) else encoder.open_images(X)
    )
    seen: Flags | None = None
    if flagged:
        seen = Flags(images, encoder.extraction("cpu").max_pixels, card)
    for index, row in encoder.iter_features(images, on_error="nan", n_jobs=n_jobs):
        flags = seen.pop(index, row) if seen else ()
        if isinstance(row, ImageError):
            nothing = float("nan")
            yield Quality(index, nothing, row, flags, (nothing, nothing) if intervals else None)
        else:
            score = float(rest.predict(row[None])[0])
            bounds = intervals.around(score, row) if intervals else None
            yield Quality(index, score, None, flags, bounds)


@overload
def predict_quality(
    model: Pipeline,
    X: _types.Images,
    *,
    n_jobs: int | None = None,
    interval: None = None,
    return_flags: Literal[False] = False,
) -> _Scores: ...


@overload
def predict_quality(
    model: Pipeline,
    X: _types.Images,
    *,
    n_jobs: int | None = None,
    interval: float,
    return_flags: Literal[False] = False,
) -> tuple[_Scores, _Scores]: ...


@overload
def predict_quality(
    model: Pipeline,
    X: _types.Images,
    *,
    n_jobs: int | None = None,
    interval: None = None,
    return_flags: Literal[True],
) -> tuple[_Scores, _Flags]: ...


@overload
def predict_quality(
    model: Pipeline,
    X: _types.Images,
    *,
    n_jobs: int | None = None,
    interval: float,
    return_flags: Literal[True],
) -> tuple[_Scores, _Scores, _Flags]: ...


def predict_quality(
    model: Pipeline,
    X: _types.Images,
    *,
    n_jobs: int | None = None,
    interval: float | None = None,
    return_flags: bool = False,
) -> _Scores | tuple[_Scores, _Scores] | tuple[_Scores, _Flags] | tuple[_Scores, _Scores, _Flags]:
    """Predict as ``model.predict`` does, with NaN for images that cannot be read.

    Parameters
    ----------
    model : Pipeline
        As in :func:`~skiqa.persistence.iter_quality`.
    X : array-like of images
    n_jobs : int or None, default=None
        Photos in work at a time; None keeps the encoder's own.
    interval : float in (0, 1) or None, default=None
        Probability with which `bounds` are to hold the opinion of a photo, such as 0.8. None: no
        `bounds`.
    return_flags : bool, default=False
        Whether what is odd about each image is returned, too.

    Returns
    -------
    scores : ndarray of shape (n_samples,), float64
    bounds : ndarray of shape (n_samples, 2), float64
        Below and above each score, in its units; NaN for images that cannot be read. Only if
        `interval` is given.
    flags : list of tuple of str
        As of :class:`~skiqa.persistence.Quality`. Only if `return_flags`.

    Raises
    ------
    TypeError
        If the model is no scorer.
    ValueError
        If `interval` is not between 0 and 1, or the model cannot tell: it has no calibration
        (:func:`~skiqa.persistence.calibrate_intervals` makes one), or one by too few photos.

    Notes
    -----
    Bounds come of how far the scorer was off on photos that took no part (split conformal
    prediction). They hold that part of the opinions of *such* photos, all taken together, noise of
    the raters included; of photos from elsewhere they may hold less. They are equally wide for
    all photos but those whose features are unlike ("unlike" among the flags): the farther, the
    wider.

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
    found = list(_each_quality(model, X, n_jobs, interval, flagged=return_flags))
    scores = np.array([quality.score for quality in found])
    flags = [quality.flags for quality in found]
    if interval is None:
        return (scores, flags) if return_flags else scores
    bounds = np.array([quality.interval for quality in found])
    return (scores, bounds, flags) if return_flags else (scores, bounds)


def calibrate_intervals(
    model: Pipeline,
    X: _types.Images,
    y: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    cv: int | Literal["prefit"] = 5,
    params: Mapping[str, Any] | None = None,
) -> None:
    """Let a scorer say how sure it is, by how far it is off on rated photos.

    What is found goes into the card of the scorer, ``model[-1].card_["interval"]``, and with it
    into pickles and files. It holds for this fit: after another `fit`, calibrate again.

    Parameters
    ----------
    model : Pipeline
        Fitted: a :class:`~skiqa.ContrastiveQualityEncoder`, then a regressor.
    X : array-like of images
        The rated photos that the regressor was fitted to; with ``cv="prefit"`` others.
    y : array-like of shape (n_samples,)
        Opinion scores, in the units of the model's. NaN: nobody rated it.
    groups : array-like of shape (n_samples,) or None, default=None
        Content of each photo; one without a name (None, NaN, "") is of its own. None: all are.
    cv : int in [2, inf) or "prefit", default=5
        By whom a photo is predicted. An int: by clones of what stands behind the encoder, fitted
        to the features of other contents, in so many folds. "prefit": by `model` as it is, which
        must not have seen the photos, nor their contents.
    params : dict or None, default=None
        What these fits are passed, as by scikit-learn's ``cross_val_predict``; such as
        ``{"ridge__sample_weight": weights}``.

    Raises
    ------
    ImageError
        If an image cannot be read. With the encoder's ``on_error="nan"`` it is left out.
    ValueError
        If lengths differ, or there are too few contents.

    Notes
    -----
    The encoder is not fitted again. One that was trained to these ratings, as by
    :class:`~skiqa.FineTunedQualityRegressor`, knows them: calibrate with other photos, and
    "prefit".

    Photos of one content count as one together. With n contents the highest level is
    n / (n + 1). Levels hold for new contents: with "prefit" exactly, with folds nearly, as each
    clone knows a little less than the model.

    Examples
    --------
    >>> import numpy as np, skiqa
    >>> from sklearn.datasets import load_sample_images
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from skiqa.persistence import calibrate_intervals
    >>> china, flower = load_sample_images().images
    >>> X = [photo[:96, k : k + 96] for photo in (china, flower) for k in range(0, 500, 50)]
    >>> y = np.repeat([4.0, 2.0], 10)  # ratings
    >>> model = make_pipeline(skiqa.ContrastiveQualityEncoder(), Ridge()).fit(X, y)
    >>> calibrate_intervals(model, X, y)
    >>> scores, bounds = skiqa.predict_quality(model, [china], interval=0.8)
    >>> bool(bounds[0, 0] < scores[0] < bounds[0, 1])
    True
    """
    from skiqa.datasets._contents import content_numbers  # which scoring does without

    _check_scorer(model)
    if cv != "prefit" and not (isinstance(cv, Integral) and cv >= 2):
        raise ValueError(f"cv={cv!r} must be a number of folds, 2 or more, or 'prefit'.")
    ratings = column_or_1d(y, dtype=np.float64)
    contents = np.arange(len(ratings)) if groups is None else content_numbers(groups)
    images = model[0].open_images(X)
    check_consistent_length(images, ratings, contents)
    features = model[0].transform(images)
    kept = np.flatnonzero(np.isfinite(ratings) & np.isfinite(features).all(axis=1))
    rows, ratings, contents = features[kept], ratings[kept], contents[kept]
    if cv == "prefit":
        if not len(kept):
            raise ValueError("There is no rated photo to calibrate intervals by.")
        predicted = column_or_1d(model[1:].predict(rows))
        found = calibrate(ratings - predicted, rows, contents, unlike_above(rows))
    else:
        params = _check_method_params(features, params or {}, indices=kept)
        found = calibrate_in_folds(model[1:], rows, ratings, contents, cv, params)
    model[-1].card_ = {**card_of(model[-1]), "interval": found}


def calibrate_in_folds(
    regressor: BaseEstimator,
    rows: Floats,
    y: Floats,
    groups: Integers,
    cv: int = 5,
    params: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a calibration by clones of a regressor, which predict contents they have not seen."""
    n_contents = len(np.unique(groups))
    if n_contents < 2:
        raise ValueError(
            f"Intervals are calibrated by predictions of other contents; there is only "
            f"{n_contents}. Give more rated photos, or cv='prefit' if these are new to the model."
        )
    splits = list(GroupKFold(min(cv, n_contents)).split(rows, y, groups))
    predicted = column_or_1d(cross_val_predict(regressor, rows, y, cv=splits, params=params))
    return calibrate(y - predicted, rows, groups, unlike_above(rows))
