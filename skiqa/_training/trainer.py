"""The one training loop: samples, optimiser, schedule, autocast, resume, history."""

import math
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from skiqa._network.stages import build, load_arrays, normalise, seeded, to_arrays
from skiqa._training.distributed import (
    add_gradients,
    from_first,
    gather,
    most,
    share,
    synchronise_batchnorm,
    world_size,
)
from skiqa._inputs.images import iter_decoded, pad_to
from skiqa._network.pooling import stage_statistics
from skiqa.objectives._common import at_least_float32
from skiqa._training.momentum import MomentumEncoder

_CHECKPOINT_SECONDS = 60.0
_PHASES = 3  # independent streams of seeds: order, samples, initialisation


@dataclass(frozen=True)
class Plan:
    """The numbers of a training run.

    Parameters
    ----------
    epochs : int
        Passes over the images.
    batch_size : int
        Images a step.
    crop_size : int
        Side of a view, in pixels.
    learning_rate : float
        Peak rate, for `batch_size` images a step.
    weight_decay : float
        L2 penalty on matrices and kernels; never on biases or BatchNorm.
    train_statistics : bool
        Whether BatchNorm of the network normalises by the batch (from scratch) or by the
        statistics of the weights it starts from.
    constant : bool, default=False
        A constant rate, instead of linear warm-up over 10 % and cosine to zero.
    momentum : float, default=0.9
        Of SGD.
    first_epoch : int, default=0
        Epochs already behind the network: they count for the seeds.
    head_factor : float, default=1.0
        The projector's rate over the network's: a new projector behind trained weights must learn
        fast, or the network is bent to its random numbers instead.
    trained_stages : int or None, default=None
        Only the first so many stages change; None = all.
    distillation : float, default=0.0
        Weight of the term that holds the features to those of the weights at the start.
    micro_batch_size : int or None, default=None
        Views that run through the network at a time; None = all of a step's.
    max_grad_norm : float or None, default=None
        Longer gradients, over all parameters, are shortened to this.
    """

    epochs: int
    batch_size: int
    crop_size: int
    learning_rate: float
    weight_decay: float
    train_statistics: bool
    constant: bool = False
    momentum: float = 0.9
    first_epoch: int = 0
    head_factor: float = 1.0
    trained_stages: int | None = None
    distillation: float = 0.0
    micro_batch_size: int | None = None
    max_grad_norm: float | None = None


def rate(step, n_steps):
    """Return the schedule's factor at a step: linear warm-up over 10 %, then cosine to zero."""
    warmup = max(1, n_steps // 10)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, n_steps - warmup)))


def sample_seeds(seed, epoch, positions):
    """Return one int64 seed for each (epoch, position), whatever batch it falls in.

    Parameters
    ----------
    seed : int
        The run's seed.
    epoch : int
    positions : sequence of int
        Places in the epoch's order.

    Returns
    -------
    tensor of shape (n,), int64
    """
    draws = [
        np.random.SeedSequence([seed, 1, epoch, int(p)]).generate_state(1, np.uint64)[0]
        for p in positions
    ]
    return torch.from_numpy(np.array(draws, dtype=np.uint64).view(np.int64).copy())


def epoch_order(seed, epoch, n):
    """Return the order of n images in an epoch: a permutation that depends on nothing else."""
    return np.random.default_rng([seed, 0, epoch]).permutation(n)


def cut_window(image, size, seed):
    """Cut a random size x size window from a uint8 image, reflect-padded where it is smaller."""
    image = pad_to(image, size)
    rng = np.random.default_rng(int(seed) & (2**63 - 1))
    top = int(rng.integers(image.shape[0] - size + 1))
    left = int(rng.integers(image.shape[1] - size + 1))
    return image[top : top + size, left : left + size]


def feature_drift(f, g):
    """Return how far the stage features of a batch have moved from those of the start.

    Parameters
    ----------
    f, g : tensors of shape (n, k)
        The stage statistics of views, by the network in training and by the one it started from.

    Returns
    -------
    tensor, scalar float32
        mean_k m_k / (m_k + v_k), m_k = sum_i (f_ik - g_ik)^2, v_k = sum_i (g_ik - mean_i g_ik)^2,
        i = views, k = features: 0 at the start, 1/2 for a feature that moved by as much as it
        varies, never above 1, so that a feature which hardly varies cannot rule the rest.
        Features equal in the whole batch are left out.
    """
    moved, spread = (f - g).square().sum(dim=0), (g - g.mean(dim=0)).square().sum(dim=0)
    varies = spread > 1e-6 * g.square().sum(dim=0)
    share = moved / (moved + torch.where(varies, spread, 1.0))
    return torch.where(varies, share, 0.0).sum() / varies.sum()


class Trainer:
    """A network, an objective's head and an optimiser, and what is needed to go on later.

    Parameters
    ----------
    state : EncoderState
        Where training starts.
    objective : estimator
        Holds parameters only; says what a view, a label and the loss are.
    plan : Plan
        The numbers.
    device : torch.device
        Where it runs.
    dtype : torch.dtype or None
        Of autocast; None = float32.
    seed : int
        Everything random follows from it.
    """

    def __init__(self, state, objective, plan, device, dtype, seed):
        self.objective, self.plan, self.device, self.dtype = objective, plan, device, dtype
        self.seed = seed
        self.network = build(state)
        with torch.no_grad():
            self.network.eval()
            side = self.network.stride
            n_features = objective.pool(self.network(torch.zeros(1, 3, side, side))).shape[1]
        least = side * getattr(objective, "grid", 1)
        if plan.crop_size < least:
            raise ValueError(
                f"crop_size={plan.crop_size} is too small: {state.backbone!r} needs {least} pixels "
                f"for views of {least // side} x {least // side} patches."
            )
        with seeded(seed):
            self.head = objective.head(n_features)
        # another objective's projector, or one of another width, starts anew
        if _shapes(state.head) == _shapes(to_arrays(self.head)):
            load_arrays(self.head, state.head, "the projector")
        self.network.to(device, memory_format=torch.channels_last)
        self.head.to(device)
        self.network.train(plan.train_statistics)
        self.head.train()
        synchronise_batchnorm(self.network)  # the projector gets the rows of all processes
        if plan.trained_stages is not None:
            freeze_after(self.network, plan.trained_stages)
        self.start = None
        if plan.distillation:
            self.start = build(state).eval().requires_grad_(False)
            self.start.to(device, memory_format=torch.channels_last)
        groups = [
            {
                "params": [
                    p for p in part.parameters() if p.requires_grad and (p.ndim > 1) == decays
                ],
                "weight_decay": plan.weight_decay if decays else 0.0,
                "factor": factor,
            }
            for part, factor in ((self.network.model, 1.0), (self.head, plan.head_factor))
            for decays in (True, False)
        ]
        self.optimizer = torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum)
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.memory = None
        if hasattr(objective, "queue_size"):
            self.memory = MomentumEncoder(
                self.network, self.head, objective.queue_size, objective.momentum
            )
        self.step, self.history = 0, []

    def step_on(self, windows, indices, authentic, seeds, factor):
        """Take one step on uint8 windows (n, s, s, 3); return the loss."""
        device, plan = self.device, self.plan
        images = torch.from_numpy(windows).to(device).permute(0, 3, 1, 2).float().div_(255.0)
        views, labels = self.objective.views(
            images, indices.to(device), authentic.to(device), seeds.to(device), plan.crop_size
        )
        for group in self.optimizer.param_groups:
            group["lr"] = plan.learning_rate * group["factor"] * factor
        self.optimizer.zero_grad(set_to_none=True)
        loss, labels, keys = self.gradients(views, labels, int(seeds[0]))
        if plan.max_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, plan.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.memory is not None:
            labels = labels.repeat(len(keys) // len(labels))
            self.memory.update(self.network, self.head, keys, labels)
        self.step += 1
        return float(loss)

    def gradients(self, views, labels, seed):
        """Compute the loss of a batch and its gradients at all parameters.

        With `plan.micro_batch_size` the network runs twice in small parts: for its outputs,
        without a graph; then, with the loss's slope at these outputs known, for their gradients
        (Gao et al., "Scaling deep contrastive learning batch size under memory limited setup",
        RepL4NLP 2021). The projector and the loss see the whole batch at once, also where several
        processes share it.

        Parameters
        ----------
        views : tensor of shape (m, 3, h, w), or a pair of them
            What the objective made; with a momentum encoder (queries, keys). Of several
            processes, each has those of its own photos.
        labels : tensor of shape (n, ...)
        seed : int
            Decides dropout and stochastic depth.

        Returns
        -------
        loss : tensor, scalar
        labels : tensor of shape (n, ...)
            Of the photos of all processes.
        keys : tensor of shape (m_keys, d) or None
            What the momentum encoder made of the second part, of all processes.
        """
        n, keys = len(labels), None
        labels = gather(labels)
        if self.memory is not None:
            views, key_views = views
            with torch.no_grad(), self._autocast():
                parts = [
                    self.memory.head(self.objective.pool(self.memory.network(self._input(part))))
                    for part in self._parts(key_views)
                ]
            keys = gather(at_least_float32(torch.cat(parts)), len(key_views) // n)
        parts, start = self._parts(views), None
        if self.start is not None:
            with torch.no_grad(), self._autocast():
                kept = [stage_statistics(self.start.maps(self._input(x))) for x in parts]
            start = torch.cat(kept)
        if len(parts) == 1:
            outputs = self._outputs(views, seed)
        else:
            with torch.no_grad(), statistics_held(self.network):
                found = zip(*(self._outputs(x, seed ^ k) for k, x in enumerate(parts)), strict=True)
                found = list(found)
            outputs = [torch.cat(x).requires_grad_() for x in found]
        n_views = len(views) // n
        with seeded(~from_first(seed)), self._autocast():  # one loss for all processes
            rows, *statistics = (gather(output, n_views) for output in outputs)
            start = None if start is None else gather(start, n_views)
            loss = self._loss(rows, *statistics, labels=labels, keys=keys, start=start)
        self.scaler.scale(loss).backward()
        if len(parts) > 1:
            slopes = [x.grad.split(list(map(len, y))) for x, y in zip(outputs, found, strict=True)]
            for k, (x, *slope) in enumerate(zip(parts, *slopes, strict=True)):
                torch.autograd.backward(self._outputs(x, seed ^ k), slope)
        add_gradients(self.network.parameters())
        add_gradients(self.head.parameters(), 1 / world_size())  # each process has all of it
        return loss.detach(), labels, keys

    def _parts(self, views):
        """Split views into micro-batches of sizes as equal as can be."""
        size = self.plan.micro_batch_size or len(views)
        # BatchNorm waits for the other processes: all must have as many parts
        return views.tensor_split(most(math.ceil(len(views) / size), self.device))

    def _autocast(self):
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def _input(self, views):
        views = normalise(views, self.network.mean, self.network.std)
        return views.contiguous(memory_format=torch.channels_last)

    def _outputs(self, views, seed):
        """Return what the loss needs of views: pooled rows and, to hold them, stage statistics."""
        with seeded(seed), self._autocast():  # stochastic depth draws from torch's generator
            *maps, last = self.network.maps(self._input(views))
            rows = self.objective.pool(last)
            return [rows] if self.start is None else [rows, stage_statistics([*maps, last])]

    def _loss(self, rows, statistics=None, *, labels, keys, start):
        """Return the objective's loss, with the term that holds features to the start's."""
        projections = self.head(rows)
        if self.memory is None:
            loss = self.objective.loss(projections, labels)
        else:
            loss = self.objective.loss(projections, labels, keys, *self.memory.queue(keys))
        if start is None:
            return loss
        return loss + self.plan.distillation * feature_drift(statistics, start)

    def check_finite(self):
        """Raise if a weight is no longer a number: a loss can hide it, features would not."""
        for name, tensor in self.network.model.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise ValueError(
                    f"The weights {name!r} are no longer finite after step {self.step}. Lower "
                    f"learning_rate (now {self.plan.learning_rate:g})."
                )

    def content(self, losses):
        """Return all that resuming needs."""
        return {
            "network": self.network.model.state_dict(),
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "memory": None if self.memory is None else self.memory.content(),
            "step": self.step,
            "history": self.history,
            "losses": losses,
        }

    def restore(self, content):
        """Take up where `content` was made; return the losses of its unfinished epoch."""
        self.network.model.load_state_dict(content["network"])
        self.head.load_state_dict(content["head"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        if self.memory is not None:
            self.memory.restore(content["memory"])
        self.step, self.history = content["step"], list(content["history"])
        return list(content["losses"])

    def continuation(self):
        """Return what `partial_fit` goes on with, in numpy: momentum, momentum encoder, queue."""
        slots = [self.optimizer.state[p] for g in self.optimizer.param_groups for p in g["params"]]
        buffers = [slot.get("momentum_buffer") for slot in slots]
        kept = {"momentum": [None if b is None else _array(b) for b in buffers]}
        if self.memory is not None:
            kept["memory"] = {name: _array(x) for name, x in self.memory.content().items()}
        return kept

    def go_on(self, kept):
        """Take up the `continuation` of an earlier run of the same objective."""
        parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
        momentum = kept.get("momentum", [])
        if len(momentum) != len(parameters):  # another part of the network is trained now
            momentum = [None] * len(parameters)
        for p, array in zip(parameters, momentum, strict=True):
            if array is not None:
                buffer = torch.from_numpy(np.array(array)).to(self.device)
                self.optimizer.state[p]["momentum_buffer"] = buffer
        if self.memory is not None and "memory" in kept:
            self.memory.restore(
                {name: torch.from_numpy(np.array(x)) for name, x in kept["memory"].items()}
            )

    def arrays(self):
        """Return (network arrays, head arrays)."""
        return to_arrays(self.network.model), to_arrays(self.head)


def _array(tensor):
    return tensor.detach().cpu().numpy().copy()


@contextmanager
def statistics_held(network):
    """Let BatchNorm normalise as it does, but leave its running statistics where they are."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def freeze_after(network, n_stages):
    """Let only the stem and the first stages of a network change.

    Raises
    ------
    ValueError
        If it has no such number of stages.
    """
    stem, stages = network.split()
    if stages is None or not 1 <= n_stages <= len(stages):
        what = "is no chain of stages" if stages is None else f"has {len(stages)} stages"
        raise ValueError(f"trained_stages={n_stages}, but the network {what}.")
    network.requires_grad_(False)
    for layer in [*stem, *(layer for stage in stages[:n_stages] for layer in stage)]:
        layer.requires_grad_(True)


def _shapes(arrays):
    return {name: array.shape for name, array in arrays.items()}


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
    size = trainer.objective.window_size(plan.crop_size)
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
