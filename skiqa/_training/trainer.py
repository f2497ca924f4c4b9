"""A network in training: a step on a batch, micro-batches, and what lets it go on later."""

import math

import numpy as np
import torch

from skiqa._network.batchnorm import statistics_held
from skiqa._network.live import normalise
from skiqa._network.pooling import stage_statistics
from skiqa._network.stages import seeded
from skiqa._network.state import build, load_arrays, to_arrays
from skiqa._training.distributed import (
    add_gradients,
    from_first,
    gather,
    most,
    synchronise_batchnorm,
    world_size,
)
from skiqa._training.momentum import MomentumEncoder
from skiqa.objectives._common import at_least_float32

_PHASES = 3  # independent streams of seeds: order, samples, initialisation


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
        if plan.view_size < least:
            raise ValueError(
                f"view_size={plan.view_size} is too small: {state.backbone!r} needs {least} pixels "
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
        if plan.trained_first_stages is not None:
            freeze_after(self.network, plan.trained_first_stages)
        self.start = None
        if plan.start_penalty:
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
            images, indices.to(device), authentic.to(device), seeds.to(device), plan.view_size
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
        return loss + self.plan.start_penalty * feature_drift(statistics, start)

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
        raise ValueError(f"trained_first_stages={n_stages}, but the network {what}.")
    network.requires_grad_(False)
    for layer in [*stem, *(layer for stage in stages[:n_stages] for layer in stage)]:
        layer.requires_grad_(True)


def _shapes(arrays):
    return {name: array.shape for name, array in arrays.items()}
