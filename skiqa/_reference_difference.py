"""ReferenceDifference: full-reference features, from any encoder of single images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.utils import Tags, get_tags
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import check_is_fitted

from skiqa._inputs.forms import describe, is_tensor
from skiqa._types import Floats, Image, Integers, SupportsArray
from skiqa._unpickling import DefaultsWhenUnpickled

# (reference, degraded) a row: a list of tuples, a table of two columns, an array (n, 2, ...)
Pairs: TypeAlias = "Sequence[Sequence[Image]] | SupportsArray"


class ReferenceDifference(
    DefaultsWhenUnpickled, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Absolute differences between the features of a reference and of its degraded version.

    With a regressor behind it this is full-reference quality, as CONTRIQUE-FR. Where reference and
    degraded image are the same, all differences are zero and a linear regressor gives its
    intercept.

    Parameters
    ----------
    encoder : transformer
        What turns images into features, such as a :class:`~skiqa.ContrastiveQualityEncoder`. It is
        cloned, and fitted to all images of all pairs.

    Attributes
    ----------
    encoder_ : transformer
        The fitted clone.

    See Also
    --------
    skiqa.persistence.load_regressor : Reads CONTRIQUE's own full-reference regressors.

    Notes
    -----
    X holds one pair (reference, degraded) a row: a list of tuples, ``list(zip(references,
    degraded))``, a data frame or object array of two columns, or one array or tensor of shape (n,
    2, ...). The order within a pair does not change a feature. An image is anything that the
    encoder takes. One that stands in several pairs, as a reference does in the databases, is run
    once.

    Of scikit-learn's estimator checks those that give X as a table of numbers cannot apply, and
    the input tags say so. A regressor may be searched or cross-validated behind it as behind any
    transformer; use the reference as the group, so that no scene stands on both sides of a split.

    References
    ----------
    Madhusudana et al., "Image Quality Assessment using Contrastive Learning", IEEE TIP 31, 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from skiqa import ContrastiveQualityEncoder, ReferenceDifference
    >>> from skiqa.degradations import degrade
    >>> photo = load_sample_images().images[0][:200, :200]
    >>> pairs = [(photo, degrade(photo, "gaussian_blur", level)) for level in (1, 3, 5)]
    >>> model = make_pipeline(ReferenceDifference(ContrastiveQualityEncoder()), Ridge())
    >>> model.fit(pairs, [0.8, 0.5, 0.2]).predict(pairs).shape
    (3,)
    >>> bool(model.predict([(photo, photo)])[0] == model[-1].intercept_)
    True
    """

    _parameter_constraints = {"encoder": [HasMethods(["fit", "transform"])]}

    encoder_: BaseEstimator

    def __init__(self, encoder: BaseEstimator) -> None:
        self.encoder = encoder

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Pairs, y: object = None) -> Self:
        """Fit a clone of the encoder to all images of all pairs.

        Parameters
        ----------
        X : array-like of pairs of images
            See Notes of the class.
        y : None
            Never looked at; in a Pipeline it is the MOS.

        Returns
        -------
        self : object
            Fitted transformer.

        Raises
        ------
        ValueError, TypeError
            If X does not hold pairs; the message says where. What the encoder raises, with the
            place of the image, ``X[pair][0 or 1]``.
        """
        images, places = _distinct_images(X)
        self.encoder_ = clone(self.encoder)
        with _naming_pairs(places):
            self.encoder_.fit(images)
        return self

    def transform(self, X: Pairs) -> Floats:
        """Return how far the features of each pair differ.

        Parameters
        ----------
        X : array-like of pairs of images
            See Notes of the class.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Not negative, of the encoder's width and dtype. With an encoder that gives a row of
            NaN for an unreadable image, its pair gets one too.

        Raises
        ------
        ValueError, TypeError
            As in `fit`.
        """
        check_is_fitted(self)
        images, places = _distinct_images(X)
        with _naming_pairs(places):
            features = np.asarray(self.encoder_.transform(images))
        return np.abs(features[places[:, 0]] - features[places[:, 1]])

    @property
    def _n_features_out(self) -> int:
        return len(self.encoder_.get_feature_names_out())

    def __sklearn_tags__(self) -> Tags:
        tags, inner = super().__sklearn_tags__(), get_tags(self.encoder)
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = inner.input_tags.string
        tags.target_tags.required = False
        tags.transformer_tags = inner.transformer_tags
        return tags


def _distinct_images(X: Any) -> tuple[Any, npt.NDArray[np.intp]]:
    """Return (images, places): each image once, and the (n, 2) places of those of a pair."""
    if hasattr(X, "__array__") and not is_tensor(X):
        X = np.asarray(X)  # a data frame, too
    if getattr(X, "ndim", 1) > 2:
        if X.shape[1] != 2:
            raise ValueError(
                f"X has shape {tuple(X.shape)}, but holds pairs (reference, degraded): its second "
                "axis must be 2."
            )
        return X.reshape(-1, *X.shape[2:]), np.arange(2 * len(X)).reshape(-1, 2)
    if isinstance(X, str | bytes | os.PathLike) or not hasattr(X, "__len__"):
        raise TypeError(f"X must be a list of pairs (reference, degraded), not {describe(X)}.")
    images: list[Image] = []
    places: list[int] = []
    known: dict[object, int] = {}
    for index, pair in enumerate(X):
        if not _is_pair(pair):
            raise ValueError(
                f"X[{index}] is {describe(pair)}, not a pair (reference, degraded): pass "
                "list(zip(references, degraded))."
            )
        for image in pair:
            # an object is known again while it lives, and `images` keeps it alive
            key = image if isinstance(image, str | bytes | os.PathLike) else id(image)
            if key not in known:
                known[key] = len(images)
                images.append(image)
            places.append(known[key])
    return images, np.array(places, dtype=np.intp).reshape(-1, 2)


def _is_pair(value: object) -> bool:
    if isinstance(value, np.ndarray) and value.ndim < 3 and value.dtype.kind not in "OUT":
        return False  # an image, or a row of numbers
    return isinstance(value, list | tuple | np.ndarray) and len(value) == 2


@contextmanager
def _naming_pairs(places: Integers) -> Iterator[None]:
    """Let errors about the encoder's X[k] name the image as the caller knows it: X[pair][side]."""
    try:
        yield
    except (ValueError, TypeError) as error:
        found = re.match(r"X\[(\d+)\]", str(error))
        if found is None:
            raise
        pair, side = np.argwhere(places == int(found[1]))[0]
        message = f"X[{pair}][{side}]{str(error)[found.end() :]}"
        raise type(error)(message) from error.__cause__
