"""The epochs of a fine-tuning: each trained, ranked on the held-out part, and kept or not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch

from skiqa._fine_tuning.data import TrainingSet
from skiqa._fine_tuning.held_out import HeldOut
from skiqa._fine_tuning.tuner import Tuner
from skiqa._network.build import to_arrays
from skiqa._network.state import EncoderState
from skiqa._training.checkpoints import NoFolder
from skiqa._training.loop import require_finite_loss
from skiqa._training.schedule import rate, sample_seeds
from skiqa._types import Arrays, Integers


class EpochCallbacks(Protocol):
    """What is told of each epoch."""

    def begin_epoch(self) -> None:
        """An epoch begins, or goes on."""

    def end_epoch(self, run: FineTuningRun) -> bool:
        """Tell of an epoch that has ended; return whether training stops."""


class FineTuningRun:
    """The epochs of a fine-tuning, and the network that is kept.

    Parameters
    ----------
    tuner : Tuner
        Changed in place; its step says how much is behind it.
    training_set : TrainingSet
    held_out : HeldOut
        Changed in place.
    seed : int
        Decides, with the place in the run, every random number.

    Attributes
    ----------
    history : list of dict
        Of the start and each epoch ``loss``, ``validation_srocc`` and ``seconds``.
    best_epoch : int
        Epochs behind the network that is kept; 0 is the start.
    """

    def __init__(
        self, tuner: Tuner, training_set: TrainingSet, held_out: HeldOut, seed: int
    ) -> None:
        self.tuner, self.training_set, self.held_out = tuner, training_set, held_out
        self.seed = seed
        self.history = [start_record(held_out)]
        self.best_epoch = 0
        self.stopped = False  # by a callback
        # of the network and of what is behind it; None: the start's
        self._best_weights: list[dict[str, torch.Tensor]] | None = None
        self._losses: list[float] = []  # of the epoch under way

    @property
    def n_steps(self) -> int:
        """Steps of all epochs."""
        return self.tuner.plan.epochs * len(self._batches(0))

    def train(
        self, callbacks: EpochCallbacks, *, folder: NoFolder, advance: Callable[..., None]
    ) -> None:
        """Train for the epochs that are left, or until a callback stops it.

        Parameters
        ----------
        callbacks : EpochCallbacks
        folder : TrainingFolder or NoFolder
            Where checkpoints go. The run goes on from the newest one, that of its end included; who
            has what it came to deletes them.
        advance : callable
            Shows progress, as of `progress_bar`.

        Raises
        ------
        ValueError
            If the loss is no longer finite.
        """
        if (checkpoint := folder.load()) is not None:
            self.load_state_dict(checkpoint)
        advance(self.tuner.step)
        for epoch in range(len(self.history) - 1, self.tuner.plan.epochs):
            if self.stopped:
                break
            callbacks.begin_epoch()
            began = time.monotonic()
            loss = self.train_epoch(epoch, folder=folder, advance=advance)
            srocc = self._rank(epoch)
            seconds = time.monotonic() - began
            record = {"loss": loss, "validation_srocc": srocc, "seconds": seconds}
            self.history.append(record)
            folder.save(self.tuner.step, self.state_dict())
            advance(0, f"SROCC {srocc:.3f}")
            if callbacks.end_epoch(self):
                self.stopped = True
                folder.save(self.tuner.step, self.state_dict())

    def train_epoch(self, epoch: int, *, folder: NoFolder, advance: Callable[..., None]) -> float:
        """Train for what is left of an epoch; return its mean loss."""
        tuner, plan = self.tuner, self.tuner.plan
        batches = self._batches(epoch)
        first = tuner.step - epoch * len(batches)
        starts = np.cumsum([0, *map(len, batches)])  # places in the epoch's order
        places = np.concatenate([np.empty(0, np.intp), *batches[first:]])
        seeds = sample_seeds(self.seed, epoch, range(starts[first], starts[-1]))
        inputs = tuner.inputs(self.training_set.indices[places], seeds)
        for batch in batches[first:]:
            targets = self.training_set.targets(batch, tuner.source.device)
            factor = rate(tuner.step, plan.epochs * len(batches))
            loss = tuner.step_on(list(islice(inputs, len(batch))), targets, factor)
            require_finite_loss(loss, tuner.step, plan.learning_rate)
            self._losses.append(loss)
            advance()
            folder.save_if_due(tuner.step, self.state_dict)
        losses, self._losses = self._losses, []
        return float(np.mean(losses))

    def best_state(self) -> EncoderState:
        """Return the state of the network that is kept."""
        if self._best_weights is None:
            return self.tuner.source.extraction.state
        return self._tuned_state({name: t.numpy() for name, t in self._best_weights[0].items()})

    def best_head(self) -> Arrays | None:
        """Return what is trained behind the network that is kept; None: the start is kept."""
        if self._best_weights is None:
            return None
        return {name: t.numpy() for name, t in self._best_weights[1].items()}

    def state_dict(self) -> dict[str, Any]:
        """Return all that resuming needs."""
        return {
            "tuner": self.tuner.state_dict(),
            "held_out": self.held_out.state_dict(),
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_weights": self._best_weights,
            "losses": self._losses,
            "stopped": self.stopped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where `state` was made."""
        self.tuner.load_state_dict(state["tuner"])
        self.held_out.load_state_dict(state["held_out"])
        self.history, self._losses = list(state["history"]), list(state["losses"])
        self.best_epoch, self._best_weights = state["best_epoch"], state["best_weights"]
        self.stopped = state["stopped"]

    def _batches(self, epoch: int) -> list[Integers]:
        return self.training_set.batches(self.seed, epoch, self.tuner.plan.batch_size)

    def _rank(self, epoch: int) -> float:
        """Return the held-out SROCC of the averaged network; keep it if it is as good as any."""
        held_out = self.held_out
        with self.tuner.averaged() as network:
            arrays = to_arrays(network.model)
            head = self.tuner.head_arrays()
            scores = self.tuner.held_out_scores(held_out, self._tuned_state(arrays))
        if held_out.is_as_good(scores):
            self._best_weights = [
                {name: torch.from_numpy(array) for name, array in part.items()}
                for part in (arrays, head)
            ]
            self.best_epoch = epoch + 1
        if held_out.is_better(scores):
            held_out.keep(scores)
        return held_out.srocc(scores)

    def _tuned_state(self, arrays: Arrays) -> EncoderState:
        """Return the state of the network with other weights."""
        start = self.tuner.source.extraction.state
        card = {"fine_tuned": f"on {len(self.training_set)} rated images", "start": start.card}
        return replace(start, networks=[arrays], card=card, head={}, graphs={})


def start_record(held_out: HeldOut) -> dict[str, float]:
    """Return what the history says of the start."""
    return {"loss": np.nan, "validation_srocc": held_out.start_srocc, "seconds": 0.0}
