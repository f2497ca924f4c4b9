"""ContrastiveQualityEncoder: images -> features of quality, as a scikit-learn transformer."""

import hashlib
import os
import warnings
from contextlib import contextmanager, nullcontext
from numbers import Integral, Real

import numpy as np
import PIL
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
    clone,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from skiqa._features.cache import FeatureCache
from skiqa._features.constants import standardising_constants
from skiqa._features.extract import EXTRACTION_VERSION, extract, extract_cached, image_digest
from skiqa._features.width import row_width
from skiqa._inputs.containers import as_image_list, is_rows
from skiqa._inputs.rows import rows_as_images
from skiqa._network.device import resolve_device, training_dtype
from skiqa._network.state import EncoderState, current_versions, random_state_of, timm_state
from skiqa._network.weight_files import BUNDLED, load_state
from skiqa._progress import progress_bar
from skiqa._training.checkpoints import TrainingFolder
from skiqa._training.distributed import from_first, rank
from skiqa._training.loop import train
from skiqa._training.schedule import Plan
from skiqa._training.trainer import Trainer
from skiqa.objectives import OBJECTIVES

_STATISTICS_PHOTOS = 512  # enough for means and deviations of features; more is only slower


class ContrastiveQualityEncoder(
    CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
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
        skiqa, a checkpoint of CONTRIQUE's, ARNIQA's or Re-IQA's authors, or None for random ones.
        With ``pooling="avg"`` a checkpoint's features are its paper's own. Re-IQA's two differ in
        their input: the one for content is known by a file name that begins with "content".
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
    scales : tuple of float in (0, 1], default=(1.0, 0.5)
        Each photo enters whole at each of these scales (Pillow's bicubic).
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
        Threads that decode images ahead of the network. None is 1, -1 all cores.
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
    checkpoint_dir : str, path or None, default=None
        Folder from which a killed `fit` goes on, bit for bit, when it is called again.
    random_state : int, RandomState instance or None, default=None
        Decides initial weights, order, degradations and crops.
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
    n_features_in_ : int
        Only if X was a 2-D array.

    See Also
    --------
    skiqa.load_model : The bundled encoder with its regressor: scores in one line.

    Notes
    -----
    Cost of `transform` with the bundled weights: about 0.3 s per megapixel on two CPU cores; photos
    run one by one there, so memory is that of the largest photo (264 MB a megapixel up to 4 MP,
    then tiles keep it flat). X can be paths, bytes, PIL images, arrays (grey, RGB, RGBA; uint8,
    uint16, bool, or float in [0, 1]) or torch tensors, of any and mixed sizes. A 2-D array of
    numbers without `image_shape` is read as one-row images, each stretched to its own range.

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

    _parameter_constraints = {
        "backbone": [str, None],
        "weights": [str, os.PathLike, None],
        "epochs": [Interval(Integral, 0, None, closed="left")],
        "objective": [StrOptions(set(OBJECTIVES)), HasMethods(["views", "pool", "head", "loss"])],
        "batch_size": [Interval(Integral, 2, None, closed="left"), None],
        "view_size": [Interval(Integral, 8, None, closed="left"), None],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "weight_decay": [Interval(Real, 0, None, closed="left"), None],
        "trained_first_stages": [Interval(Integral, 1, None, closed="left"), None],
        "start_penalty": [Interval(Real, 0, None, closed="left")],
        "micro_batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
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
        "checkpoint_dir": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        backbone=None,
        *,
        weights="default",
        epochs=0,
        objective="contrique",
        batch_size=None,
        view_size=None,
        learning_rate=None,
        weight_decay=None,
        trained_first_stages=None,
        start_penalty=0.0,
        micro_batch_size=None,
        max_grad_norm=None,
        scales=(1.0, 0.5),
        pooling="stages",
        image_shape=None,
        precision="auto",
        device="auto",
        n_jobs=None,
        keep_start=False,
        content_backbone=None,
        cache_dir=None,
        on_error="raise",
        checkpoint_dir=None,
        random_state=None,
        verbose=0,
    ):
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
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, authentic=None):
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
        ValueError
            If a parameter or X is of no use; the message says which and what to do.
        """
        images = self._open(X, reset=True)
        seed = self._seed()
        start = self._start(seed, trained=self.epochs > 0)
        marks = _authentic_marks(authentic, images)
        resolve_device(self.device, strict=True)
        context = self._init_callback_context(max_subtasks=self.epochs)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        self.n_iter_, self.loss_curve_, self.history_ = 0, [], []
        self.__dict__.pop("_continue", None)
        if self.epochs:
            plan = self._plan(images, epochs=self.epochs)
            kept = start.networks if self.keep_start else ()
            self._train(images, marks, start, kept, plan, seed, _Hooks(self, context, X, y))
        else:
            self._set_state(start)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, *, authentic=None):
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
        first = not hasattr(self, "state_")
        images = self._open(X, reset=first)
        if first:
            seed = self._seed()
            start = self._start(seed, trained=True)
            self.n_iter_, self.loss_curve_, self.history_ = 0, [], []
            kept = start.networks if self.keep_start else ()
        else:
            start, kept = self.state_, self.state_.networks[1:]
            seed = self.__dict__.get("_continue", {}).get("seed")
            if seed is None:
                seed = self._seed()
        marks = _authentic_marks(authentic, images)
        plan = self._plan(images, epochs=1, constant=True, first_epoch=self.n_iter_)
        context = self._init_callback_context(task_name="partial_fit", max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        self._train(images, marks, start, kept, plan, seed, _Hooks(self, context, X, y))
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def transform(self, X):
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
        images = self._open(X, reset=False)
        out = np.full((len(images), self._n_features_out), np.nan, dtype=np.float32)
        with progress_bar("Features", len(images), enabled=bool(self.verbose)) as advance:
            for index, row in self._iter_features(images, on_error=self.on_error):
                if isinstance(row, np.ndarray):
                    out[index] = row
                advance()
        return out

    def _iter_features(self, images, *, on_error, n_jobs=None):
        """Yield (index, row or ImageError) in order, as features are computed or found."""
        options = {
            "state": self.state_,
            "scales": tuple(self.scales),
            "pooling": self.pooling,
            "device": resolve_device(self.device, strict=False),
            "precision": self.precision,
            "n_jobs": self.n_jobs if n_jobs is None else n_jobs,
            "on_error": on_error,
        }
        if self.cache_dir is None:
            return extract(images, **options)
        cache = FeatureCache(self.cache_dir, self._config())
        return extract_cached(images, cache, **options)

    def _config(self):
        """Return the digest of everything, but the image, that changes a feature."""
        # Pillow decodes and resizes: its version is part of what an image file means
        parts = (self.state_.digest, tuple(map(float, self.scales)), self.pooling, self.precision,
                 self.image_shape, EXTRACTION_VERSION, PIL.__version__)  # fmt: skip
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def _open(self, X, *, reset):
        """Turn X into an ImageList; plain rows of numbers pass scikit-learn's own checks first."""
        scales = self.scales
        if not len(scales) or not all(isinstance(s, Real) and 0 < s <= 1 for s in scales):
            raise ValueError(f"scales={scales!r}: give one or more numbers in (0, 1].")
        if not is_rows(X):
            if reset:
                for name in ("n_features_in_", "feature_names_in_"):
                    self.__dict__.pop(name, None)
            return as_image_list(X)
        dtype = np.float32 if self.image_shape is None else None
        return rows_as_images(validate_data(self, X, dtype=dtype, reset=reset), self.image_shape)

    def _seed(self):
        """Draw the integer that decides a run; the same in all processes that train together."""
        return from_first(int(check_random_state(self.random_state).randint(2**31 - 1)))

    def _start(self, seed, *, trained):
        """Return the state that the parameters name, with that of the content beside it."""
        state = self._start_alone(seed, trained=trained)
        if self.content_backbone is None:
            return state
        return state.replace(content=self._content())

    def _content(self):
        """Return the state that `content_backbone` names."""
        name = self.content_backbone
        if name == "default":
            return load_state(BUNDLED)
        return load_state(name) if os.path.exists(name) else timm_state(str(name))

    def _start_alone(self, seed, *, trained):
        if self.weights is None:
            if self.backbone is None:
                raise ValueError("weights=None needs a backbone: name a network of timm.")
            if not trained:
                warnings.warn(
                    "weights=None with epochs=0 gives random features. Set epochs, or weights.",
                    UserWarning,
                    stacklevel=5,
                )
            return random_state_of(self.backbone, seed)
        if self.weights == "timm":
            if self.backbone is None:
                raise ValueError("weights='timm' needs a backbone: name a network of timm.")
            return timm_state(self.backbone)
        state = load_state(BUNDLED if self.weights == "default" else self.weights)
        if self.backbone not in (None, state.backbone):
            raise ValueError(
                f"backbone={self.backbone!r}, but weights={self.weights!r} are of "
                f"{state.backbone!r}. Leave backbone=None to use those weights, or set "
                "weights=None (random) or weights='timm' to use that backbone."
            )
        return state

    def _plan(self, images, *, epochs, **more):
        """Return the numbers of this training: the parameters, or the objective's own."""
        if len(images) < 2:
            raise ValueError(
                f"Found {len(images)} sample(s), but contrastive training needs at least 2: a "
                "minimum of 2 is required."
            )
        scratch = self.weights is None
        objective = self._objective()
        defaults = objective.defaults_scratch if scratch else objective.defaults_pretrained
        value = {
            name: default if getattr(self, name) is None else getattr(self, name)
            for name, default in defaults.items()
        }
        batch_size = min(value["batch_size"], len(images))
        value["batch_size"] = batch_size
        if not scratch:  # the projector behind trained weights is new: it learns as from scratch
            more["head_factor"] = (
                objective.defaults_scratch["learning_rate"] / value["learning_rate"]
            )
        value["learning_rate"] *= batch_size / objective.learning_rate_batch
        own = ("trained_first_stages", "start_penalty", "micro_batch_size", "max_grad_norm")
        value |= {name: getattr(self, name) for name in own}
        return Plan(epochs=epochs, train_statistics=scratch, **value, **more)

    def _objective(self):
        if isinstance(self.objective, str):
            return OBJECTIVES[self.objective]()
        objective = clone(self.objective)
        if hasattr(objective, "_parameter_constraints"):
            objective._validate_params()
        return objective

    def _train(self, images, marks, start, kept, plan, seed, hooks):
        """Train from a state and take on the result, with the `kept` networks beside it."""
        device = resolve_device(self.device, strict=True)
        self.objective_ = self._objective()
        depthwise = any(a.ndim == 4 and a.shape[1] == 1 for a in start.networks[0].values())
        dtype = training_dtype(self.precision, device, depthwise=depthwise)
        trainer = Trainer(start, self.objective_, plan, device, dtype, seed)
        earlier = self.__dict__.get("_continue", {})
        if earlier.get("objective") == repr(self.objective_):
            trainer.go_on(earlier)
        hooks.finish = lambda trainer: self._take(trainer, images, start, kept, seed)
        options = {"n_jobs": self.n_jobs, "on_error": self.on_error, "hooks": hooks}
        total = plan.epochs * max(1, len(images) // plan.batch_size)
        shown = bool(self.verbose) and rank() == 0
        place = nullcontext()
        if self.checkpoint_dir is not None and rank() == 0:
            identity = self._identity(images, marks, start, plan, seed)
            place = TrainingFolder(self.checkpoint_dir, identity)
        with place as folder:
            with progress_bar("Training", total, enabled=shown, unit="steps") as advance:
                hooks.advance = advance
                train(trainer, images, marks, folder=folder, **options)
            hooks.record(trainer)  # a run resumed after its last epoch had no epoch to end
            self._take(trainer, images, start, kept, seed)
            if folder is not None:
                folder.remove()  # not before the constants of the features: they take a while
        if plan.constant:
            self._continue = {"seed": seed, "objective": repr(self.objective_)}
            self._continue |= trainer.continuation()

    def _identity(self, images, marks, start, plan, seed):
        """Return what decides the result of a training run."""
        return {
            "versions": current_versions(),
            "start": start.digest,
            "objective": [type(self.objective_).__name__, self.objective_.get_params()],
            "plan": vars(plan),
            "seed": seed,
            "images": [image_digest(images, i) for i in range(len(images))],
            "authentic": marks.tolist(),
        }

    def _take(self, trainer, images, start, kept, seed):
        """Make the trained network, with its constants, the state of this encoder."""
        network, head = trainer.arrays()
        state = EncoderState(
            backbone=start.backbone, networks=[network, *kept], head=head,
            mean=start.mean, std=start.std, unit_norm=start.unit_norm,
        )  # fmt: skip
        chosen = np.random.default_rng(seed).permutation(len(images))[:_STATISTICS_PHOTOS]

        def standardised(state):
            center, scale = standardising_constants(
                images, np.sort(chosen), state, device=trainer.device, n_jobs=self.n_jobs
            )
            return state.replace(center=center, scale=scale)

        state = standardised(state)
        if (content := start.content) is not None:
            content = content if content.center is not None else standardised(content)
            state = state.replace(content=content)
        self._set_state(state)

    def _set_state(self, state):
        row_width(state, self.scales, self.pooling)  # builds it: finds weights that do not fit
        self.state_ = state
        self.backbone_name_ = state.backbone

    @property
    def _n_features_out(self):
        """Width of a row, under the parameters as they are now: they may change after `fit`."""
        return row_width(self.state_, self.scales, self.pooling)

    def __getstate__(self):
        # where it was pickled, not where its weights were made: bundled ones are opened anywhere
        return super().__getstate__() | {"_pickled_with": current_versions()}

    def __setstate__(self, state):
        versions = state.pop("_pickled_with", None) or current_versions()
        super().__setstate__(state)
        if "state_" in state and versions != current_versions():
            warnings.warn(
                f"This encoder was pickled with {versions} and is used with "
                f"{current_versions()}. Its weights load strictly, but features may differ in "
                "their last digits.",
                UserWarning,
                stacklevel=2,
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.target_tags.required = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _authentic_marks(authentic, images):
    """Return 1 (degraded by life), 0 (pristine) or -1 (unknown) for each image."""
    if authentic is None:
        return np.full(len(images), -1, dtype=np.int64)
    marks = np.asarray(authentic)
    if marks.shape != (len(images),):
        raise ValueError(
            f"authentic has shape {marks.shape}; give one bool for each of the {len(images)} "
            "images."
        )
    if not np.isin(marks, (0, 1)).all():
        raise ValueError("authentic must hold only True (degraded by life) and False (pristine).")
    return marks.astype(np.int64)


class _Hooks:
    """What the training loop tells the outside: history attributes, progress, callbacks."""

    def __init__(self, encoder, context, X, y):
        self.encoder, self.context, self.data = encoder, context, {"X": X, "y": y}
        self.advance = self.finish = None
        self.earlier = list(encoder.history_)

    def resume(self, trainer):
        self.advance(trainer.step)  # the bar goes on, too

    @contextmanager
    def epoch(self, epoch, n_steps):
        self.epoch_context = self.context.subcontext(task_name="epoch", max_subtasks=n_steps)
        self.epoch_context.call_on_fit_task_begin(estimator=self.encoder, **self.data)
        yield self.batch

    def batch(self, loss, trainer):
        self.advance(1, f"loss {loss:.3f}")
        context = self.epoch_context.subcontext(task_name="batch")
        context.call_on_fit_task_begin(estimator=self.encoder, **self.data)
        context.call_on_fit_task_end(estimator=self.encoder, **self.data)

    def record(self, trainer):
        encoder = self.encoder
        encoder.history_ = self.earlier + trainer.history
        encoder.loss_curve_ = [record["loss"] for record in encoder.history_]
        encoder.n_iter_ = len(encoder.history_)

    def end(self, trainer):
        encoder = self.encoder
        self.record(trainer)

        def reconstruct():
            self.finish(trainer)
            names = ("state_", "backbone_name_", "n_iter_", "loss_curve_", "history_")
            return {name: getattr(encoder, name) for name in names}

        return self.epoch_context.call_on_fit_task_end(
            estimator=encoder, **self.data, reconstruction_attributes=reconstruct
        )
