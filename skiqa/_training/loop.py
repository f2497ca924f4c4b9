"""The one training loop."""

import math
import time
import warnings

import numpy as np
import torch

from skiqa._inputs.prefetch import iter_decoded
from skiqa._training.distributed import from_first, share
from skiqa._training.schedule import cut_window, epoch_order, rate, sample_seeds

_CHECKPOINT_SECONDS = 60.0


def train(trainer, images, authentic, *, n_jobs, on_error, hooks, folder=None):
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
    hooks : object
        With ``epoch(epoch, n_steps)``, a context manager giving what is called after each step as
        ``on_batch(loss, trainer)``; after each epoch ``end(trainer)`` is asked whether to stop;
        ``resume(trainer)`` is called first if the run goes on from a checkpoint.
    folder : TrainingFolder or None
        Where checkpoints go; of several processes, the first one's alone.

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
    batch = min(plan.batch_size, n)
    per_epoch = max(1, n // batch)
    n_steps = plan.epochs * per_epoch
    size = trainer.objective.window_size(plan.view_size)
    losses, saved = [], time.monotonic()
    content = from_first(None if folder is None else folder.load())
    if content is not None:
        losses = trainer.restore(content)
        hooks.resume(trainer)
    while len(trainer.history) < plan.epochs:
        epoch = len(trainer.history)
        order = epoch_order(trainer.seed, plan.first_epoch + epoch, n)
        start, unreadable = time.monotonic(), 0
        done = trainer.step - epoch * per_epoch
        with hooks.epoch(epoch, per_epoch) as on_batch:
            mine = share(batch)
            todo = order[: per_epoch * batch].reshape(per_epoch, batch)[done:, mine].flatten()
            decoded = iter_decoded(
                images, n_jobs=n_jobs, prefetch=2 * len(mine), on_error=on_error, indices=todo
            )
            for k in range(done, per_epoch):
                positions = range(k * batch + mine.start, k * batch + mine.stop)
                seeds = sample_seeds(trainer.seed, plan.first_epoch + epoch, positions)
                members = [next(decoded) for _ in positions]
                good = [i for i, (_, image) in enumerate(members) if isinstance(image, np.ndarray)]
                unreadable += len(mine) - len(good)
                if len(good) < 2:
                    raise ValueError(
                        f"Only {len(good)} of {len(mine)} images of a batch can be read; contrast "
                        "needs at least 2. Remove the unreadable files from X."
                    )
                windows = np.stack([cut_window(members[i][1], size, seeds[i]) for i in good])
                indices = torch.tensor([members[i][0] for i in good])
                factor = 1.0 if plan.constant else rate(trainer.step, n_steps)
                marks = torch.from_numpy(authentic[indices.numpy()])
                loss = trainer.step_on(windows, indices, marks, seeds[good], factor)
                if not math.isfinite(loss):
                    raise ValueError(
                        f"The loss became {loss} in step {trainer.step}. Lower learning_rate "
                        f"(now {plan.learning_rate:g})."
                    )
                losses.append(loss)
                on_batch(loss, trainer)
                if folder is not None and time.monotonic() - saved > _CHECKPOINT_SECONDS:
                    folder.save(trainer.step, trainer.content(losses))
                    saved = time.monotonic()
        if unreadable:
            warnings.warn(
                f"Passed over {unreadable} images that cannot be read in epoch {epoch + 1}.",
                UserWarning,
                stacklevel=2,
            )
        seconds = time.monotonic() - start
        trainer.history.append(
            {"loss": float(np.mean(losses)), "seconds": seconds,
             "images_per_second": (per_epoch - done) * batch / max(seconds, 1e-9)}
        )  # fmt: skip
        losses = []
        trainer.check_finite()
        if folder is not None:
            folder.save(trainer.step, trainer.content(losses))
            saved = time.monotonic()
        if from_first(bool(hooks.end(trainer))):
            break
