"""ContrastiveQualityEncoder: images -> features of quality, as a scikit-learn transformer."""

from __future__ import annotations

import copy
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skiqa._features.cache import FeatureCache
from skiqa._features.extract import Extraction, Row, extract, extract_cached
from skiqa._features.width import row_width
from skiqa._inputs.estimators import open_images, tag_images
from skiqa._inputs.images import ImageList
from skiqa._network.accelerator import extraction_device
from skiqa._network.starting_state import starting_state
from skiqa._network.state import EncoderState, current_versions, warn_of_versions
from skiqa._progress import progress_bar
from skiqa._training.marks import authentic_marks
from skiqa._types import Images
from skiqa._types import Path as AnyPath
from skiqa._unpickling import DefaultsWhenUnpickled
from skiqa.objectives import NAMES

if TYPE_CHECKING:
    import torch

    from skiqa._training.run import Run
    from skiqa._training.schedule import Plan
    from skiqa._training.trainer import Trainer
    from skiqa.objectives import Objective

# PyTorch is imported where a network is trained, not here: a scorer does without it.


class ContrastiveQualityEncoder(
    DefaultsWhenUnpickled,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Features of image quality from a network trained by contrast between degraded images.

    Without arguments: the bundled weights, frozen, ready for a regressor. With ``epochs > 0`` the
    network is trained on the images given to `fit`; no labels are needed or looked at.

    Parameters
    ----------
    backbone : str or None, default=None
        timm's name of a network. None: the one of `weights` (a convolutional
        ``tf_efficientnet_lite0`` for the bundled ones). Fixed-size vision networks are refused.
    weights : {"default", "timm"}, path or None, default="default"
        Where the weights start: the bundled ones, timm's own (downloaded by timm), a file saved by
        skiqa, weights of CONTRIQUE's, ARNIQA's or Re-IQA's authors, open_clip's of an image tower,
        or None for random ones. With ``pooling="avg"`` features of CONTRIQUE's and Re-IQA's weights
        are the paper's own; ARNIQA's paper has those of five crops,
        :class:`~skiqa.FiveCropRegressor`. Re-IQA's two differ in their input: the one for content
        is known by a file name that begins with "content".
    epochs : int in [0, inf), default=0
        Passes over the images in `fit`. With 0 the weights are used as they are and `fit` opens
        no image.
    objective : {"contrique", "qpt", "arniqa", "reiqa", "weighted"} or objective instance, \
            default="contrique"
        What is trained for, see :mod:`skiqa.objectives`.
    batch_size : int in [2, inf) or None, default=None
        Images a step. None: the objective's own.
    view_size : int in [8, inf) or None, default=None
        Side of a training view, in pixels. None: the objective's own.
    learning_rate : float in (0, inf) or None, default=None
        Peak rate of the network, per `objective.learning_rate_batch` images a step; scaled to
        `batch_size`. None: the published rate from scratch, a gentle one from trained weights,
        behind which the projector, being new, learns at the published rate all the same.
    weight_decay : float in [0, inf) or None, default=None
        L2 penalty of matrices and kernels. None: the objective's own.
    trained_first_stages : int in [1, inf) or None, default=None
        Train only the first so many stages of the network; the others keep their weights. None:
        all of it.
    start_penalty : float in [0, inf), default=0.0
        Weight of a term of the training loss that holds the stage features of each view to those
        of the starting weights: 0 at the start, 1 for features that have nothing to do with
        them. Costs one more forward pass a step.
    micro_batch_size : int in [1, inf) or None, default=None
        Views that run through the network at a time. None: all of a step's at once. With it a
        large `batch_size` fits into little memory, for one more forward pass a step; the gradient
        is that of the whole batch, but for a BatchNorm that normalises by its batch (training
        from scratch), whose batches are then these.
    max_grad_norm : float in (0, inf) or None, default=None
        Gradients of a larger norm, over all parameters, are scaled down to it.
    max_pixels : "weights", int in [1024, inf) or None, default="weights"
        Viewing size: a photo with more pixels is first brought to that many, aspect kept, by an
        antialiased filter, in `fit` as in `transform`; smaller ones are never enlarged. "weights":
        what the weights say, about half a megapixel for the bundled ones, none for those of the
        papers. None: photos enter at their own size. Faults of single pixels in a large photo
        are lost in the reduction.
    scales : tuple of float in (0, 1], default=(1.0, 0.5)
        Each photo enters whole at each of these scales of its viewing size (Pillow's bicubic).
    pooling : {"stages", "avg"}, default="stages"
        "stages": mean and standard deviation of every stage's map, centred and scaled by
        constants that belong to the weights, over sqrt(n_features). "avg": mean of the last map,
        L2-normed for each scale, as the papers do (all but Re-IQA, whose weights say so).
    image_shape : tuple of 2 or 3 int or None, default=None
        Shape of the images when X is a 2-D array of pixels.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Arithmetic. "auto": training uses short floats where the device gains by them;
        `transform` is float32, so that a model scores the same everywhere.
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1"...
    n_jobs : int or None, default=None
        Photos in work at a time, each in a thread. None is 1, -1 all cores. On GPUs, and in
        training, threads that decode images ahead of the network.
    keep_start : bool, default=False
        Whether the features of the starting weights stand beside the trained ones. Twice the cost.
    content_backbone : str, path or None, default=None
        A second network, never trained, whose features stand beside: Re-IQA's expert for content.
        timm's name of one, with timm's own weights, or a file of weights, as for `weights`.
    cache_dir : str, path or None, default=None
        Folder of a feature cache: an image that was seen with the same weights is not opened
        again. Searches and cross-validation then pay for features once.
    on_error : {"raise", "nan"}, default="raise"
        What an unreadable image does in `transform`: stop with an
        :class:`~skiqa.exceptions.ImageError`, or give a row of NaN. In `fit`, "nan" leaves it out.
    allow_damaged : bool, default=False
        Whether a damaged file is taken as far as it decodes; else it is an unreadable image, even
        where a decoder makes a picture of it.
    checkpoint_dir : str, path or None, default=None
        Folder from which a killed `fit` goes on, bit for bit, when it is called again.
    random_state : int, RandomState instance or None, default=None
        Decides initial weights, order, windows and degradations.
    verbose : int, default=0
        1 shows a progress bar on standard error.

    Attributes
    ----------
    state_ : EncoderState
        The weights, as numpy arrays.
    backbone_name_ : str
        timm's name of the network.
    objective_ : objective instance
        The clone that `fit` used. Only after training.
    n_iter_ : int
        Epochs trained.
    loss_curve_ : list of float
        Mean loss of each epoch.
    history_ : list of dict
        Of each epoch ``loss``, ``seconds`` and ``images_per_second``, the latter two of the last
        process that trained it. Not kept in files of skiqa.
    training_state_ : dict or None
        What `partial_fit` goes on with: seed, objective, the optimiser's momentum and, where the
        objective has them, momentum encoder and queue, in numpy. None after `fit`.
    checkpoint_path_ : str or None
        Folder in `checkpoint_dir` that holds this training's checkpoints; gone when it ends well.
    n_features_in_ : int
        Only if X was a 2-D array.

    See Also
    --------
    skiqa.load_model : The bundled encoder with its regressor: scores in one line.

    Notes
    -----
    Cost of `transform` with the bundled weights on one CPU core: about 0.1 s for a photo at its
    viewing size, and what decoding takes; memory is that of the photo as its decoder leaves it and
    80 to 220 MB beside (``benchmarks/service.py``). With ``max_pixels=None`` about 0.3 s per
    megapixel, 264 MB per megapixel up to 4 MP, then tiles keep it flat.

    X can be paths, bytes, PIL images, arrays (grey, RGB, RGBA; uint8, uint16, bool, or float in
    [0, 1]) or torch tensors, of any and mixed sizes. A 2-D array of numbers without `image_shape`
    is read as one-row images, each stretched to its own range.

    Where a process group of PyTorch is initialised (``torchrun``), the processes train together:
    each takes its part of every batch, of the same X. The result is that of one process, but for
    rounding, and all end with it; the first one writes to `checkpoint_dir`.

    References
    ----------
    Madhusudana et al., "Image Quality Assessment using Contrastive Learning", IEEE TIP 31, 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from skiqa import ContrastiveQualityEncoder
    >>> china, flower = load_sample_images().images
    >>> photos = [china, china[::2, ::2], flower, flower[:200, :200]]
    >>> model = make_pipeline(ContrastiveQualityEncoder(), Ridge())
    >>> model.fit(photos, [0.8, 0.5, 0.9, 0.6]).predict(photos).shape
    (4,)
    """

    state_: EncoderState
    n_iter_: int
    loss_curve_: list[float]
    history_: list[dict[str, float]]
    training_state_: dict[str, Any] | None
    checkpoint_path_: str | None

    _parameter_constraints = {
        "backbone": [str, None],
        "weights": [str, os.PathLike, None],
        "epochs": [Interval(Integral, 0, None, closed="left")],
        "objective": [StrOptions(set(NAMES)), HasMethods(["views", "loss", "pool"])],
        "batch_size": [Interval(Integral, 2, None, closed="left"), None],
        "view_size": [Interval(Integral, 8, None, closed="left"), None],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "weight_decay": [Interval(Real, 0, None, closed="left"), None],
        "trained_first_stages": [Interval(Integral, 1, None, closed="left"), None],
        "start_penalty": [Interval(Real, 0, None, closed="left")],
        "micro_batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        "max_pixels": [
            StrOptions({"weights"}),
            Interval(Integral, 1024, None, closed="left"),
            None,
        ],
        "scales": [tuple, list],
        "pooling": [StrOptions({"stages", "avg"})],
        "image_shape": [tuple, list, None],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "device": [str],
        "n_jobs": [Integral, None],
        "keep_start": ["boolean"],
        "content_backbone": [str, os.PathLike, None],
        "cache_dir": [str, os.PathLike, None],
        "on_error": [StrOptions({"raise", "nan"})],
        "allow_damaged": ["boolean"],
        "checkpoint_dir": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        backbone: str | None = None,
        *,
        weights: AnyPath | None = "default",
        epochs: int = 0,
        objective: str | Objective = "contrique",
        batch_size: int | None = None,
        view_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        trained_first_stages: int | None = None,
        start_penalty: float = 0.0,
        micro_batch_size: int | None = None,
        max_grad_norm: float | None = None,
        max_pixels: str | int | None = "weights",
        scales: Sequence[float] = (1.0, 0.5),
        pooling: str = "stages",
        image_shape: Sequence[int] | None = None,
        precision: str = "auto",
        device: str = "auto",
        n_jobs: int | None = None,
        keep_start: bool = False,
        content_backbone: AnyPath | None = None,
        cache_dir: AnyPath | None = None,
        on_error: str = "raise",
        allow_damaged: bool = False,
        checkpoint_dir: AnyPath | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.epochs = epochs
        self.objective = objective
        self.batch_size = batch_size
        self.view_size = view_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.trained_first_stages = trained_first_stages
        self.start_penalty = start_penalty
        self.micro_batch_size = micro_batch_size
        self.max_grad_norm = max_grad_norm
        self.max_pixels = max_pixels
        self.scales = scales
        self.pooling = pooling
        self.image_shape = image_shape
        self.precision = precision
        self.device = device
        self.n_jobs = n_jobs
        self.keep_start = keep_start
        self.content_backbone = content_backbone
        self.cache_dir = cache_dir
        self.on_error = on_error
        self.allow_damaged = allow_damaged
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Images, y: object = None, *, authentic: npt.ArrayLike | None = None) -> Self:
        """Take the weights and, with ``epochs > 0``, train them on the images of X.

        Parameters
        ----------
        X : array-like of images
            See Notes of the class.
        y : None
            Never looked at; in a Pipeline it is the MOS.
        authentic : array-like of bool of shape (n_samples,) or None, default=None
            True: already degraded by life, each a class of its own. False: pristine, to be
            degraded. None: unknown, each drawn image is degraded or left alone at even odds.

        Returns
        -------
        self : object
            Fitted encoder.

        Raises
        ------
        ImageError
            If an image cannot be read, with ``epochs > 0`` and ``on_error="raise"``.
        FileNotFoundError
            If there is no such file of weights.
        TypeError, ValueError
            If a parameter or X is of no use; the message says which and what to do.
        """
        images = self.open_images(X, reset=True)
        seed = self._seed()
        start = self._start(seed, trained=self.epochs > 0)
        marks = authentic_marks(authentic, len(images))
        extraction_device(self.device, strict=True)
        self.n_iter_, self.loss_curve_, self.history_ = 0, [], []
        self.training_state_ = self.checkpoint_path_ = None
        context = self._init_callback_context(max_subtasks=self.epochs)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        if self.epochs:
            from skiqa._training.run import Run

            kept = start.networks if self.keep_start else ()
            plan = self.training_plan(len(images))
            run = Run(images, marks, start, kept, plan, seed)
            self._train(run, context, {"X": X, "y": y})
        else:
            self._set_state(start)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Images, y: object = None, *, authentic: npt.ArrayLike | None = None
    ) -> Self:
        """Train one more pass over X, at constant rate, keeping the optimiser's momentum.

        Parameters
        ----------
        X : array-like of images
            At least two.
        y : None
            Never looked at.
        authentic : array-like of bool of shape (n_samples,) or None, default=None
            As in `fit`.

        Returns
        -------
        self : object
            Encoder with ``n_iter_`` one higher.
        """
        from skiqa._training.run import Run

        first = not hasattr(self, "state_")
        images = self.open_images(X, reset=first)
        if first:
            self.n_iter_, self.loss_curve_, self.history_ = 0, [], []
            self.training_state_ = self.checkpoint_path_ = None
        seed = self._seed() if self.training_state_ is None else self.training_state_["seed"]
        if first:
            start = self._start(seed, trained=True)
            kept = start.networks if self.keep_start else ()
        else:
            start, kept = self.state_, self.state_.networks[1:]
        plan = self.training_plan(len(images), epochs=1, constant=True, first_epoch=self.n_iter_)
        context = self._init_callback_context(task_name="partial_fit", max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        run = Run(images, authentic_marks(authentic, len(images)), start, kept, plan, seed)
        self.training_state_ = self._train(run, context, {"X": X, "y": y})
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def transform(self, X: Images) -> npt.NDArray[np.float32]:
        """Return the features of the images in X.

        Parameters
        ----------
        X : array-like of images
            See Notes of the class.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32
            One row for each image, in order: experts, within each the scales.

        Raises
        ------
        ImageError
            If an image cannot be read and ``on_error="raise"``. With `cache_dir`, features
            computed before it are kept.
        """
        check_is_fitted(self)
        images = self.open_images(X)
        out = np.full((len(images), self._n_features_out), np.nan, dtype=np.float32)
        with progress_bar("Features", len(images), enabled=bool(self.verbose)) as advance:
            for index, row in self.iter_features(images, on_error=self.on_error):
                if isinstance(row, np.ndarray):
                    out[index] = row
                advance()
        return out

    def open_images(self, X: Images, *, reset: bool = False) -> ImageList:
        """Decide what X is; plain rows of numbers pass scikit-learn's own checks first.

        Parameters
        ----------
        X : array-like of images
            See Notes of the class.
        reset : bool, default=False
            Whether ``n_features_in_`` is set, as `fit` does, or checked.

        Returns
        -------
        ImageList
            Decodes an image when asked for it. No file has been opened.

        Raises
        ------
        TypeError, ValueError
            If X, `scales` or `image_shape` are of no use; the message says why.
        """
        self._check_scales()
        images = open_images(self, X, reset=reset)
        images.allow_damaged = self.allow_damaged
        return images

    def _check_scales(self) -> None:
        scales = self.scales
        if not len(scales) or not all(isinstance(s, Real) and 0 < s <= 1 for s in scales):
            raise ValueError(f"scales={scales!r}: give one or more numbers in (0, 1].")

    def iter_features(
        self, images: ImageList, *, on_error: str = "raise", n_jobs: int | None = None
    ) -> Iterator[tuple[int, Row]]:
        """Yield the features of images one after the other, as they are computed or found.

        Parameters
        ----------
        images : ImageList
            What :meth:`open_images` returns.
        on_error : {"raise", "nan"}, default="raise"
            "nan" yields the error of an unreadable image in place of its row.
        n_jobs : int or None, default=None
            Photos in work at a time; None: the parameter `n_jobs`.

        Yields
        ------
        index : int
            Counted up from 0.
        row : ndarray of shape (n_features,), float32, or ImageError
        """
        extraction = self.extraction(extraction_device(self.device, strict=False))
        n_jobs = self.n_jobs if n_jobs is None else n_jobs
        if self.cache_dir is None:
            return extract(images, extraction, n_jobs=n_jobs, on_error=on_error)
        folder = extraction.digest(self.image_shape, self.allow_damaged)
        cache = FeatureCache(self.cache_dir, folder)
        return extract_cached(images, extraction, cache, n_jobs=n_jobs, on_error=on_error)

    def extraction(self, device: str | torch.device) -> Extraction:
        """Return how images become features on a device, under the parameters as they are now."""
        return Extraction(
            state=self.state_,
            scales=tuple(self.scales),
            pooling=self.pooling,
            device=str(device),
            precision=self.precision,
            max_pixels=self._viewing_size(self.state_),
        )

    def _viewing_size(self, state: EncoderState) -> int | None:
        """Return the pixels that photos are brought to: the parameter's, or the weights' own."""
        return state.max_pixels if isinstance(self.max_pixels, str) else self.max_pixels

    def training_plan(
        self,
        n_images: int,
        *,
        epochs: int | None = None,
        constant: bool = False,
        first_epoch: int = 0,
    ) -> Plan:
        """Return the numbers of a training: the parameters, or the objective's own.

        Parameters
        ----------
        n_images : int
        epochs : int or None, default=None
            None: the parameter `epochs`.
        constant : bool, default=False
            A constant rate, as `partial_fit` has it.
        first_epoch : int, default=0
            Epochs already behind the network.

        Returns
        -------
        Plan

        Raises
        ------
        ValueError
            If there are fewer than two images.
        """
        from skiqa._training.schedule import DECIDED_BY_OBJECTIVE, make_plan

        given = {name: getattr(self, name) for name in DECIDED_BY_OBJECTIVE}
        return make_plan(
            self.make_objective(),
            n_images,
            given,
            scratch=self.weights is None,
            epochs=self.epochs if epochs is None else epochs,
            constant=constant,
            first_epoch=first_epoch,
            trained_first_stages=self.trained_first_stages,
            start_penalty=self.start_penalty,
            micro_batch_size=self.micro_batch_size,
            max_grad_norm=self.max_grad_norm,
        )

    def make_objective(self) -> Objective:
        """Return the objective that `objective` names, or a clone of it, its parameters checked."""
        from skiqa.objectives import OBJECTIVES

        if isinstance(self.objective, str):
            return OBJECTIVES[self.objective]()
        objective: Objective = clone(self.objective)
        objective._validate_params()
        return objective

    def with_state(self, state: EncoderState) -> Self:
        """Return a fitted copy of this encoder that has another state.

        Parameters
        ----------
        state : EncoderState

        Returns
        -------
        ContrastiveQualityEncoder

        Raises
        ------
        ValueError
            If the weights do not fit their network.
        """
        encoder = copy.copy(self)
        if not hasattr(encoder, "history_"):
            encoder.n_iter_, encoder.loss_curve_, encoder.history_ = 0, [], []
        encoder.training_state_ = encoder.checkpoint_path_ = None
        encoder._set_state(state)
        return encoder

    def _set_state(self, state: EncoderState) -> None:
        row_width(state, self.scales, self.pooling)  # builds it: finds weights that do not fit
        self.state_ = state
        self.backbone_name_ = state.backbone

    def _seed(self) -> int:
        """Draw the integer that decides a run; the same in all processes that train together."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if "torch" not in sys.modules:
            return seed  # no processes train together
        from skiqa._training.distributed import from_first

        return from_first(seed)

    def _train(self, run: Run, context: Any, data: dict[str, Any]) -> dict[str, Any]:
        """Train, take on the result, and return what `partial_fit` may go on with."""
        from skiqa._training.distributed import rank
        from skiqa._training.hooks import Hooks
        from skiqa._training.loop import train

        self.objective_ = self.make_objective()
        how = (self.objective_, self.device, self.precision, self.training_state_)
        trainer = run.trainer(*how)
        folder = run.folder(self.objective_, self.checkpoint_dir)
        self.checkpoint_path_ = None if folder.path is None else os.fspath(folder.path)
        shown = bool(self.verbose) and rank() == 0
        with folder:
            with progress_bar("Training", run.n_steps, enabled=shown, unit="steps") as advance:
                hooks = Hooks(self, context, data, advance, fitted=partial(self._fitted, run))
                train(
                    trainer,
                    run.images,
                    run.authentic,
                    n_jobs=self.n_jobs,
                    on_error=self.on_error,
                    hooks=hooks,
                    folder=folder,
                    max_pixels=run.start.max_pixels,
                )
            hooks.record(trainer)  # a run resumed after its last epoch had no epoch to end
            self._set_state(run.trained_state(trainer, self.n_jobs))
            folder.remove()  # not before the constants of the features: they take a while
        return run.left(trainer)

    def _fitted(self, run: Run, trainer: Trainer) -> dict[str, Any]:
        """Return the attributes that the network in training gives."""
        state = run.trained_state(trainer, self.n_jobs)
        return {"state_": state, "backbone_name_": state.backbone}

    def _start(self, seed: int, *, trained: bool) -> EncoderState:
        """Return the state that the parameters name."""
        names = (self.backbone, self.weights, self.content_backbone)
        state = starting_state(*names, seed=seed, trained=trained)
        if trained and self.weights is None and not self.make_objective().starts_as_timm:
            from skiqa._training.scratch import published_start

            state = published_start(state)
        return replace(state, max_pixels=self._viewing_size(state))

    @property
    def _n_features_out(self) -> int:
        """Width of a row, under the parameters as they are now: they may change after `fit`."""
        return row_width(self.state_, self.scales, self.pooling)

    def __getstate__(self) -> dict[str, Any]:
        # where it was pickled, not where its weights were made: bundled ones are opened anywhere
        where = {"_pickled_with": current_versions(), "_pickled_on": platform.node()}
        return super().__getstate__() | where

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        versions, machine = state.pop("_pickled_with", {}), state.pop("_pickled_on", None)
        for name in ("cache_dir", "checkpoint_dir"):
            # a folder of another machine is not made here, but it may be one that both share
            if machine != platform.node() and not os.path.isdir(state.get(name) or ""):
                state[name] = None
        super().__setstate__(state)
        if "state_" in state:
            warn_of_versions("This encoder was pickled", versions, stacklevel=3)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tag_images(tags)
        tags.target_tags.required = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
