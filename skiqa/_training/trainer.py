"""A network in training: a step on a batch, micro-batches, and what lets it go on later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from skiqa._network.batchnorm import statistics_held
from skiqa._network.build import build, load_arrays, to_arrays
from skiqa._network.live import normalise, to_values
from skiqa._network.pooling import stage_statistics
from skiqa._network.stages import Stages, seeded
from skiqa._network.state import EncoderState
from skiqa._training.distributed import (
    from_first,
    gather,
    maximum_over_processes,
    sum_gradients,
    synchronise_batchnorm,
    world_size,
)
from skiqa._training.drift import feature_drift
from skiqa._training.momentum import MomentumEncoder, follow
from skiqa._training.schedule import Plan
from skiqa._training.scratch import reestimate_statistics
from skiqa._types import Arrays, Pixels
from skiqa.objectives._common import at_least_float32

if TYPE_CHECKING:
    from skiqa.objectives import Objective
    from skiqa.objectives._base import Views


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

    def __init__(
        self,
        state: EncoderState,
        objective: Objective,
        plan: Plan,
        device: torch.device,
        dtype: torch.dtype | None,
        seed: int,
    ) -> None:
        self.objective, self.plan, self.device, self.dtype = objective, plan, device, dtype
        self.seed = seed
        self.network = build(state)
        with torch.no_grad():
            self.network.eval()
            side = self.network.stride
            n_features = objective.pool(self.network(torch.zeros(1, 3, side, side))).shape[1]
        least = side * objective.grid
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
        self.network.to(device).to(memory_format=torch.channels_last)
        self.head.to(device)
        self.network.train(plan.train_statistics)
        self.head.train()
        synchronise_batchnorm(self.network)  # the projector gets the rows of all processes
        if plan.trained_first_stages is not None:
            freeze_after(self.network, plan.trained_first_stages)
        self.start: Stages | None = None
        if plan.start_penalty:
            self.start = build(state).eval().requires_grad_(False)
            self.start.to(device).to(memory_format=torch.channels_last)
        groups = parameter_groups(self.network.model, self.head, plan)
        self.optimizer = torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum)
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.memory: MomentumEncoder | None = None
        if objective.has_queue:
            self.memory = MomentumEncoder(
                self.network, self.head, objective.queue_size, objective.momentum
            )
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.losses: list[float] = []

    def step_on(
        self,
        windows: Pixels | Sequence[Pixels],
        indices: torch.Tensor,
        authentic: torch.Tensor,
        seeds: torch.Tensor,
        factor: float,
    ) -> float:
        """Take one step on uint8 windows (n, s, s, 3), or a list of (h, w, 3); return the loss."""
        plan = self.plan
        views, labels = self.views(windows, indices, authentic, seeds)
        for group in self.optimizer.param_groups:
            group["lr"] = plan.learning_rate * group["factor"] * factor
        self.optimizer.zero_grad(set_to_none=True)
        loss, labels, keys = self.gradients(views, labels, int(seeds[0]))
        if plan.max_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._parameters(), plan.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.memory is not None and keys is not None:
            self.memory.update(self.network, self.head, keys, labels)
        self.step += 1
        return float(loss)

    def fill_queue(
        self,
        windows: Pixels | Sequence[Pixels],
        indices: torch.Tensor,
        authentic: torch.Tensor,
        seeds: torch.Tensor,
    ) -> None:
        """Put the keys of a batch into the queue, without a step."""
        (queries, keys), labels = self.views(windows, indices, authentic, seeds)
        memory, n = self.memory, len(labels)
        assert memory is not None, "only objectives with a queue make keys"
        if memory.keys is None and self.plan.train_statistics:  # random weights have none yet
            with self._autocast():
                reestimate_statistics(self.network, map(self._input, self._parts(queries)))
            follow(memory.network, self.network, 0.0)
        memory.put(gather(self._keys(keys), len(keys) // n), gather(labels))

    def views(
        self,
        windows: Pixels | Sequence[Pixels],
        indices: torch.Tensor,
        authentic: torch.Tensor,
        seeds: torch.Tensor,
    ) -> tuple[Views, torch.Tensor]:
        """Return what the objective makes of windows: views and labels."""
        device = self.device
        images: Any
        if isinstance(windows, np.ndarray):
            images = to_values(windows, device)
        else:
            images = [to_values(window[None], device)[0] for window in windows]
        indices, authentic, seeds = (x.to(device) for x in (indices, authentic, seeds))
        return self.objective.views(images, indices, authentic, seeds, self.plan.view_size)

    def gradients(
        self, views: Views, labels: torch.Tensor, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
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
        if isinstance(views, tuple):
            views, key_views = views
            keys = gather(self._keys(key_views), len(key_views) // n)
        parts = self._parts(views)
        start = self._start_statistics(parts)
        if len(parts) == 1:
            outputs = self._outputs(views, seed)
        else:
            with torch.no_grad(), statistics_held(self.network):
                found = [self._outputs(x, seed ^ k) for k, x in enumerate(parts)]
            outputs = [torch.cat(x).requires_grad_() for x in zip(*found, strict=True)]
        n_views = len(views) // n
        with seeded(~from_first(seed)), self._autocast():  # one loss for all processes
            rows, *statistics = (gather(output, n_views) for output in outputs)
            loss = self._loss(rows, labels, keys)
            if start is not None:
                drift = feature_drift(statistics[0], gather(start, n_views))
                loss = loss + self.plan.start_penalty * drift
        self.scaler.scale(loss).backward()
        if len(parts) > 1:
            lengths = [[len(x) for x in column] for column in zip(*found, strict=True)]
            slopes = [_slope(x).split(n) for x, n in zip(outputs, lengths, strict=True)]
            for k, (x, *slope) in enumerate(zip(parts, *slopes, strict=True)):
                torch.autograd.backward(self._outputs(x, seed ^ k), slope)
        sum_gradients(self.network.parameters())
        sum_gradients(self.head.parameters(), 1 / world_size())  # each process has all of it
        return loss.detach(), labels, keys

    @torch.no_grad()
    def _keys(self, views: torch.Tensor) -> torch.Tensor:
        """Return the momentum encoder's projections of views, (m, d)."""
        memory, pool = self.memory, self.objective.pool
        assert memory is not None, "only objectives with a queue make keys"
        with self._autocast():
            rows = [pool(memory.network(self._input(part))) for part in self._parts(views)]
            return at_least_float32(torch.cat([memory.head(part) for part in rows]))

    @torch.no_grad()
    def _start_statistics(self, parts: Sequence[torch.Tensor]) -> torch.Tensor | None:
        """Return the stage features of views by the starting weights, if they hold the others."""
        if self.start is None:
            return None
        with self._autocast():
            return torch.cat([stage_statistics(self.start.maps(self._input(x))) for x in parts])

    def _parts(self, views: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Split views into micro-batches of sizes as equal as can be."""
        size = self.plan.micro_batch_size or len(views)
        # BatchNorm waits for the other processes: all must have as many parts
        n_parts = maximum_over_processes(math.ceil(len(views) / size), self.device)
        return views.tensor_split(n_parts)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def _input(self, views: torch.Tensor) -> torch.Tensor:
        views = normalise(views, self.network.mean, self.network.std)
        return views.contiguous(memory_format=torch.channels_last)

    def _outputs(self, views: torch.Tensor, seed: int) -> list[torch.Tensor]:
        """Return what the loss needs of views: pooled rows and, to hold them, stage statistics."""
        with seeded(seed), self._autocast():  # stochastic depth draws from torch's generator
            *maps, last = self.network.maps(self._input(views))
            rows = self.objective.pool(last)
            return [rows] if self.start is None else [rows, stage_statistics([*maps, last])]

    def _loss(
        self, rows: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the objective's loss of pooled rows, with the queue if there is one."""
        projections = self.head(rows)
        if self.memory is None or keys is None:
            return self.objective.loss(projections, labels)
        return self.objective.loss(projections, labels, keys, *self.memory.queue(keys))

    def require_finite_weights(self) -> None:
        """Raise if a weight is no longer a number: a loss can hide it, features would not."""
        for name, tensor in self.network.model.state_dict().items():
            if not torch.isfinite(tensor).all():
                raise ValueError(
                    f"The weights {name!r} are no longer finite after step {self.step}. Lower "
                    f"learning_rate (now {self.plan.learning_rate:g})."
                )

    def state_dict(self) -> dict[str, Any]:
        """Return all that resuming needs."""
        return {
            "network": self.network.model.state_dict(),
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "memory": None if self.memory is None else self.memory.state_dict(),
            "step": self.step,
            "history": self.history,
            "losses": self.losses,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was made."""
        self.network.model.load_state_dict(state["network"])
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.memory is not None:
            self.memory.load_state_dict(state["memory"])
        self.step, self.history = state["step"], list(state["history"])
        self.losses = list(state["losses"])

    def momentum_arrays(self) -> dict[str, Any]:
        """Return what `partial_fit` goes on with, in numpy: momentum, momentum encoder, queue."""
        slots = [self.optimizer.state[p] for p in self._parameters()]
        buffers = [slot.get("momentum_buffer") for slot in slots]
        arrays: dict[str, Any] = {"momentum": [None if b is None else _array(b) for b in buffers]}
        if self.memory is not None:
            arrays["memory"] = {name: _array(x) for name, x in self.memory.state_dict().items()}
        return arrays

    def load_momentum_arrays(self, arrays: dict[str, Any]) -> None:
        """Go on with the `momentum_arrays` of an earlier run of the same objective."""
        parameters = self._parameters()
        momentum = arrays.get("momentum", [])
        if len(momentum) != len(parameters):  # another part of the network is trained now
            momentum = [None] * len(parameters)
        for p, array in zip(parameters, momentum, strict=True):
            if array is not None:
                self.optimizer.state[p]["momentum_buffer"] = _tensor(array).to(self.device)
        if self.memory is not None and "memory" in arrays:
            memory = {name: _tensor(array) for name, array in arrays["memory"].items()}
            self.memory.load_state_dict(memory)

    def arrays(self) -> tuple[Arrays, Arrays]:
        """Return (network arrays, head arrays)."""
        return to_arrays(self.network.model), to_arrays(self.head)

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]


def parameter_groups(network: nn.Module, head: nn.Module, plan: Plan) -> list[dict[str, Any]]:
    """Return the optimizer's groups: decayed and not decayed, of the network and of its head."""
    return [
        {
            "params": [p for p in part.parameters() if p.requires_grad and (p.ndim > 1) == decays],
            "weight_decay": plan.weight_decay if decays else 0.0,
            "factor": factor,
        }
        for part, factor in ((network, 1.0), (head, plan.head_factor))
        for decays in (True, False)
    ]


def freeze_after(network: Stages, n_stages: int) -> None:
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


def _slope(x: torch.Tensor) -> torch.Tensor:
    """Return the gradient that a backward pass left at a tensor."""
    assert x.grad is not None
    return x.grad


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def _array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    return tensor.detach().cpu().numpy().copy()


def _tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.array(array))  # a copy: the array may be a read-only view of a file
