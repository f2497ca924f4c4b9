"""FiveCropRegressor: ARNIQA's own protocol, in which each of five crops is a sample."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, _fit_context, clone
from sklearn.utils import Tags, get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import (
    _check_sample_weight,
    assert_all_finite,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
)

from skiqa._inputs.containers import as_image_list
from skiqa._inputs.resizing import resize
from skiqa._types import Floats, Images, Pixels
from skiqa._unpickling import DefaultsWhenUnpickled

N_CROPS = 5
_PHOTOS_AT_A_TIME = 16


class FiveCropRegressor(DefaultsWhenUnpickled, MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """Features of five crops of each photo, each of them a sample of the regressor.

    This is how ARNIQA's authors evaluate: the center and the four corners, cut from the photo and
    from its half, give five rows with the opinion of the whole photo; a photo's score is the mean
    over its five.

    Parameters
    ----------
    encoder : transformer
        What turns images into features. It is cloned and fitted to the photos, whole. A
        :class:`~skiqa.ContrastiveQualityEncoder` gets ``scales=(1.0,)``: scales are made here.
    regressor : regressor
        Takes the rows: of each crop, scale by scale. It is cloned.
    crop_size : int in [8, inf), default=224
        Side of a crop, in pixels. Where a photo is smaller, zeros stand around it.
    scales : tuple of float in (0, 1], default=(1.0, 0.5)
        Of the photo, each before it is cut, by Pillow's bicubic.

    Attributes
    ----------
    encoder_ : transformer
        The fitted clone.
    regressor_ : regressor
        The fitted clone.

    See Also
    --------
    skiqa.model_selection.evaluate : Repeated splits; PLCC without a mapping by ``mapping=None``.

    Notes
    -----
    The published protocol, beside this: ``Ridge`` on weights of ARNIQA with ``pooling="avg"``, ten
    splits of 70, 10 and 20 % by content, of 100 penalties from 1e-3 to 1e3 the one with the best
    median SROCC on the 10 % over all splits, SPAQ's photos reduced to a short side of 512 first,
    PLCC without a logistic mapping. A search goes around this estimator
    (``regressor__alpha``), so that the crops of a photo stay on one side of a split.

    A published regressor stands in a ``FrozenEstimator``: `regressor` is then
    ``FrozenEstimator(load_regressor("regressor_koniq10k.pth"))``.

    Cost: the crops' pixels through the encoder, at 224 and two scales half a megapixel a photo.
    X may be any list of images.

    References
    ----------
    Agnolucci, Galteri, Bertini, Del Bimbo, "ARNIQA: Learning Distortion Manifold for Image Quality
    Assessment", WACV 2024, and its code.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from sklearn.linear_model import Ridge
    >>> from skiqa import ContrastiveQualityEncoder, FiveCropRegressor
    >>> photos = load_sample_images().images
    >>> encoder = ContrastiveQualityEncoder(pooling="avg", scales=(1.0,))
    >>> model = FiveCropRegressor(encoder, Ridge(alpha=0.1), crop_size=96)
    >>> model.fit(photos, [0.8, 0.9]).predict(photos).shape
    (2,)
    """

    _parameter_constraints = {
        "encoder": [HasMethods(["fit", "transform"])],
        "regressor": [HasMethods(["fit", "predict"])],
        "crop_size": [Interval(Integral, 8, None, closed="left")],
        "scales": [tuple, list],
    }

    encoder_: BaseEstimator
    regressor_: BaseEstimator

    def __init__(
        self,
        encoder: BaseEstimator,
        regressor: BaseEstimator,
        *,
        crop_size: int = 224,
        scales: Sequence[float] = (1.0, 0.5),
    ) -> None:
        self.encoder = encoder
        self.regressor = regressor
        self.crop_size = crop_size
        self.scales = scales

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Images, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Fit the regressor to the crops of the photos in X.

        Parameters
        ----------
        X : array-like of images
            See Notes of the class.
        y : array-like of float of shape (n_samples,)
            Opinion of each photo, higher is better.
        sample_weight : array-like of float of shape (n_samples,), default=None
            What each photo counts, for a regressor that takes it.

        Returns
        -------
        self : object
            Fitted regressor.

        Raises
        ------
        ImageError
            If an image cannot be read; the message names it.
        ValueError
            If lengths differ, y is not finite, or `scales` are of no use.
        """
        opinions: Floats = column_or_1d(y, dtype=np.float64, warn=True)
        assert_all_finite(opinions, input_name="y")
        check_consistent_length(X, opinions)
        rows = self.fit_encoder(X).crop_features(X)
        params = {}
        if sample_weight is not None:
            weights: Floats = _check_sample_weight(sample_weight, X)
            params["sample_weight"] = weights.repeat(N_CROPS)
        samples, targets = rows.reshape(-1, rows.shape[2]), opinions.repeat(N_CROPS)
        self.regressor_ = clone(self.regressor).fit(samples, targets, **params)
        return self

    def fit_encoder(self, X: Images) -> Self:
        """Fit a clone of the encoder to the photos in X, and no regressor; as `fit` begins."""
        self.encoder_ = clone(self.encoder).fit(X)
        return self

    def predict(self, X: Images) -> Floats:
        """Predict the opinion of each photo: the mean over its crops.

        Parameters
        ----------
        X : array-like of images
            See Notes of the class.

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        ImageError
            If an image cannot be read; the message names it.
        """
        check_is_fitted(self)
        rows = self.crop_features(X)
        scores: Floats = self.regressor_.predict(rows.reshape(-1, rows.shape[2]))
        return scores.reshape(-1, N_CROPS).mean(axis=1)

    def crop_features(self, X: Images) -> Floats:
        """Return the features of the crops of the photos in X.

        Parameters
        ----------
        X : array-like of images
            See Notes of the class.

        Returns
        -------
        ndarray of shape (n_samples, 5, n_features)
            Center, top left, bottom left, top right, bottom right; within each, scale by scale.
        """
        if not len(self.scales) or not all(isinstance(s, Real) and 0 < s <= 1 for s in self.scales):
            raise ValueError(f"scales={self.scales!r}: give one or more numbers in (0, 1].")
        images, parts = as_image_list(X), []
        images.allow_damaged = getattr(self.encoder_, "allow_damaged", False)
        for first in range(0, len(images), _PHOTOS_AT_A_TIME):
            some = range(first, min(first + _PHOTOS_AT_A_TIME, len(images)))
            crops = [
                crop
                for photo in map(images.load, some)
                for scale in self.scales
                for crop in five_crops(resize(photo, scale), self.crop_size)
            ]
            rows = np.asarray(self.encoder_.transform(crops))
            rows = rows.reshape(len(some), len(self.scales), N_CROPS, -1)  # photo, scale, crop
            parts.append(rows.swapaxes(1, 2).reshape(len(some), N_CROPS, -1))
        return np.concatenate(parts)

    def __sklearn_tags__(self) -> Tags:
        tags, inner = super().__sklearn_tags__(), get_tags(self.encoder)
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = inner.input_tags.string
        tags.non_deterministic = get_tags(self.regressor).non_deterministic
        return tags


def five_crops(photo: Pixels, size: int) -> list[Pixels]:
    """Cut the center and the four corners of a photo, zeros where it is too small.

    Parameters
    ----------
    photo : ndarray of shape (h, w, 3), uint8
    size : int
        Side of a crop.

    Returns
    -------
    list of 5 ndarrays of shape (size, size, 3), uint8
        Center, top left, bottom left, top right, bottom right. A corner lies in the corner of the
        photo, so that zeros are on its inner sides.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa._five_crop import five_crops
    >>> photo = np.arange(6, dtype=np.uint8)[None, :, None] + np.zeros((4, 1, 3), np.uint8)
    >>> [crop[0, :, 0].tolist() for crop in five_crops(photo, 2)]
    [[2, 3], [0, 1], [0, 1], [4, 5], [4, 5]]
    """
    height, width = photo.shape[:2]
    bottom, right = height - size, width - size
    places = [(height // 2 - size // 2, width // 2 - size // 2)]
    places += [(0, 0), (bottom, 0), (0, right), (bottom, right)]
    image = Image.fromarray(photo)  # its crop puts zeros where there is no photo
    return [np.array(image.crop((x, y, x + size, y + size))) for y, x in places]
