"""PromptSimilarity: how much nearer a photo is to "Good photo." than to "Bad photo."."""

from __future__ import annotations

from numbers import Real
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.utils import Tags, get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted

from skiqa._types import Floats, Images
from skiqa._unpickling import DefaultsWhenUnpickled


class PromptSimilarity(
    DefaultsWhenUnpickled, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Scores of photos by prompts that differ in quality alone: zero-shot, or features of a ridge.

    Each scale of prompts, such as ("Bad photo.", "Good photo."), gives one column in [0, 1]: 0
    where the photo is like the worst prompt of the scale, 1 where it is like the best.

    Parameters
    ----------
    image_tower : transformer
        What turns images into embeddings in the space of the texts, such as an
        :class:`~skiqa.ImageTower`. It is cloned and fitted.
    text_embeddings : array-like of shape (n_scales, n_prompts, n_features) or (n_prompts, \
            n_features)
        Embeddings of the prompts by the text tower of the same network, each scale from worst to
        best: pairs of antonyms after CLIP-IQA, or the five words from "bad" to "perfect" after
        LIQE. Computed once, wherever the tokenizer is; of any length above 0.
    sharpness : float in (0, inf), default=100.0
        What cosines are multiplied by, the inverse temperature that CLIP was trained to.

    Attributes
    ----------
    image_tower_ : transformer
        The fitted clone.
    text_embeddings_ : ndarray of shape (n_scales, n_prompts, n_features), float32
        Of length one.

    Notes
    -----
    With x the embedding of a photo, t_pk that of prompt k of scale p, both of length one, K prompts
    a scale and sharpness s::

        c_pk = sum_d x_d t_pkd
        P_pk = exp(s c_pk) / sum_j exp(s c_pj)
        score_p = sum_k P_pk k / (K - 1),   k = 0 .. K - 1

    For two prompts this is CLIP-IQA's equation (softmax over an antonym pair, the share of the good
    one); for five it is LIQE's expected quality, sum_q q p(q), brought from 1..5 to 0..1.

    Cost is that of the image tower.

    References
    ----------
    Wang, Chan and Loy, "Exploring CLIP for Assessing the Look and Feel of Images", AAAI 2023.
    Zhang et al., "Blind Image Quality Assessment via Vision-Language Correspondence: A Multitask
    Learning Perspective", CVPR 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from skiqa import PromptSimilarity
    >>> embeddings = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])  # a tower would give them
    >>> bad_good = [[1.0, 0.0], [0.0, 1.0]]
    >>> prompts = PromptSimilarity(FunctionTransformer(), bad_good, sharpness=2.0)
    >>> [f"{score:.3f}" for (score,) in prompts.fit_transform(embeddings)]
    ['0.119', '0.881', '0.500']
    """

    _parameter_constraints = {
        "image_tower": [HasMethods(["fit", "transform"])],
        "text_embeddings": ["array-like"],
        "sharpness": [Interval(Real, 0, None, closed="neither")],
    }

    image_tower_: BaseEstimator
    text_embeddings_: Floats

    def __init__(
        self,
        image_tower: BaseEstimator,
        text_embeddings: npt.ArrayLike,
        *,
        sharpness: float = 100.0,
    ) -> None:
        self.image_tower = image_tower
        self.text_embeddings = text_embeddings
        self.sharpness = sharpness

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Images, y: object = None) -> Self:
        """Fit a clone of the image tower, and norm the texts.

        Parameters
        ----------
        X : array-like of images
            Whatever the image tower takes.
        y : None
            Never looked at; in a Pipeline it is the MOS.

        Returns
        -------
        self : object
            Fitted transformer.

        Raises
        ------
        ValueError
            If `text_embeddings` are not of two or more prompts a scale, or not all of some finite
            length above 0. What the image tower raises.
        """
        self.text_embeddings_ = _normed_texts(self.text_embeddings)
        self.image_tower_ = clone(self.image_tower).fit(X, y)
        return self

    def transform(self, X: Images) -> npt.NDArray[np.float32]:
        """Return the scores of the images in X.

        Parameters
        ----------
        X : array-like of images
            Whatever the image tower takes.

        Returns
        -------
        ndarray of shape (n_samples, n_scales), float32
            In [0, 1], higher is better. A row of NaN where the tower gives one.

        Raises
        ------
        ValueError
            If the tower's embeddings are of another width than the texts.
        """
        check_is_fitted(self)
        embeddings = np.asarray(self.image_tower_.transform(X), np.float32)
        texts = self.text_embeddings_
        if embeddings.ndim != 2 or embeddings.shape[1] != texts.shape[2]:
            raise ValueError(
                f"The image tower gives embeddings of shape {embeddings.shape}, and "
                f"text_embeddings have {texts.shape[2]} features: both must be of one network, its "
                "projection included."
            )
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        cosines = np.einsum("nd,pkd->npk", embeddings / np.where(lengths > 0, lengths, 1), texts)
        shares = softmax(self.sharpness * cosines, axis=2)
        steps = np.linspace(0, 1, texts.shape[1], dtype=np.float32)
        return np.einsum("npk,k->np", shares, steps).astype(np.float32, copy=False)

    @property
    def n_features_in_(self) -> int:
        """Number of columns that the image tower has seen, if X was a 2-D array."""
        if not hasattr(self, "image_tower_"):
            raise AttributeError("n_features_in_: it is not fitted")
        found: int = self.image_tower_.n_features_in_
        return found

    @property
    def feature_names_in_(self) -> npt.NDArray[np.object_]:
        """Names of the columns that the image tower has seen, if X had any."""
        if not hasattr(self, "image_tower_"):
            raise AttributeError("feature_names_in_: it is not fitted")
        found: npt.NDArray[np.object_] = self.image_tower_.feature_names_in_
        return found

    @property
    def _n_features_out(self) -> int:
        return len(self.text_embeddings_)

    def __sklearn_tags__(self) -> Tags:
        tags, inner = super().__sklearn_tags__(), get_tags(self.image_tower)
        tags.input_tags = inner.input_tags
        tags.target_tags.required = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _normed_texts(texts: npt.ArrayLike) -> Floats:
    """Return embeddings of prompts as (n_scales, n_prompts, n_features), each of length one."""
    found = np.asarray(texts, np.float32)
    if found.ndim == 2:
        found = found[None]
    if found.ndim != 3 or not found.shape[0] or found.shape[1] < 2:
        raise ValueError(
            f"text_embeddings has shape {np.shape(texts)}: expected (n_scales, n_prompts, "
            "n_features), each scale of two or more prompts, from worst to best."
        )
    lengths = np.linalg.norm(found, axis=2, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        scale, prompt, _ = np.argwhere(~(np.isfinite(lengths) & (lengths > 0)))[0]
        raise ValueError(
            f"text_embeddings[{scale}, {prompt}] has length {lengths[scale, prompt, 0]}: it is of "
            "no direction."
        )
    normed: Floats = found / lengths
    return normed
