"""An epoch of fine-tuning."""

import math
import time
from itertools import islice

import numpy as np

from skiqa._training.schedule import epoch_order, rate, sample_seeds

_CHECKPOINT_SECONDS = 60.0


def batches(seed, epoch, n, size, partners=None):
    """Return the indices of each batch of an epoch; with `partners`, a second half of these."""
    if partners is not None:
        size = max(1, size // 2)
    order = epoch_order(seed, epoch, n)
    parts = [order[k : k + size] for k in range(0, n - n % min(size, n), min(size, n))]
    return parts if partners is None else [np.concatenate([p, partners[p]]) for p in parts]


def train_epoch(tuner, members, target, partners, *, epoch, seed, folder, history, advance):
    """Train for what is left of an epoch; return its mean loss.

    Parameters
    ----------
    tuner : FineTuner
        Changed in place; its step says how much of the epoch is behind it.
    members : intp ndarray of shape (n,)
        Which images are trained on.
    target : callable
        Returns the Target of some of the n images.
    partners : intp ndarray of shape (n,) or None
    epoch, seed : int
        Decide, with the place in the epoch, every random number.
    folder : TrainingFolder or None
        Where checkpoints go.
    history : dict
        What a checkpoint holds beside the tuner.
    advance : callable
        Called after each step.

    Raises
    ------
    ValueError
        If the loss is no longer finite.
    """
    plan, saved = tuner.plan, time.monotonic()
    parts = batches(seed, epoch, len(members), plan.batch_size, partners)
    starts = np.cumsum([0, *map(len, parts)])  # places in the epoch's order
    done = tuner.step - epoch * len(parts)
    chosen = np.concatenate([np.empty(0, np.intp), *parts[done:]])
    seeds = sample_seeds(seed, epoch, range(starts[done], starts[-1]))
    views = tuner.source.views(members[chosen], seeds)
    for k in range(done, len(parts)):
        factor = rate(tuner.step, plan.epochs * len(parts))
        batch = list(islice(views, len(parts[k])))
        loss = tuner.step_on(batch, target(parts[k]), factor)
        if not math.isfinite(loss):
            raise ValueError(
                f"The loss became {loss} in step {tuner.step}. Lower learning_rate (now "
                f"{plan.learning_rate:g})."
            )
        tuner.losses.append(loss)
        advance()
        if folder is not None and time.monotonic() - saved > _CHECKPOINT_SECONDS:
            folder.save(tuner.step, tuner.content() | history)
            saved = time.monotonic()
    losses, tuner.losses = tuner.losses, []
    return float(np.mean(losses))
