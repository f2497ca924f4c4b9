"""The one training loop."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from skiqa._inputs.images import ImageList
from skiqa._inputs.prefetch import iter_decoded
from skiqa._training.checkpoints import NoFolder
from skiqa._training.distributed import from_first, own_part
from skiqa._training.hooks import Hooks
from skiqa._training.momentum import MomentumEncoder
from skiqa._training.schedule import (
    BEFORE_TRAINING,
    cut_window,
    epoch_order,
    rate,
    sample_seeds,
)
from skiqa._training.trainer import Trainer
from skiqa._types import Pixels


def train(
    trainer: Trainer,
    images: ImageList,
    authentic: npt.NDArray[np.int64],
    *,
    n_jobs: int | None,
    on_error: str,
    hooks: Hooks,
    folder: NoFolder,
    max_pixels: int | None = None,
) -> None:
    """Run the training loop.

    Parameters
    ----------
    trainer : Trainer
        Changed in place. Its plan says how long.
    images : ImageList
        The photos.
    authentic : int ndarray of shape (n,)
        1 degraded by life, 0 pristine, -1 unknown.
    n_jobs : int or None
        Decoding threads.
    on_error : {"raise", "nan"}
        "nan": unreadable photos are passed over, with a warning once an epoch.
    hooks : Hooks
        What is told of each step and epoch.
    folder : NoFolder
        Where checkpoints go, a TrainingFolder for instance; of several processes, the first one's
        alone.
    max_pixels : int or None, default=None
        Viewing size: windows are cut from photos that were brought to it.

    Notes
    -----
    Where a process group is initialised, each process takes its part of every batch, and all must
    be given the same images; they end with the same weights.

    Same seed, machine and thread count: same weights, whatever `n_jobs`, killed and resumed or
    not; the position in the run decides every random number.
    """
    plan, n = trainer.plan, len(images)
    if (first := from_first(n)) != n:
        raise ValueError(
            f"This process was given {n} images, the first one {first}: give all processes "
            "the same X. Each takes its part of it by itself."
        )
    size = min(plan.batch_size, n)
    n_batches = plan.n_batches(n)
    batches = partial(
        _batches,
        trainer,
        images,
        authentic,
        n_jobs=n_jobs,
        on_error=on_error,
        max_pixels=max_pixels,
    )
    if (checkpoint := from_first(folder.load())) is not None:
        trainer.load_state_dict(checkpoint)
        hooks.resumed(trainer)
    if trainer.memory is not None:
        _fill_queue(trainer, trainer.memory, batches)
    while len(trainer.history) < plan.epochs:
        epoch, began = len(trainer.history), time.monotonic()
        first_batch, unreadable = trainer.step - epoch * n_batches, 0
        hooks.epoch_begins(n_batches)
        for batch in batches(epoch, first_batch):
            unreadable += batch.n_unreadable
            factor = 1.0 if plan.constant else rate(trainer.step, plan.epochs * n_batches)
            hooks.step_ended(_step(trainer, batch, factor))
            folder.save_if_due(trainer.step, trainer.state_dict)
        if unreadable:
            warnings.warn(
                f"Passed over {unreadable} images that cannot be read in epoch {epoch + 1}.",
                UserWarning,
                stacklevel=2,
            )
        seconds = time.monotonic() - began
        speed = (n_batches - first_batch) * size / max(seconds, 1e-9)
        mean = float(np.mean(trainer.losses))
        trainer.history.append({"loss": mean, "seconds": seconds, "images_per_second": speed})
        trainer.losses = []
        trainer.require_finite_weights()
        folder.save(trainer.step, trainer.state_dict())
        if from_first(hooks.epoch_ended(trainer)):
            break


class _Batch(NamedTuple):
    """What this process has of a batch; seeds decide what is random in its views."""

    windows: Pixels | list[Pixels]  # (m, s, s, 3); a list where shapes differ
    indices: torch.Tensor  # (m,) int64
    authentic: torch.Tensor  # (m,) int64
    seeds: torch.Tensor  # (m,) int64
    n_unreadable: int


def _fill_queue(
    trainer: Trainer,
    memory: MomentumEncoder,
    batches: Callable[[int, int], Iterator[_Batch]],
) -> None:
    """Fill an empty queue before the first step, by at most one pass over the photos.

    Of a training of epochs, it holds no more later on either: so the loss does not rise because
    keys come in, and a photo is not repelled by itself as it was an epoch ago.
    """
    if memory.keys is None:
        for batch in batches(BEFORE_TRAINING, 0):
            trainer.fill_queue(batch.windows, batch.indices, batch.authentic, batch.seeds)
            if memory.is_full:
                break
    if memory.keys is not None and not trainer.plan.constant:
        memory.queue_size = len(memory.keys)


def _step(trainer: Trainer, batch: _Batch, factor: float) -> float:
    """Train on a batch at a factor of the peak rate; return the loss."""
    views_of = (batch.windows, batch.indices, batch.authentic, batch.seeds)
    loss = trainer.step_on(*views_of, factor)
    require_finite_loss(loss, trainer.step, trainer.plan.learning_rate)
    trainer.losses.append(loss)
    return loss


def _batches(
    trainer: Trainer,
    images: ImageList,
    authentic: npt.NDArray[np.int64],
    epoch: int,
    first: int,
    *,
    n_jobs: int | None,
    on_error: str,
    max_pixels: int | None,
) -> Iterator[_Batch]:
    """Yield the batches of an epoch from the `first` one on, decoded ahead.

    Raises
    ------
    ValueError
        If fewer than two images of a batch can be read.
    """
    plan, n = trainer.plan, len(images)
    epoch += plan.first_epoch
    size, side = min(plan.batch_size, n), trainer.objective.window_size(plan.view_size)
    n_batches, own = plan.n_batches(n), own_part(size)
    order = epoch_order(trainer.seed, epoch, n)
    indices = order[: n_batches * size].reshape(n_batches, size)[first:, own].flatten()
    decoded = iter_decoded(
        images,
        n_jobs=n_jobs,
        prefetch=2 * len(own),
        on_error=on_error,
        indices=indices,
        max_pixels=max_pixels,
    )
    for k in range(first, n_batches):
        positions = range(k * size + own.start, k * size + own.stop)
        seeds = sample_seeds(trainer.seed, epoch, positions)
        read = [
            (position, index, image)
            for position, (index, image) in enumerate(next(decoded) for _ in positions)
            if isinstance(image, np.ndarray)
        ]
        if len(read) < 2:
            raise ValueError(
                f"Only {len(read)} of {len(own)} images of a batch can be read; contrast "
                "needs at least 2. Remove the unreadable files from X."
            )
        chosen = seeds[[position for position, _, _ in read]]
        found = [image for _, _, image in read]
        fill = trainer.objective.fills_windows
        windows = [
            cut_window(image, side, seed, fill=fill)
            for image, seed in zip(found, chosen, strict=True)
        ]
        stacked = np.stack(windows) if len({x.shape for x in windows}) == 1 else windows
        members = np.array([index for _, index, _ in read])
        known = (torch.from_numpy(members), torch.from_numpy(authentic[members]))
        yield _Batch(stacked, *known, chosen, len(own) - len(read))


def require_finite_loss(loss: float, step: int, learning_rate: float) -> None:
    """Raise ValueError if a loss is no longer a number."""
    if not math.isfinite(loss):
        raise ValueError(
            f"The loss became {loss} in step {step}. Lower learning_rate (now {learning_rate:g})."
        )
