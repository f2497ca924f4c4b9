"""ImageTower: images -> embeddings in the space that a network shares with texts, as CLIP's do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from numbers import Integral
from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skiqa._inputs.estimators import open_images, tag_images
from skiqa._inputs.images import ImageList
from skiqa._inputs.prefetch import iter_decoded
from skiqa._inputs.resizing import pad_for_network
from skiqa._network.accelerator import extraction_device
from skiqa._network.starting_state import starting_state
from skiqa._network.state import EncoderState
from skiqa._types import Floats, Images
from skiqa._types import Path as AnyPath
from skiqa._unpickling import DefaultsWhenUnpickled
from skiqa.exceptions import ImageError

CLIP_PIXELS = 224 * 224  # of the photos that most such towers are trained on


class ImageTower(
    DefaultsWhenUnpickled, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Embeddings of images by the image tower of a network that was trained with texts.

    What the network's own pooling makes of a photo (the class token, or attention) is projected
    into the space of the texts, where the file of weights says how.

    Parameters
    ----------
    backbone : str or None, default=None
        timm's name of the tower; None: the one of `weights`. Weights of open_clip do not tell it.
    weights : {"default", "timm"} or path, default="timm"
        As of :class:`~skiqa.ContrastiveQualityEncoder`: timm's own (downloaded by timm, without
        their projection), or a file: open_clip's state dict, ``.safetensors`` or of
        ``torch.save``, with the projection; or one of skiqa.
    max_pixels : int in [1024, inf) or None, default=50176
        Viewing size: a photo with more pixels is first brought to that many, aspect kept. Towers
        are trained on 224 x 224; a photo of another aspect keeps it, and positions are
        interpolated. None: photos enter at their own size.
    image_shape : tuple of 2 or 3 int or None, default=None
        Shape of the images when X is a 2-D array of pixels.
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1"...
    n_jobs : int or None, default=None
        Threads that decode images ahead of the network.
    on_error : {"raise", "nan"}, default="raise"
        What an unreadable image does in `transform`: stop with an
        :class:`~skiqa.exceptions.ImageError`, or give a row of NaN.

    Attributes
    ----------
    state_ : EncoderState
        The weights, as numpy arrays; the projection is its head.

    See Also
    --------
    PromptSimilarity : Scores by pairs of prompts, from these embeddings.

    Notes
    -----
    Cost: the forward pass of the tower for a photo, at its viewing size; a ViT-B/32 at 224 x 224
    has 4.4 billion multiplications.

    References
    ----------
    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML
    2021.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skiqa import ImageTower
    >>> photos = load_sample_images().images
    >>> ImageTower(weights="default").fit_transform(photos).shape  # no CLIP: the bundled network
    (2, 320)
    """

    state_: EncoderState

    _parameter_constraints = {
        "backbone": [str, None],
        "weights": [str, os.PathLike],
        "max_pixels": [Interval(Integral, 1024, None, closed="left"), None],
        "image_shape": [tuple, list, None],
        "device": [str],
        "n_jobs": [Integral, None],
        "on_error": [StrOptions({"raise", "nan"})],
    }

    def __init__(
        self,
        backbone: str | None = None,
        *,
        weights: AnyPath = "timm",
        max_pixels: int | None = CLIP_PIXELS,
        image_shape: Sequence[int] | None = None,
        device: str = "auto",
        n_jobs: int | None = None,
        on_error: str = "raise",
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.max_pixels = max_pixels
        self.image_shape = image_shape
        self.device = device
        self.n_jobs = n_jobs
        self.on_error = on_error

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Images, y: object = None) -> Self:
        """Take the weights; no image is opened.

        Parameters
        ----------
        X : array-like of images
            As of :class:`~skiqa.ContrastiveQualityEncoder`.
        y : None
            Never looked at.

        Returns
        -------
        self : object
            Fitted transformer.

        Raises
        ------
        ValueError
            If a parameter or X is of no use; the message says which and what to do.
        """
        open_images(self, X, reset=True)
        extraction_device(self.device, strict=True)
        self.state_ = starting_state(self.backbone, self.weights, None, seed=0, trained=False)
        return self

    def transform(self, X: Images) -> npt.NDArray[np.float32]:
        """Return the embeddings of the images in X.

        Parameters
        ----------
        X : array-like of images
            As of :class:`~skiqa.ContrastiveQualityEncoder`.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32
            Not normed.

        Raises
        ------
        ImageError
            If an image cannot be read and ``on_error="raise"``.
        """
        check_is_fitted(self)
        images = open_images(self, X, reset=False)
        found = list(self._embeddings(images))
        width = next((len(row) for row in found if row is not None), None)
        if width is None:
            width = self._n_features_out
        nothing = np.full(width, np.nan, np.float32)
        return np.stack([nothing if row is None else row for row in found])

    def _embeddings(self, images: ImageList) -> Iterator[Floats | None]:
        """Yield the embedding of each image, None for one that cannot be read."""
        import torch

        from skiqa._network.live import live_networks, to_input
        from skiqa._network.tiles import refuse_beyond_memory

        device = torch.device(extraction_device(self.device, strict=False))
        network = live_networks(self.state_, device, torch.float32)[0]
        head = {k: torch.from_numpy(np.array(v)).to(device) for k, v in self.state_.head.items()}
        how = {"n_jobs": self.n_jobs, "on_error": self.on_error, "max_pixels": self.max_pixels}
        with closing(iter_decoded(images, **how)) as decoded:  # type: ignore[arg-type]
            for index, image in decoded:
                if isinstance(image, ImageError):
                    yield None
                    continue
                with images.naming_errors(index):
                    refuse_beyond_memory(network, image.shape[:2], "Set max_pixels.")
                whole = pad_for_network(image, network.stride, "avg")
                with torch.inference_mode():
                    row = network.embedding(to_input(whole[None], network, device, torch.float32))
                    if head:
                        row = torch.nn.functional.linear(row, head["weight"], head.get("bias"))
                yield row[0].cpu().numpy()

    @property
    def _n_features_out(self) -> int:
        if "weight" in self.state_.head:
            return len(self.state_.head["weight"])
        from skiqa._network.shapes import embedding_width  # imports PyTorch

        return embedding_width(self.state_.backbone)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tag_images(tags)
        tags.target_tags.required = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
