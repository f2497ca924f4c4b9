"""A momentum encoder and a queue of its keys (MoCo), for the objectives that ask for them."""

from __future__ import annotations

import copy

import torch
from torch import nn

from skiqa._network.stages import Stages


def enqueue(queue: torch.Tensor, new: torch.Tensor, size: int) -> torch.Tensor:
    """Return the last `size` rows of a queue and what comes after it: the oldest go first."""
    return torch.cat([queue, new])[-size:].clone()  # a slice would keep the dropped rows alive


def follow(target: nn.Module, source: nn.Module, momentum: float) -> None:
    """Move a module's parameters and buffers towards those of another, in place.

    Each becomes momentum * target + (1 - momentum) * source; what is no float is copied.
    """
    own = target.state_dict()
    for name, value in source.state_dict().items():
        if value.is_floating_point():
            own[name].lerp_(value, 1 - momentum)
        else:
            own[name].copy_(value)


class MomentumEncoder:
    """A network and a projector that follow those in training, and a queue of their keys.

    Parameters
    ----------
    network, head : nn.Module
        Copied.
    queue_size : int
        Most keys that are kept.
    momentum : float in [0, 1]
        Share of the past in each step, once training is long: in step t it is
        min(momentum, (1 + t) / (10 + t)), our choice, so that short trainings are followed too.

    Notes
    -----
    BatchNorm, our choice after Cai et al. ("EMAN", CVPR 2021): keys are normalised by statistics
    that follow the network's own, never by their batch. So a key depends on its view alone, nothing
    leaks from a batch to its positives, which MoCo shuffles batches between GPUs against, and keys
    may be made in parts. The queue starts empty, and is filled with keys before the first step,
    our choice: MoCo's starts with random keys, which repel less than photos do, so that the loss
    would rise for as long as these come in.
    """

    def __init__(self, network: Stages, head: nn.Module, queue_size: int, momentum: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.head = copy.deepcopy(head).eval().requires_grad_(False)
        self.queue_size, self.momentum = queue_size, momentum
        self.steps = 0
        self.keys: torch.Tensor | None = None
        self.labels: torch.Tensor | None = None

    def queue(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the queue (k, d) and the labels (k,) of its keys, as wide as `like` (n, d)."""
        if self.keys is None or self.labels is None:
            return like[:0], torch.zeros(0, dtype=torch.int64, device=like.device)
        return self.keys, self.labels

    def update(
        self, network: Stages, head: nn.Module, keys: torch.Tensor, labels: torch.Tensor
    ) -> None:
        """Follow the networks in training, and put keys of a step into the queue."""
        momentum = min(self.momentum, (1 + self.steps) / (10 + self.steps))
        follow(self.network, network, momentum)
        follow(self.head, head, momentum)
        self.steps += 1
        self.put(keys, labels)

    def put(self, keys: torch.Tensor, labels: torch.Tensor) -> None:
        """Put keys into the queue, and with each the label of its photo (n,)."""
        labels = labels.repeat(len(keys) // len(labels))
        queue, queue_labels = self.queue(keys)
        self.keys = enqueue(queue, keys, self.queue_size)
        self.labels = enqueue(queue_labels, labels, self.queue_size)

    @property
    def is_full(self) -> bool:
        """Whether a key more drops another one."""
        return self.keys is not None and len(self.keys) >= self.queue_size

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return all that going on needs, as a flat dictionary of tensors."""
        parts = {"network": self.network.state_dict(), "head": self.head.state_dict()}
        state = {f"{k}.{name}": x for k, part in parts.items() for name, x in part.items()}
        state["steps"] = torch.tensor(self.steps)
        if self.keys is not None and self.labels is not None:
            state |= {"keys": self.keys, "labels": self.labels}
        return state

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from where `state` was made."""
        for kind, module in (("network", self.network), ("head", self.head)):
            own = module.state_dict()
            module.load_state_dict({name: state[f"{kind}.{name}"] for name in own})
        self.steps = int(state["steps"])
        if "keys" in state:
            device = next(self.network.parameters()).device
            self.keys, self.labels = (state[name].to(device) for name in ("keys", "labels"))
