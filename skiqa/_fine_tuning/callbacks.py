"""scikit-learn's callbacks, and the fitted attributes that they may ask for at any epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skiqa._encoder import ContrastiveQualityEncoder
from skiqa._fine_tuning.loop import FineTuningRun
from skiqa._network.state import EncoderState


@dataclass(frozen=True)
class StartingPipeline:
    """The pipeline that a fine-tuning starts from, and the scales of the datasets."""

    encoder: ContrastiveQualityEncoder
    ridge: Ridge
    dataset_scales: dict[Any, tuple[float, float]]

    def attributes_of(self, run: FineTuningRun) -> dict[str, Any]:
        """Return the fitted attributes that a run gives as it is now."""
        return self.fitted_attributes(run.history, run.best_epoch, run.best_state())

    def fitted_attributes(
        self, history: Sequence[dict[str, float]], best_epoch: int, state: EncoderState
    ) -> dict[str, Any]:
        """Return the fitted attributes that a network gives."""
        return {
            "pipeline_": make_pipeline(self.encoder.with_state(state), self.ridge),
            "best_epoch_": best_epoch,
            "n_iter_": len(history) - 1,
            "history_": list(history),
            "dataset_scales_": self.dataset_scales,
        }


class SklearnCallbacks:
    """scikit-learn's callbacks of an estimator, told of each epoch."""

    def __init__(
        self, estimator: BaseEstimator, context: Any, X: Any, y: Any, start: StartingPipeline
    ) -> None:
        self.context, self.start = context, start
        self.what: dict[str, Any] = {"estimator": estimator, "X": X, "y": y}

    def begin_epoch(self) -> None:
        """Open the task of an epoch."""
        self.epoch_context = self.context.subcontext(task_name="epoch")
        self.epoch_context.call_on_fit_task_begin(**self.what)

    def end_epoch(self, run: FineTuningRun) -> bool:
        """Close the task of an epoch; return whether a callback wants to stop."""
        fitted = partial(self.start.attributes_of, run)
        end = self.epoch_context.call_on_fit_task_end
        return bool(end(**self.what, reconstruction_attributes=fitted))
