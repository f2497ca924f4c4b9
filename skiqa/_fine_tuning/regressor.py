"""What the regressors that train a network to ratings have in common."""

from __future__ import annotations

from numbers import Integral
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import (
    assert_all_finite,
    check_consistent_length,
    column_or_1d,
    validate_data,
)

from skiqa._encoder import ContrastiveQualityEncoder
from skiqa._fine_tuning.callbacks import SklearnCallbacks
from skiqa._fine_tuning.data import RatedImages
from skiqa._fine_tuning.kept_maps import KeptMaps
from skiqa._fine_tuning.loop import FineTuningRun
from skiqa._fine_tuning.sources import Photos, Source
from skiqa._fine_tuning.tuner import Tuner
from skiqa._inputs.containers import is_rows, refuse_lone_numbers
from skiqa._inputs.estimators import open_images, rows_dtype, tag_images
from skiqa._inputs.images import ImageList
from skiqa._inputs.rows import rows_as_images
from skiqa._network.device import resolve_device
from skiqa._network.state import current_versions
from skiqa._progress import progress_bar
from skiqa._training.checkpoints import NoFolder, TrainingFolder
from skiqa._types import Floats, Images, Path
from skiqa._unpickling import DefaultsWhenUnpickled


class NetworkRegressor(DefaultsWhenUnpickled, CallbackSupportMixin, RegressorMixin, BaseEstimator):
    """A regressor from images to scores whose `fit` trains a network, and can be interrupted."""

    pipeline_: Pipeline
    dataset_scales_: dict[Any, tuple[float, float]]

    alpha: float
    window_size: int | None
    trained_last_stages: int | None
    validation_fraction: float
    image_shape: tuple[int, ...] | None
    device: str
    n_jobs: int | None
    checkpoint_dir: Path | None
    maps_dir: Path | None
    random_state: int | np.random.RandomState | None
    verbose: int

    def _seed(self) -> int:
        """Return the integer that decides all that is random."""
        if self.checkpoint_dir is not None and not isinstance(self.random_state, Integral):
            raise ValueError(
                f"checkpoint_dir needs random_state to be an int, not {self.random_state!r}: with "
                "another seed at each call, no fit would go on where one was killed."
            )
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _source(self, images: ImageList, encoder: ContrastiveQualityEncoder) -> Source[Any]:
        """Return what the network of an encoder sees of images in training."""
        extraction = encoder.extraction(resolve_device(self.device, strict=True))
        if self.maps_dir is None:
            return Photos(images, extraction, self.n_jobs, self.window_size)
        if self.window_size is not None or self.trained_last_stages is None:
            raise ValueError(
                f"maps_dir keeps maps of whole images in front of the trained stages: it needs "
                f"window_size=None (now {self.window_size}) and a number of trained_last_stages "
                f"(now {self.trained_last_stages})."
            )
        where = (self.trained_last_stages, self.maps_dir)
        return KeptMaps(images, extraction, self.n_jobs, *where)

    def _checkpoint_folder(self, rated: RatedImages, tuner: Tuner, seed: int) -> NoFolder:
        """Return the folder of this run's checkpoints; its name says all that decides the run."""
        if self.checkpoint_dir is None:
            return NoFolder()
        extraction = tuner.source.extraction
        identity = {
            "versions": current_versions(),
            "start": extraction.state.digest,
            "scales": list(extraction.scales),
            "pooling": extraction.pooling,
            "precision": extraction.precision,
            "plan": vars(tuner.plan),
            "seed": seed,
            "alpha": self.alpha,
            "fraction": self.validation_fraction,
            "maps": self.maps_dir is not None,
            "images": rated.images.digests(),
            "y": rated.y.tolist(),
            "groups": rated.groups.tolist(),
            "datasets": rated.datasets.tolist(),
            "weights": rated.weights.tolist(),
            "deviations": rated.deviations.tolist(),
        }
        return TrainingFolder(self.checkpoint_dir, identity)

    def _train(
        self, what: str, run: FineTuningRun, folder: NoFolder, callbacks: SklearnCallbacks
    ) -> None:
        """Train with a bar, and with checkpoints if asked for."""
        bar = progress_bar(what, run.n_steps, enabled=bool(self.verbose), unit="steps")
        with folder, bar as advance:
            run.train(callbacks, folder=folder, advance=advance)

    def _scale_of(self, dataset: Any) -> tuple[float, float]:
        """Return slope and offset from the scores of `predict` to those of a dataset."""
        known = list(self.dataset_scales_)
        if dataset is not None and dataset not in known:
            raise ValueError(f"dataset={dataset!r}, but fitted were {known}.")
        return (1.0, 0.0) if dataset is None else self.dataset_scales_[dataset]

    def _score_by_ridge(self, images: ImageList) -> Floats:
        encoder, ridge = self.pipeline_[0], cast("Ridge", self.pipeline_[1])
        rows = encoder.transform(images).astype(np.float64)  # as `fit` saw them
        return ridge.predict(rows)

    def _open_rated(
        self, X: Images, y: npt.ArrayLike | None, *, allow_nan: bool = False
    ) -> tuple[ImageList, Floats]:
        """Return X as an ImageList and y as float64, for `fit`."""
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} requires y to be passed, but the target y is None."
            )
        if is_rows(X):
            refuse_lone_numbers(X)
            if allow_nan:  # scikit-learn's check of both refuses it
                rows = validate_data(self, X, dtype=rows_dtype(self))
                images = rows_as_images(rows, self.image_shape)
                return images, self._rated_column(images, y, allow_nan=True)
            rows, scores = validate_data(self, X, y, dtype=rows_dtype(self), y_numeric=True)
            return rows_as_images(rows, self.image_shape), scores.astype(np.float64)
        images = open_images(self, X, reset=True)
        return images, self._rated_column(images, y, allow_nan=allow_nan)

    def _rated_column(self, images: ImageList, y: npt.ArrayLike, *, allow_nan: bool) -> Floats:
        scores: Floats = column_or_1d(y, dtype=np.float64, warn=True)
        assert_all_finite(scores, allow_nan=allow_nan, input_name="y")
        check_consistent_length(images, scores)
        return scores

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tag_images(tags)
        tags.regressor_tags.poor_score = True  # rows of numbers are no photos
        return tags
