"""FineTunedQualityRegressor: images -> scores, the network trained to ratings."""

import copy
import os
import time
from contextlib import nullcontext
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import (
    assert_all_finite,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from skiqa._encoder import ContrastiveQualityEncoder
from skiqa._features.extract import image_digest
from skiqa._fine_tuning.heads import cross_fitted, ridge_within
from skiqa._fine_tuning.held_out import HeldOut, Rated
from skiqa._fine_tuning.loop import batches, train_epoch
from skiqa._fine_tuning.sources import KeptMaps, Photos, Recipe
from skiqa._fine_tuning.tuner import FineTuner, FineTuning
from skiqa._inputs.containers import as_image_list, is_rows
from skiqa._inputs.prefetch import iter_decoded
from skiqa._inputs.rows import rows_as_images
from skiqa._matched_noise import matched_pairs
from skiqa._network.authors_files import fitted_ridge
from skiqa._network.device import resolve_device
from skiqa._network.state import build, current_versions, to_arrays
from skiqa._progress import progress_bar
from skiqa._training.checkpoints import TrainingFolder
from skiqa._training.schedule import cut_window, sample_seeds


class FineTunedQualityRegressor(CallbackSupportMixin, RegressorMixin, BaseEstimator):
    """Scores of images from a network that is trained to them, end to end.

    It starts as ``make_pipeline(encoder, Ridge(alpha))``. The ridge stays, and the network learns
    what the ridge gets wrong on images it has not seen: in training each image is predicted by a
    ridge fitted without it. After each epoch a held-out part is ranked; the last network is kept
    that ranks it better than the start and, to one standard error, as well as any before it.

    Parameters
    ----------
    encoder : ContrastiveQualityEncoder, str, path or None, default=None
        Where the network starts. None: the bundled weights. A fitted encoder is taken as it is
        (in a ``sklearn.frozen.FrozenEstimator`` it survives `clone`), another is fitted; else a
        file of weights or timm's name of a network, with timm's own weights. One network only.
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
        Weight of the consistency loss under QFM-IQM's matched noise. 0: QPT's protocol.
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
        None: every epoch runs the whole network.
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

    def __init__(
        self,
        encoder=None,
        *,
        alpha=1.0,
        epochs=4,
        batch_size=8,
        window_size=None,
        learning_rate=1e-4,
        layer_decay=1.0,
        trained_last_stages=2,
        averaging=0.99,
        start_penalty=0.0,
        ranking=0.0,
        semantic_noise=0.0,
        validation_fraction=0.15,
        n_windows=5,
        image_shape=None,
        device="auto",
        n_jobs=None,
        checkpoint_dir=None,
        maps_dir=None,
        random_state=None,
        verbose=0,
    ):
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
    def fit(self, X, y, *, groups=None, datasets=None):
        """Train the network and its head.

        Parameters
        ----------
        X : array-like of images
            As for :class:`~skiqa.ContrastiveQualityEncoder`.
        y : array-like of float of shape (n_samples,)
            Opinion scores, higher is better.
        groups : array-like of shape (n_samples,) or None, default=None
            Images of one group share their content: never on both sides of the held-out part,
            never partners. None: each its own.
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
        ValueError
            If a parameter, y or the groups are of no use; the message says which.
        """
        images, y = self._open_rated(X, y)
        if self.checkpoint_dir is not None and not isinstance(self.random_state, Integral):
            raise ValueError(
                f"checkpoint_dir needs random_state to be an int, not {self.random_state!r}: with "
                "another seed at each call, no fit would go on where one was killed."
            )
        n = len(images)
        _, groups = _labels(groups, n, "groups", np.arange(n))
        names, datasets = _labels(datasets, n, "datasets", np.zeros(n, np.intp))
        level, spread = _scales(y, datasets)
        data = Rated(images, (y - level[datasets]) / spread[datasets], groups, datasets)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        parts = self._split(groups, seed)
        encoder = self._start(images)
        tuner = self._tuner(images, encoder)  # refuses what cannot be, before a long extraction
        rows = encoder.transform(images)
        ridge, scales = self._fit_ridge(rows, data, level, spread)
        held_out = HeldOut(rows, data, parts, self.alpha)

        def fitted(history, epoch, state):
            """Return the fitted attributes that the network of an epoch gives."""
            tuned = copy.copy(encoder)
            tuned.state_ = state
            return {
                "pipeline_": make_pipeline(tuned, ridge), "best_epoch_": epoch,
                "n_iter_": len(history) - 1, "history_": history,
                "dataset_scales_": dict(zip(names, scales, strict=False)),  # no names: empty
            }  # fmt: skip

        context = self._init_callback_context(max_subtasks=self.epochs)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        hooks = {"context": context, "X": X, "y": y, "fitted": fitted}
        attributes = self._train(encoder, tuner, rows, data, parts, seed, held_out, **hooks)
        vars(self).update(attributes)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _fit_ridge(self, rows, data, level, spread):
        """Return the ridge on the features of the start, on the scale of the largest dataset.

        And (slope, offset) of each dataset's scale, from that one.
        """
        _, y, _, datasets = data
        coef, intercept = ridge_within(rows, y, datasets, data.n_datasets, self.alpha)
        largest = np.bincount(datasets).argmax()
        slope = spread / spread[largest]
        offset = level + spread * (intercept - intercept[largest]) - slope * level[largest]
        base = float(level[largest] + spread[largest] * intercept[largest])
        ridge = fitted_ridge(spread[largest] * coef, base, self.alpha)
        return ridge, list(zip(slope.tolist(), offset.tolist(), strict=True))

    def _train(
        self, encoder, tuner, rows, data, parts, seed, held_out, *, context, X, y, fitted
    ):  # fmt: skip
        """Train, and return the fitted attributes."""
        train, test = parts
        start = encoder.state_
        history = [{"loss": np.nan, "validation_srocc": held_out.start, "seconds": 0.0}]
        if not self.epochs:
            return fitted(history, 0, start)
        card = {"fine_tuned": f"on {len(train)} rated images", "start": start.card}
        tuned = partial(start.replace, card=card, head={})
        kept, chosen = None, 0  # the network as checkpoints hold it, and its epoch; None: the start
        one_epoch, n_steps = self._one_epoch(tuner, rows, data, train, seed)

        def noted():
            return {"history": history, "kept": kept, "chosen": chosen, "best": held_out.best}

        def taken():
            if kept is None:
                return fitted(history, 0, start)
            arrays = {name: tensor.numpy() for name, tensor in kept.items()}
            return fitted(history, chosen, tuned(networks=[arrays]))

        progress = progress_bar(
            "Fine-tuning", self.epochs * n_steps, enabled=bool(self.verbose), unit="steps"
        )
        with self._folder(encoder, data, tuner.plan, seed) as folder, progress as advance:
            content = None if folder is None else folder.load()
            if content is not None:
                tuner.restore(content)
                history, kept, chosen = (content[k] for k in ("history", "kept", "chosen"))
                held_out.best = content["best"]
            advance(tuner.step)
            for epoch in range(len(history) - 1, self.epochs):
                epoch_context = context.subcontext(task_name="epoch")
                epoch_context.call_on_fit_task_begin(estimator=self, X=X, y=y)
                began = time.monotonic()
                loss = one_epoch(epoch=epoch, folder=folder, history=noted(), advance=advance)
                with tuner.averaged() as network:
                    arrays = to_arrays(network.model)
                    features = tuner.source.rows(network, tuned(networks=[arrays]), test)
                value = held_out.rank(features)
                if held_out.takes(features):
                    kept = {name: torch.from_numpy(array) for name, array in arrays.items()}
                    chosen = epoch + 1
                seconds = time.monotonic() - began
                of_epoch = {"loss": loss, "validation_srocc": value, "seconds": seconds}
                history = [*history, of_epoch]
                if folder is not None:
                    folder.save(tuner.step, tuner.content() | noted())
                advance(0, f"SROCC {value:.3f}")
                if epoch_context.call_on_fit_task_end(
                    estimator=self, X=X, y=y, reconstruction_attributes=taken
                ):
                    break
            if folder is not None:
                folder.remove()
        return taken()

    def _tuner(self, images, encoder):
        """Return what trains the network of an encoder, or None without epochs."""
        if not self.epochs:
            return None
        plan = FineTuning(**{k: getattr(self, k) for k in FineTuning.__dataclass_fields__})
        source = self._source(images, encoder)
        return FineTuner(build(encoder.state_), plan, source, encoder._n_features_out)

    def _one_epoch(self, tuner, rows, data, train, seed):
        """Return the function that trains for an epoch, and its number of steps."""
        rows, y, groups, datasets = (part[train] for part in (rows, *data[1:]))
        plan, device = tuner.plan, tuner.source.recipe.device
        heads = cross_fitted(rows, y, groups, datasets, data.n_datasets, self.alpha, seed)
        target, partners = partial(heads.target, y, datasets, device=device), None
        if self.semantic_noise:
            # of equal quality: equal y in two datasets may stand on different levels of it
            _, level = ridge_within(rows, y, datasets, data.n_datasets, self.alpha)
            partners, _ = matched_pairs(rows, y - level[datasets], groups=groups)
        n_steps = len(batches(seed, 0, len(train), plan.batch_size, partners))
        return partial(train_epoch, tuner, train, target, partners, seed=seed), n_steps

    def _source(self, images, encoder):
        """Return what the network in training sees of images."""
        recipe = Recipe(
            encoder.state_, tuple(encoder.scales), encoder.pooling,
            resolve_device(self.device, strict=True), encoder.precision,
        )  # fmt: skip
        if self.maps_dir is None:
            return Photos(images, recipe, self.n_jobs, self.window_size)
        if self.window_size is not None or self.trained_last_stages is None:
            raise ValueError(
                f"maps_dir keeps maps of whole images in front of the trained stages: it needs "
                f"window_size=None (now {self.window_size}) and a number of trained_last_stages "
                f"(now {self.trained_last_stages})."
            )
        return KeptMaps(images, recipe, self.n_jobs, self.trained_last_stages, self.maps_dir)

    def _folder(self, encoder, data, plan, seed):
        """Return the folder of this run's checkpoints, or a context of None."""
        if self.checkpoint_dir is None or not self.epochs:
            return nullcontext()
        identity = {
            "versions": current_versions(), "start": encoder.state_.digest, "plan": vars(plan),
            "seed": seed, "alpha": self.alpha, "fraction": self.validation_fraction,
            "maps": self.maps_dir is not None, "y": data.y.tolist(), "groups": data.groups.tolist(),
            "datasets": data.datasets.tolist(),
            "scales": list(encoder.scales), "pooling": encoder.pooling,
            "precision": encoder.precision,
            "images": [image_digest(data.images, i) for i in range(len(data.images))],
        }  # fmt: skip
        return TrainingFolder(self.checkpoint_dir, identity)

    def predict(self, X, return_std=False, dataset=None):
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
        known = list(self.dataset_scales_)
        if dataset is not None and dataset not in known:
            raise ValueError(f"dataset={dataset!r}, but fitted were {known}.")
        slope, offset = (1.0, 0.0) if dataset is None else self.dataset_scales_[dataset]
        images = self._open(X)
        scores = slope * self._score(images) + offset
        if not return_std:
            return scores
        seeds, spread = sample_seeds(0, 0, range(self.n_windows)), []
        for _, image in iter_decoded(images, n_jobs=self.n_jobs):
            side = self.window_size or max(8, min(image.shape[:2]) // 2)
            windows = as_image_list([cut_window(image, side, seed) for seed in seeds])
            spread.append(slope * self._score(windows).std())
        return scores, np.array(spread)

    def _score(self, images):
        encoder, ridge = self.pipeline_[0], self.pipeline_[1]
        rows = encoder.transform(images).astype(np.float64)  # as `fit` saw them
        return ridge.predict(rows)

    def _split(self, groups, seed):
        n_groups = len(np.unique(groups))
        if n_groups < 2:
            raise ValueError(
                f"n_samples = {len(groups)} in {n_groups} group: a held-out part of other content "
                "needs two groups or more."
            )
        held_out = min(n_groups - 1, max(1, round(self.validation_fraction * n_groups)))
        split = GroupShuffleSplit(1, test_size=held_out, random_state=seed)
        return next(split.split(groups, groups=groups))

    def _start(self, images):
        """Return a fitted encoder, a copy whose state may be changed."""
        encoder = getattr(self.encoder, "estimator", self.encoder)  # of a FrozenEstimator
        if encoder is None or isinstance(encoder, str | os.PathLike):
            named = encoder is not None and not os.path.exists(encoder)
            encoder = ContrastiveQualityEncoder(
                str(encoder) if named else None,
                weights="timm" if named else encoder or "default",
                device=self.device, n_jobs=self.n_jobs,
            )  # fmt: skip
        if not isinstance(encoder, ContrastiveQualityEncoder):
            raise TypeError(
                f"encoder is a {type(encoder).__name__}; give a ContrastiveQualityEncoder, a file "
                "of weights, timm's name of a network, or None."
            )
        fitted = hasattr(encoder, "state_")
        encoder = copy.copy(encoder) if fitted else clone(encoder).fit(images)
        if len(encoder.state_.networks) > 1 or encoder.state_.content is not None:
            raise ValueError(
                "The encoder has several networks; one is fine-tuned. Use keep_start=False and "
                "content_backbone=None."
            )
        encoder.image_shape, encoder.on_error = self.image_shape, "raise"
        if self.n_jobs is not None:
            encoder.n_jobs = self.n_jobs
        return encoder

    def _open_rated(self, X, y):
        """Return X as an ImageList and y as float64, for `fit`."""
        if y is None:
            raise ValueError(
                "This FineTunedQualityRegressor requires y to be passed, but the target y is None."
            )
        if is_rows(X):
            dtype = np.float32 if self.image_shape is None else None
            X, y = validate_data(self, X, y, dtype=dtype, y_numeric=True)
            return rows_as_images(X, self.image_shape), y.astype(np.float64)
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
        images = as_image_list(X)
        y = column_or_1d(y, dtype=np.float64, warn=True)
        assert_all_finite(y, input_name="y")
        check_consistent_length(images, y)
        return images, y

    def _open(self, X):
        """Return X as an ImageList, for `predict`."""
        if not is_rows(X):
            return as_image_list(X)
        dtype = np.float32 if self.image_shape is None else None
        return rows_as_images(validate_data(self, X, dtype=dtype, reset=False), self.image_shape)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.regressor_tags.poor_score = True  # rows of numbers are no photos
        return tags


def _labels(labels, n, name, default):
    """Return the distinct labels, and of each image its place among them."""
    if labels is None:
        return [], default
    labels = column_or_1d(labels)
    if len(labels) != n:
        raise ValueError(f"{name} has {len(labels)} entries for {n} images.")
    names, places = np.unique(labels, return_inverse=True)
    return names.tolist(), places


def _scales(y, datasets):
    """Return mean and standard deviation of each dataset's y, (n_datasets,); 1 where it is 0."""
    parts = [y[datasets == d] for d in range(datasets.max() + 1)]
    spread = [p.std() if np.ptp(p) else 1.0 for p in parts]
    return np.array([p.mean() for p in parts]), np.array(spread)
