"""What a training tells the outside: history attributes, the bar, scikit-learn's callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from skiqa._training.trainer import Trainer

if TYPE_CHECKING:
    from skiqa._progress import Advance


class Encoder(Protocol):
    """What hooks know of an encoder."""

    n_iter_: int
    loss_curve_: list[float]
    history_: list[dict[str, float]]


class Hooks:
    """Called by the training loop.

    Parameters
    ----------
    encoder : ContrastiveQualityEncoder
        Gets ``n_iter_``, ``loss_curve_`` and ``history_`` before its callbacks are called.
    context : CallbackContext
        Of the whole fit; epochs and, within them, batches are its tasks.
    data : dict
        What callbacks are given beside the estimator: ``X`` and ``y``.
    advance : callable
        Moves the bar.
    fitted : callable
        ``fitted(trainer)`` returns the other fitted attributes, for a callback that wants the
        encoder at an epoch's end.
    """

    def __init__(
        self,
        encoder: Encoder,
        context: Any,
        data: dict[str, Any],
        advance: Advance,
        fitted: Callable[[Trainer], dict[str, Any]],
    ) -> None:
        self.encoder, self.context, self.data = encoder, context, data
        self.advance, self.fitted = advance, fitted
        self.earlier = list(encoder.history_)

    def resumed(self, trainer: Trainer) -> None:
        """Let the bar go on where the interrupted run was."""
        self.advance(trainer.step)

    def epoch_begins(self, n_steps: int) -> None:
        """Open the task of an epoch."""
        self.epoch_context = self.context.subcontext(task_name="epoch", max_subtasks=n_steps)
        self.epoch_context.call_on_fit_task_begin(estimator=self.encoder, **self.data)

    def step_ended(self, loss: float) -> None:
        """Move the bar and tell callbacks of a batch."""
        self.advance(1, f"loss {loss:.3f}")
        context = self.epoch_context.subcontext(task_name="batch")
        context.call_on_fit_task_begin(estimator=self.encoder, **self.data)
        context.call_on_fit_task_end(estimator=self.encoder, **self.data)

    def record(self, trainer: Trainer) -> dict[str, Any]:
        """Set the history attributes of the encoder, and return them."""
        history = self.earlier + trainer.history
        attributes = {
            "history_": history,
            "loss_curve_": [epoch["loss"] for epoch in history],
            "n_iter_": len(history),
        }
        vars(self.encoder).update(attributes)
        return attributes

    def epoch_ended(self, trainer: Trainer) -> bool:
        """Close the task of an epoch; return whether a callback wants to stop."""
        history = self.record(trainer)
        return bool(
            self.epoch_context.call_on_fit_task_end(
                estimator=self.encoder,
                **self.data,
                reconstruction_attributes=lambda: history | self.fitted(trainer),
            )
        )
