"""FineTunedQualityRegressor: images -> scores, the network trained to ratings."""

from __future__ import annotations

import os
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
from sklearn.base import _fit_context
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted

from skiqa._encoder import ContrastiveQualityEncoder
from skiqa._fine_tuning.callbacks import SklearnCallbacks, StartingPipeline
from skiqa._fine_tuning.data import TrainingSet, rate, ridge_of_largest
from skiqa._fine_tuning.held_out import HeldOut, split_by_content
from skiqa._fine_tuning.loop import FineTuningRun, start_record
from skiqa._fine_tuning.regressor import NetworkRegressor
from skiqa._fine_tuning.start import starting_encoder
from skiqa._fine_tuning.tuner import FineTuner, FineTuningPlan
from skiqa._inputs.containers import as_image_list
from skiqa._inputs.estimators import open_images
from skiqa._inputs.images import ImageList
from skiqa._inputs.prefetch import iter_decoded
from skiqa._training.checkpoints import NoFolder
from skiqa._training.schedule import cut_window, sample_seeds
from skiqa._types import Floats, Images, Path, Pixels


class FineTunedQualityRegressor(NetworkRegressor):
    """Scores of images from a network that is trained to them, end to end.

    It starts as ``make_pipeline(encoder, Ridge(alpha))``. The ridge stays, and the network learns
    what the ridge gets wrong on images it has not seen: in training each image is predicted by a
    ridge fitted without it. After each epoch a held-out part is ranked; the last network is kept
    that ranks it better than the start and, to one standard error, as well as any before it.

    Parameters
    ----------
    encoder : ContrastiveQualityEncoder, FrozenEstimator, str, path or None, default=None
        Where the network starts. None: the bundled weights. An encoder is cloned and fitted to the
        images; a fitted one is kept as it is in a ``sklearn.frozen.FrozenEstimator``. Else a file
        of weights, or timm's name of a network, with timm's own weights. One network only.
    alpha : float in (0, inf), default=1.0
        Penalty of the ridge.
    epochs : int in [0, inf), default=4
        Passes over the images. 0: the frozen pipeline.
    batch_size : int in [2, inf), default=8
        Images a step.
    window_size : int in [8, inf) or None, default=None
        Side of a training window, in pixels, at a random place and mirrored at even odds. None:
        whole images.
    learning_rate : float in (0, inf), default=1e-4
        Peak rate (Adam) of the last stage.
    layer_decay : float in (0, 1], default=1.0
        Rate of a stage over that of the one behind it.
    trained_last_stages : int in [1, inf) or None, default=2
        Train only the last so many stages (of a ViT, blocks). None: all, and the stem.
    averaging : float in [0, 1), default=0.99
        Decay, per step, of the running average of weights, which is what is kept.
    start_penalty : float in [0, inf), default=0.0
        A step draws each weight this many times its rate towards where it started.
    ranking : float in [0, inf), default=0.0
        Weight of LIQE's fidelity loss on pairs of a batch that are of one dataset.
    semantic_noise : float in [0, inf), default=0.0
        Weight of the consistency loss under QFM-IQM's matched noise. 0: none.
    validation_fraction : float in (0, 1), default=0.15
        Share of the groups that chooses the epoch.
    n_windows : int in [2, inf), default=5
        Windows of an image whose scores make the `return_std` of `predict`.
    image_shape : tuple of 2 or 3 int or None, default=None
        Shape of the images when X is a 2-D array of pixels.
    device : str, default="auto"
        "auto", "cpu", "cuda", "cuda:1"...
    n_jobs : int or None, default=None
        Threads that decode images. None is 1, -1 all cores.
    checkpoint_dir : str, path or None, default=None
        Folder from which a killed `fit` goes on, bit for bit, when it is called again. Needs an
        int as `random_state`.
    maps_dir : str, path or None, default=None
        Folder that keeps, from fit to fit, the maps of whole images in front of the trained
        stages, in half precision: an epoch then costs what the trained stages cost, with the
        defaults less than a quarter. .3 MB for a photo of 512 x 512; nothing is ever deleted.
        For chains of stages and plain vision transformers, whose stages are their blocks. None:
        every epoch runs the whole network.
    random_state : int, RandomState instance or None, default=None
        Decides the held-out part, the folds, order and windows.
    verbose : int, default=0
        1 shows a progress bar on standard error.

    Attributes
    ----------
    pipeline_ : Pipeline
        A ContrastiveQualityEncoder with the tuned network, and the ridge, fitted to the features
        of the start: its scores are those of `predict`. Quality maps, reports, evaluations and
        files of weights take it.
    dataset_scales_ : dict of {label: (slope, offset)}
        Scores of `predict` on the scale of each of `datasets`: slope * score + offset.
    history_ : list of dict
        Of each epoch ``loss``, ``validation_srocc`` and ``seconds`` (of its last part, if it was
        interrupted); the start first, with a loss of NaN.
    best_epoch_ : int
        Epochs behind the network that is kept; 0 is the start.
    n_iter_ : int
        Epochs trained.
    n_features_in_ : int
        Only if X was a 2-D array.

    Notes
    -----
    Our choice, as the papers leave it open: ridges that have not seen the image, in five folds of
    other content; BatchNorm and dropout in evaluation; of several `datasets`, y in units of its
    standard deviation and an intercept for each, under one `coef_`, so that scores of any scale
    train together; and all of QFM-IQM's form here: half of each batch are partners of
    nearly equal score and distant features at the start; the difference of their pooled features,
    times a gate per feature that is trained to do most harm, must not move the prediction.

    Cost: an epoch is one training pass and one extraction of the held-out part's features; with
    `maps_dir`, both behind the maps only, from the second epoch on. Images run whole, unless
    `window_size` is set: with the bundled network about .3 GB of memory for each megapixel of the
    largest; of large ones a batch takes no more memory than one.

    References
    ----------
    Zhao et al., "Quality-aware Pre-trained Models for Blind Image Quality Assessment", CVPR 2023;
    Li et al., "Adaptive Feature Selection for No-Reference Image Quality Assessment by Mitigating
    Semantic Noise Sensitivity", ICML 2024 (arXiv 2312.06158v3): the matching.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skiqa import FineTunedQualityRegressor
    >>> china, flower = (image[:96, :96] for image in load_sample_images().images)
    >>> photos = [china, china[::2, ::2], flower, flower[::3, ::3]]
    >>> model = FineTunedQualityRegressor(epochs=1, random_state=0)
    >>> model.fit(photos, [0.8, 0.5, 0.9, 0.6], groups=[0, 0, 1, 1]).predict(photos).shape
    (4,)
    """

    _parameter_constraints = {
        "encoder": [HasMethods(["fit", "transform"]), str, os.PathLike, None],
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "epochs": [Interval(Integral, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "window_size": [Interval(Integral, 8, None, closed="left"), None],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "layer_decay": [Interval(Real, 0, 1, closed="right")],
        "trained_last_stages": [Interval(Integral, 1, None, closed="left"), None],
        "averaging": [Interval(Real, 0, 1, closed="left")],
        "start_penalty": [Interval(Real, 0, None, closed="left")],
        "ranking": [Interval(Real, 0, None, closed="left")],
        "semantic_noise": [Interval(Real, 0, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_windows": [Interval(Integral, 2, None, closed="left")],
        "image_shape": [tuple, list, None],
        "device": [str],
        "n_jobs": [Integral, None],
        "checkpoint_dir": [str, os.PathLike, None],
        "maps_dir": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    history_: list[dict[str, float]]
    best_epoch_: int
    n_iter_: int

    def __init__(
        self,
        encoder: ContrastiveQualityEncoder | FrozenEstimator | Path | None = None,
        *,
        alpha: float = 1.0,
        epochs: int = 4,
        batch_size: int = 8,
        window_size: int | None = None,
        learning_rate: float = 1e-4,
        layer_decay: float = 1.0,
        trained_last_stages: int | None = 2,
        averaging: float = 0.99,
        start_penalty: float = 0.0,
        ranking: float = 0.0,
        semantic_noise: float = 0.0,
        validation_fraction: float = 0.15,
        n_windows: int = 5,
        image_shape: tuple[int, ...] | None = None,
        device: str = "auto",
        n_jobs: int | None = None,
        checkpoint_dir: Path | None = None,
        maps_dir: Path | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.encoder = encoder
        self.alpha = alpha
        self.epochs = epochs
        self.batch_size = batch_size
        self.window_size = window_size
        self.learning_rate = learning_rate
        self.layer_decay = layer_decay
        self.trained_last_stages = trained_last_stages
        self.averaging = averaging
        self.start_penalty = start_penalty
        self.ranking = ranking
        self.semantic_noise = semantic_noise
        self.validation_fraction = validation_fraction
        self.n_windows = n_windows
        self.image_shape = image_shape
        self.device = device
        self.n_jobs = n_jobs
        self.checkpoint_dir = checkpoint_dir
        self.maps_dir = maps_dir
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Images,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        groups: npt.ArrayLike | None = None,
        datasets: npt.ArrayLike | None = None,
    ) -> Self:
        """Train the network and its head.

        Parameters
        ----------
        X : array-like of images
            As for :class:`~skiqa.ContrastiveQualityEncoder`.
        y : array-like of float of shape (n_samples,)
            Opinion scores, higher is better.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How many times each image counts: in the ridge, the loss, and the ranking of the
            held-out part; 0: it is not there, and not read. Such as ``1 / std**2`` of the opinions.
            None: once.
        groups : array-like of shape (n_samples,) or None, default=None
            Images of one group share their content: never on both sides of the held-out part,
            never partners. None: each its own, copies of one together.
        datasets : array-like of shape (n_samples,) or None, default=None
            Each has its own scale and level of y; `ranking` compares only within one, and the
            held-out SROCC is their mean, weighted by size. None: all are of one.

        Returns
        -------
        self : object
            Fitted regressor.

        Raises
        ------
        ImageError
            If an image cannot be read.
        TypeError
            If the encoder is none, or X is no list of images.
        ValueError
            If a parameter, y or the groups are of no use; the message says which.
        """
        seed = self._seed()
        images, scores = self._open_rated(X, y)
        rated, level, spread, names = rate(images, scores, sample_weight, groups, datasets)
        images, groups = rated.images, rated.groups
        train, test = split_by_content(groups, self.validation_fraction, seed)
        common = {name: getattr(self, name) for name in ("image_shape", "device", "n_jobs")}
        encoder = starting_encoder(self.encoder, images, **common)
        # refuses what cannot be, before a long extraction
        tuner = self._make_tuner(images, encoder) if self.epochs else None
        folder = NoFolder() if tuner is None else self._checkpoint_folder(rated, tuner, seed)
        rows = encoder.transform(cast("Images", images))
        ridge, scales = ridge_of_largest(rows, rated, level, spread, self.alpha)
        dataset_scales = dict(zip(names, scales, strict=False))  # no names: empty
        start = StartingPipeline(encoder, ridge, dataset_scales)
        held_out = HeldOut(rows, rated, train, test, self.alpha)
        context = self._init_callback_context(max_subtasks=self.epochs)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        if tuner is None:
            attributes = start.fitted_attributes([start_record(held_out)], 0, encoder.state_)
        else:
            options: dict[str, Any] = {"alpha": self.alpha, "seed": seed}
            options["with_partners"] = self.semantic_noise > 0
            training_set = TrainingSet.of(rated, train, rows, **options)
            run = FineTuningRun(tuner, training_set, held_out, seed)
            callbacks = SklearnCallbacks(self, context, X, y, start)
            self._train("Fine-tuning", run, folder, callbacks)
            folder.remove()
            attributes = start.attributes_of(run)
        for name, value in attributes.items():
            setattr(self, name, value)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _make_tuner(self, images: ImageList, encoder: ContrastiveQualityEncoder) -> FineTuner:
        """Return what trains the network of an encoder."""
        plan = FineTuningPlan(**{f.name: getattr(self, f.name) for f in fields(FineTuningPlan)})
        return FineTuner(plan, self._source(images, encoder))

    def predict(
        self, X: Images, return_std: bool = False, dataset: Any = None
    ) -> Floats | tuple[Floats, Floats]:
        """Return the scores of images, each seen whole.

        Parameters
        ----------
        X : array-like of images
        return_std : bool, default=False
            Also how much the scores of `n_windows` windows of each image differ: of side
            `window_size`, or half the image's shorter side.
        dataset : label or None, default=None
            On the scale of which of the fitted `datasets`; None: of the largest.

        Returns
        -------
        score : ndarray of shape (n_samples,), float64
        std : ndarray of shape (n_samples,), float64
            Only if `return_std`; in units of y.

        Raises
        ------
        ImageError
            If an image cannot be read.
        ValueError
            If no such dataset was fitted.
        """
        check_is_fitted(self)
        slope, offset = self._scale_of(dataset)
        images = open_images(self, X, reset=False)
        scores = slope * self._score_by_ridge(images) + offset
        if not return_std:
            return scores
        viewed = self.pipeline_[0].extraction("cpu").max_pixels
        decoded = iter_decoded(images, n_jobs=self.n_jobs, max_pixels=viewed)
        spread = [slope * self._spread_of_windows(cast("Pixels", image)) for _, image in decoded]
        return scores, np.array(spread)

    def _spread_of_windows(self, image: Pixels) -> float:
        """Return the standard deviation of the scores of an image's windows."""
        side = self.window_size or max(8, min(image.shape[:2]) // 2)
        seeds = sample_seeds(0, 0, range(self.n_windows))
        windows = as_image_list([cut_window(image, side, seed) for seed in seeds])
        return float(self._score_by_ridge(windows).std())
