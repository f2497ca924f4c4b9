"""FeatureMatchingQualityRegressor: images -> scores by tokens, a panel, and matched noise."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
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
from skiqa._fine_tuning.data import Ratings, TrainingSet
from skiqa._fine_tuning.fitted_panel import FittedPanel, panel_scores
from skiqa._fine_tuning.held_out import HeldOut, split_by_content
from skiqa._fine_tuning.loop import FineTuningRun, start_record
from skiqa._fine_tuning.opinions import Opinions, split_again
from skiqa._fine_tuning.panel_start import PanelStart
from skiqa._fine_tuning.panel_tuner import PanelPlan, PanelTuner
from skiqa._fine_tuning.regressor import NetworkRegressor
from skiqa._fine_tuning.sources import Photos
from skiqa._fine_tuning.start import starting_encoder
from skiqa._fine_tuning.teacher import Teacher
from skiqa._inputs.estimators import open_images
from skiqa._inputs.images import ImageList
from skiqa._network.device import resolve_device
from skiqa._training.checkpoints import NoFolder
from skiqa._types import Floats, Images, Integers, Path


class FeatureMatchingQualityRegressor(NetworkRegressor):
    """Scores of images by a network's tokens and a panel that is hardened against content.

    QFM-IQM's form: photos of equal quality and distant content are matched, the difference of
    their tokens is added where it does most harm, and the score must not move. An attention panel
    after DEIQT looks at the tokens. Photos without a rating (NaN in y) are rated by the trained
    model, and a second one, the student, learns from all.

    Parameters
    ----------
    encoder : ContrastiveQualityEncoder, FrozenEstimator, str, path or None, default=None
        Where the network starts, as for :class:`~skiqa.FineTunedQualityRegressor`.
    alpha : float in (0, inf), default=1.0
        Penalty of the ridge.
    epochs : int in [0, inf), default=4
        Passes over the images, for a student again. 0: the frozen pipeline.
    batch_size : int in [2, inf), default=8
        Images a step.
    window_size : int in [8, inf) or None, default=None
        Side of a training window, in pixels, at a random place and mirrored at even odds. None:
        whole images.
    learning_rate : float in (0, inf), default=1e-4
        Peak rate (Adam) of the network.
    panel_learning_rate : float in (0, inf), default=3e-4
        Peak rate of the panel.
    trained_last_stages : int in [0, inf) or None, default=2
        Train only the last so many stages (of a ViT, blocks). None: all, and the stem.
    token_stages : int in [1, inf), default=1
        The maps of the last so many stages become tokens.
    token_grid : int in [1, inf), default=8
        A map is averaged to so many by so many tokens, whatever the photo's size and aspect.
    width : int in [1, inf), default=128
        Of the tokens. Maps of as many channels are taken as they are, others are projected.
    n_queries : int in [0, inf), default=6
        Of the panel. 0: no panel, a linear head on the mean of the tokens.
    residual : bool, default=True
        The panel's score is added to the ridge's; it is 0 before training.
    ranking : float in [0, inf), default=0.0
        Weight of LIQE's fidelity loss on pairs of a batch that are of one dataset.
    matching : float in [0, inf), default=0.0
        Weight of the loss of images under matched noise.
    consistency : float in [0, inf), default=0.0
        Weight of how far scores move under it.
    tolerance : float in (0, inf), default=0.25
        How far the scores of a pair may lie apart, in units of the deviation of its ratings
        (`y_std` of `fit`), or where that is not known of all scores.
    memory : int in [0, inf), default=64
        Images of earlier steps among which partners are looked for, beside those of the batch.
    selection : float in [0, inf) or None, default=None
        Weight of how far the selector is open, which multiplies each channel of the tokens by a
        number in (0, 1). None: no selector.
    student : ContrastiveQualityEncoder, FrozenEstimator, str, path or None, default=None
        Where the student's network starts. None: as `encoder`.
    unlabeled_weight : float in (0, inf), default=1.0
        What the teacher's ratings count, times its confidence.
    token_matching : float in [0, inf), default=0.0
        Weight of the distance of the student's tokens to the teacher's.
    validation_fraction : float in (0, 1), default=0.15
        Share of the groups that chooses the epoch.
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
        Folder that keeps the maps in front of the trained stages, as for
        :class:`~skiqa.FineTunedQualityRegressor`; then `token_stages` is at most
        `trained_last_stages` + 1.
    random_state : int, RandomState instance or None, default=None
        Decides the held-out part, the folds, the panel's start, order and windows.
    verbose : int, default=0
        1 shows progress bars on standard error.

    Attributes
    ----------
    pipeline_ : Pipeline
        A ContrastiveQualityEncoder with the tuned network, and the ridge.
    panel_ : dict or None
        The panel, as arrays and numbers. None: the start was kept, and `pipeline_` is all.
    dataset_scales_ : dict of {label: (slope, offset)}
        Scores of `predict` on the scale of each of `datasets`: slope * score + offset.
    transduction_ : float64 ndarray of shape (n_samples,)
        y, and where that is NaN the teacher's rating; NaN where the weight is 0, too.
    confidence_ : float64 ndarray of shape (n_samples,)
        ``1 / (1 + (spread / median spread)**2)`` of the teacher's votes; 1 where there is a y.
    history_, teacher_history_ : list of dict
        Of each epoch ``loss``, ``validation_srocc`` and ``seconds`` (of its last part, if it was
        interrupted); the start first, with a loss of NaN. The teacher's is empty without one.
    best_epoch_ : int
        Epochs behind the model that is kept; 0 is the start.
    n_iter_ : int
        Epochs trained; a teacher's do not count.
    n_features_in_ : int
        Only if X was a 2-D array.

    Notes
    -----
    The paper's, as far as it can be read: the matching (of its third version; the first has it the
    other way round), noise through a gate, a consistency of scores, distillation to expand the
    data. DEIQT's: the panel. Our choice: all else. The gate follows from a token and its noise,
    and is trained uphill; the selector follows from means and spreads of an image's tokens, and
    stays in the path of `predict`. Maps lie on a grid, so that photos of any aspect can be matched.
    Partners are of one dataset and never of one content. In training each image is predicted by a
    ridge fitted without it (:class:`~skiqa.FineTunedQualityRegressor`), which knows no noise.

    Neither teacher nor student is trained on the held-out part, nor on an unrated photo of its
    content. But the ridge behind a teacher's ratings is that of `pipeline_`, which has seen all
    that is rated: a student's held-out SROCC chooses an epoch, and is not that of unseen photos.
    If no epoch ranks it better than the start, that is kept: no votes, and no spread.

    What each part gains is measured in the documentation.

    Cost: as for :class:`~skiqa.FineTunedQualityRegressor`; the panel adds little. Matched noise
    doubles the panel's part. The memory holds `memory` times the tokens, float32.

    References
    ----------
    Li et al., "Adaptive Feature Selection for No-Reference Image Quality Assessment by Mitigating
    Semantic Noise Sensitivity", ICML 2024 (arXiv 2312.06158v3); Qin et al., "Data-Efficient Image
    Quality Assessment with Attention-Panel Decoder", AAAI 2023: the panel.

    Examples
    --------
    >>> from sklearn.datasets import load_sample_images
    >>> from skiqa import FeatureMatchingQualityRegressor
    >>> china, flower = (image[:96, :96] for image in load_sample_images().images)
    >>> photos = [china, china[::2, ::2], flower, flower[::3, ::3]]
    >>> model = FeatureMatchingQualityRegressor(epochs=1, random_state=0)
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
        "panel_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "trained_last_stages": [Interval(Integral, 0, None, closed="left"), None],
        "token_stages": [Interval(Integral, 1, None, closed="left")],
        "token_grid": [Interval(Integral, 1, None, closed="left")],
        "width": [Interval(Integral, 1, None, closed="left")],
        "n_queries": [Interval(Integral, 0, None, closed="left")],
        "residual": ["boolean"],
        "ranking": [Interval(Real, 0, None, closed="left")],
        "matching": [Interval(Real, 0, None, closed="left")],
        "consistency": [Interval(Real, 0, None, closed="left")],
        "tolerance": [Interval(Real, 0, None, closed="neither")],
        "memory": [Interval(Integral, 0, None, closed="left")],
        "selection": [Interval(Real, 0, None, closed="left"), None],
        "student": [HasMethods(["fit", "transform"]), str, os.PathLike, None],
        "unlabeled_weight": [Interval(Real, 0, None, closed="neither")],
        "token_matching": [Interval(Real, 0, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "image_shape": [tuple, list, None],
        "device": [str],
        "n_jobs": [Integral, None],
        "checkpoint_dir": [str, os.PathLike, None],
        "maps_dir": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    panel_: FittedPanel | None
    transduction_: Floats
    confidence_: Floats
    history_: list[dict[str, float]]
    teacher_history_: list[dict[str, float]]
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
        panel_learning_rate: float = 3e-4,
        trained_last_stages: int | None = 2,
        token_stages: int = 1,
        token_grid: int = 8,
        width: int = 128,
        n_queries: int = 6,
        residual: bool = True,
        ranking: float = 0.0,
        matching: float = 0.0,
        consistency: float = 0.0,
        tolerance: float = 0.25,
        memory: int = 64,
        selection: float | None = None,
        student: ContrastiveQualityEncoder | FrozenEstimator | Path | None = None,
        unlabeled_weight: float = 1.0,
        token_matching: float = 0.0,
        validation_fraction: float = 0.15,
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
        self.panel_learning_rate = panel_learning_rate
        self.trained_last_stages = trained_last_stages
        self.token_stages = token_stages
        self.token_grid = token_grid
        self.width = width
        self.n_queries = n_queries
        self.residual = residual
        self.ranking = ranking
        self.matching = matching
        self.consistency = consistency
        self.tolerance = tolerance
        self.memory = memory
        self.selection = selection
        self.student = student
        self.unlabeled_weight = unlabeled_weight
        self.token_matching = token_matching
        self.validation_fraction = validation_fraction
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
        y_std: npt.ArrayLike | None = None,
    ) -> Self:
        """Train the network and the panel; with unrated images, then a student of them.

        Parameters
        ----------
        X : array-like of images
            As for :class:`~skiqa.ContrastiveQualityEncoder`.
        y : array-like of float of shape (n_samples,)
            Opinion scores, higher is better; NaN: nobody rated it. Two scores or more.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How many times each image counts; 0: it is not there, and not read. None: once.
        groups : array-like of shape (n_samples,) or None, default=None
            Images of one group share their content: never on both sides of the held-out part,
            never partners. None: each its own, copies of one together.
        datasets : array-like of shape (n_samples,) or None, default=None
            Each has its own scale and level of y, and partners of its own. None: all are of one.
        y_std : array-like of shape (n_samples,) or None, default=None
            Standard deviation of the ratings of each image, in units of y, above 0: what
            `tolerance` is counted in. That of an image that is unrated or not there is not looked
            at.

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
        images, scores = self._open_rated(X, y, allow_nan=True)
        opinions = Opinions.of(images, scores, sample_weight, groups, datasets, y_std)
        ratings, distils = opinions.ratings(), len(opinions.unrated) > 0
        split = split_by_content(ratings.images.groups, self.validation_fraction, seed)
        context = self._init_callback_context(max_subtasks=self.epochs * (1 + distils))
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        callbacks = partial(SklearnCallbacks, self, context, X, y)
        phase = _Phase("Training", ratings, *split, self._start(self.encoder, ratings), seed)
        attributes, folders = self._run(phase, callbacks)
        more: dict[str, Any] = {"transduction_": scores, "confidence_": np.ones(len(scores))}
        more["teacher_history_"] = []
        if distils:
            more["teacher_history_"] = attributes["history_"]
            given = self._scores_of(opinions.unrated_images(), attributes, phase.start)
            scales = attributes["dataset_scales_"]
            opinions, more["confidence_"] = opinions.completed(
                *given, self.unlabeled_weight, scales
            )
            more["transduction_"] = opinions.y
            ratings = opinions.ratings()
            again = split_again(ratings.images, phase.ratings.images.places[phase.test])
            start = self._start(self.encoder if self.student is None else self.student, ratings)
            student = _Phase("Distilling", ratings, *again, start, seed)
            attributes, of_student = self._run(student, callbacks, (phase.start, attributes))
            folders += of_student
        for folder in folders:
            folder.remove()
        for name, value in (attributes | more).items():
            setattr(self, name, value)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _start(
        self, encoder: ContrastiveQualityEncoder | FrozenEstimator | Path | None, ratings: Ratings
    ) -> ContrastiveQualityEncoder:
        common = {name: getattr(self, name) for name in ("image_shape", "device", "n_jobs")}
        return starting_encoder(encoder, ratings.images.images, **common)

    def _run(
        self,
        phase: _Phase,
        callbacks: Callable[[StartingPipeline], SklearnCallbacks],
        teacher: tuple[ContrastiveQualityEncoder, dict[str, Any]] | None = None,
    ) -> tuple[dict[str, Any], list[NoFolder]]:
        """Return the fitted attributes that a phase gives, and where its checkpoints lie."""
        rated, encoder, seed = phase.ratings.images, phase.start, phase.seed
        # refuses what cannot be, before a long extraction
        tuner = self._make_tuner(phase, teacher) if self.epochs else None
        folder = NoFolder() if tuner is None else self._checkpoint_folder(rated, tuner, seed)
        rows = encoder.transform(cast("Images", rated.images))
        start = PanelStart.of(encoder, rows, phase.ratings, self.alpha)
        held_out = HeldOut(rows, rated, phase.train, phase.test, self.alpha)
        if tuner is None:
            record = [start_record(held_out)]
            return start.fitted_attributes(record, 0, encoder.state_) | {"panel_": None}, []
        options: dict[str, Any] = {"alpha": self.alpha, "seed": seed, "with_partners": False}
        training_set = TrainingSet.of(rated, phase.train, rows, **options)
        run = FineTuningRun(tuner, training_set, held_out, seed)
        self._train(phase.name, run, folder, callbacks(start))
        return start.attributes_of(run), [folder]

    def _make_tuner(
        self,
        phase: _Phase,
        taught: tuple[ContrastiveQualityEncoder, dict[str, Any]] | None,
    ) -> PanelTuner:
        """Return what trains the network of an encoder and its panel."""
        names = {f.name for f in fields(PanelPlan)} & self.get_params(deep=False).keys()
        plan = PanelPlan(**{name: getattr(self, name) for name in names})
        images, teacher = phase.ratings.images.images, None
        if taught is not None and taught[1]["panel_"] is not None and self.token_matching:
            start, attributes = taught
            of_teacher = (attributes["pipeline_"][0].state_, attributes["panel_"])
            teacher = Teacher(self._source(images, start), *of_teacher)
        source = self._source(images, phase.start)
        return PanelTuner(plan, source, phase.train, phase.seed, teacher)

    def _scores_of(
        self,
        images: ImageList,
        attributes: Mapping[str, Any],
        start: ContrastiveQualityEncoder | None = None,
    ) -> tuple[Floats, Floats]:
        """Return scores of whole images, and how far votes differ; with `start`, of kept maps."""
        (encoder, ridge), panel = attributes["pipeline_"], attributes["panel_"]
        if panel is None:
            scores = ridge.predict(encoder.transform(images).astype(np.float64))
            return scores, np.zeros(len(scores))
        if start is not None and self.maps_dir is not None:
            source = self._source(images, start)
        else:
            extraction = encoder.extraction(resolve_device(self.device, strict=False))
            source = Photos(images, extraction, self.n_jobs, None)
        return panel_scores(source, encoder.state_, ridge, panel)

    def predict(
        self, X: Images, return_std: bool = False, dataset: Any = None
    ) -> Floats | tuple[Floats, Floats]:
        """Return the scores of images, each seen whole.

        Parameters
        ----------
        X : array-like of images
        return_std : bool, default=False
            Also how far the votes of the panel's queries differ.
        dataset : label or None, default=None
            On the scale of which of the fitted `datasets`; None: of the largest.

        Returns
        -------
        score : ndarray of shape (n_samples,), float64
        std : ndarray of shape (n_samples,), float64
            Only if `return_std`; in units of y. 0 where there is one vote, or none.

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
        scores, spread = self._scores_of(images, vars(self))
        scores = slope * scores + offset
        return (scores, slope * spread) if return_std else scores


@dataclass(frozen=True)
class _Phase:
    """A training: of what, what is trained on and what is held out, and from which encoder."""

    name: str
    ratings: Ratings
    train: Integers
    test: Integers
    start: ContrastiveQualityEncoder
    seed: int
