"""The one training loop: samples, optimiser, schedule, autocast, resume, history."""

import math
import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch

from skiqa._backbones import build, load_arrays, normalise, seeded, to_arrays
from skiqa._images import iter_decoded, pad_to
from skiqa._pooling import stage_statistics

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


def feature_drift(maps, start_maps):
    """Return how far the stage features of a batch have moved from those of the start.

    Parameters
    ----------
    maps, start_maps : list of tensors (n, c_s, h_s, w_s)
        The maps of every stage s, of the network in training and of the one it started from.

    Returns
    -------
    tensor, scalar float32
        mean_k m_k / (m_k + v_k), m_k = sum_i (f_ik - g_ik)^2, v_k = sum_i (g_ik - mean_i g_ik)^2,
        i = views, k = features, with f and g the stage statistics of both: 0 at the start, 1/2
        for a feature that moved by as much as it varies, never above 1, so that a feature which
        hardly varies cannot rule the rest. Features equal in the whole batch are left out.
    """
    f, g = stage_statistics(maps), stage_statistics(start_maps)
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
            n_features = self.network(torch.zeros(1, 3, side, side)).shape[1]
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
        self.step, self.history = 0, []

    def step_on(self, windows, indices, authentic, seeds, factor):
        """Take one step on uint8 windows (n, s, s, 3); return the loss."""
        device, plan = self.device, self.plan
        images = torch.from_numpy(windows).to(device).permute(0, 3, 1, 2).float().div_(255.0)
        views, labels = self.objective.views(
            images, indices.to(device), authentic.to(device), seeds.to(device), plan.crop_size
        )
        views = normalise(views, self.network.mean, self.network.std)
        views = views.contiguous(memory_format=torch.channels_last)
        for group in self.optimizer.param_groups:
            group["lr"] = plan.learning_rate * group["factor"] * factor
        self.optimizer.zero_grad(set_to_none=True)
        autocast = torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype is not None)
        with seeded(int(seeds[0])), autocast:  # stochastic depth draws from torch's generator
            loss = self.loss(views, labels)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        return float(loss.detach())

    def loss(self, views, labels):
        """Return the objective's loss, with the term that holds features to the start's."""
        if self.start is None:
            return self.objective.loss(self.network, self.head, views, labels)
        seen = []

        def network(x):  # as self.network, but its stages are noted
            maps = list(self.network.maps(x))
            with torch.no_grad():
                seen.append((maps, list(self.start.maps(x))))
            return maps[-1]

        loss = self.objective.loss(network, self.head, views, labels)
        drift = sum(feature_drift(*pair) for pair in seen) / len(seen)
        return loss + self.plan.distillation * drift

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
        self.step, self.history = content["step"], list(content["history"])
        return list(content["losses"])

    def momentum(self):
        """Return the optimiser's momentum as a list of arrays, for `partial_fit`."""
        slots = [self.optimizer.state[p] for g in self.optimizer.param_groups for p in g["params"]]
        buffers = [slot.get("momentum_buffer") for slot in slots]
        return [None if b is None else b.detach().cpu().numpy().copy() for b in buffers]

    def set_momentum(self, arrays):
        """Give the optimiser the momentum of an earlier run."""
        parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
        for p, array in zip(parameters, arrays, strict=True):
            if array is not None:
                buffer = torch.from_numpy(np.array(array)).to(self.device)
                self.optimizer.state[p]["momentum_buffer"] = buffer

    def arrays(self):
        """Return (network arrays, head arrays)."""
        return to_arrays(self.network.model), to_arrays(self.head)


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
        ``on_batch(loss, trainer)``; after each epoch ``end(trainer)`` is asked whether to stop.
    folder : TrainingFolder or None
        Where checkpoints go.

    Notes
    -----
    Same seed, machine and thread count: same weights, whatever `n_jobs`, killed and resumed or
    not; the position in the run decides every random number.
    """
    plan, n = trainer.plan, len(images)
    batch = min(plan.batch_size, n)
    per_epoch = max(1, n // batch)
    n_steps = plan.epochs * per_epoch
    size = trainer.objective.window_size(plan.crop_size)
    losses, saved = [], time.monotonic()
    if folder is not None and (content := folder.load()) is not None:
        losses = trainer.restore(content)
    while len(trainer.history) < plan.epochs:
        epoch = len(trainer.history)
        order = epoch_order(trainer.seed, plan.first_epoch + epoch, n)
        start, unreadable = time.monotonic(), 0
        done = trainer.step - epoch * per_epoch
        with hooks.epoch(epoch, per_epoch) as on_batch:
            todo = order[done * batch : per_epoch * batch]
            decoded = iter_decoded(
                images, n_jobs=n_jobs, prefetch=2 * batch, on_error=on_error, indices=todo
            )
            for k in range(done, per_epoch):
                positions = range(k * batch, (k + 1) * batch)
                seeds = sample_seeds(trainer.seed, plan.first_epoch + epoch, positions)
                members = [next(decoded) for _ in positions]
                good = [i for i, (_, image) in enumerate(members) if isinstance(image, np.ndarray)]
                unreadable += batch - len(good)
                if len(good) < 2:
                    raise ValueError(
                        f"Only {len(good)} of {batch} images of a batch can be read; contrast "
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
        if hooks.end(trainer):
            break
