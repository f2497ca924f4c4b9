"""Training in several processes: who am I, and what do all have. No-ops in one process.

Every process computes the loss of the whole batch, from the gathered outputs of all networks. So
each has the whole gradient of the projector, and that part of the network's that goes through its
own photos; their sum is the gradient that one process would have.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_T = TypeVar("_T")


@contextmanager
def process_group(init_method: str = "env://") -> Iterator[None]:
    """Join the other processes for the time of a block, if torchrun started this one.

    Parameters
    ----------
    init_method : str, default="env://"
        How they find each other; see ``torch.distributed.init_process_group``.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1 or dist.is_initialized():
        yield
        return
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(
        "nccl" if gpus else "gloo", init_method, world_size=size, rank=int(os.environ["RANK"])
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return which of them this one is, counted from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def own_part(n: int) -> range:
    """Return the range of n things that this process takes care of: all, or a part in order."""
    return range(n * rank() // world_size(), n * (rank() + 1) // world_size())


def from_first(value: _T) -> _T:
    """Return what the first process has: anything that pickles."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def gather(rows: torch.Tensor, n_blocks: int = 1) -> torch.Tensor:
    """Return the rows of all processes, as one process with all of their photos has them.

    Parameters
    ----------
    rows : tensor of shape (n_blocks * n, ...)
        The first views of this process's photos, the second ones, and so on; n may differ between
        processes.
    n_blocks : int, default=1

    Returns
    -------
    tensor of shape (n_blocks * sum of all n, ...)
        The first views of all photos, process by process, then the second ones. Its gradient goes
        to this process's rows alone, whole, for every process computes the same loss.
    """
    if world_size() == 1:
        return rows
    blocks = rows.unflatten(0, (n_blocks, -1))
    counts = torch.tensor([blocks.shape[1]], device=rows.device)
    sizes = [int(count) for count in _all_gather(counts)]
    padded = blocks.new_zeros(n_blocks, max(sizes), *blocks.shape[2:])
    padded[:, : blocks.shape[1]] = blocks.detach()
    parts = [part[:, :size] for part, size in zip(_all_gather(padded), sizes, strict=True)]
    parts[rank()] = blocks
    return torch.cat(parts, dim=1).flatten(0, 1)


def _all_gather(x: torch.Tensor) -> list[torch.Tensor]:
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x)
    return parts


def maximum_over_processes(value: int, device: torch.device) -> int:
    """Return the largest of the values that the processes have."""
    if world_size() == 1:
        return value
    return max(int(x) for x in _all_gather(torch.tensor([value], device=device)))


def sum_gradients(parameters: Iterable[nn.Parameter], factor: float = 1.0) -> None:
    """Replace the gradient of each parameter by the sum over the processes, times a factor."""
    if world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    total = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(total)
    parts = (total * factor).split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))


class _Sum(torch.autograd.Function):
    """Sum over the processes; the gradient of a sum is the sum of the gradients."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def synchronise_batchnorm(module: nn.Module) -> None:
    """Let every BatchNorm in a module normalise by the batch of all processes, in place.

    PyTorch's SyncBatchNorm does so on GPUs only, and knows nothing of timm's layers, in which an
    activation is part of the BatchNorm.
    """
    if world_size() == 1:
        return
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.forward = _SynchronisedForward(norm)  # type: ignore[method-assign, assignment]


class _SynchronisedForward:
    """The forward pass of a BatchNorm that normalises by the batch of all processes."""

    def __init__(self, norm: _BatchNorm) -> None:
        self.norm = norm

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        norm = self.norm
        if not norm.training:
            return type(norm).forward(norm, x)
        y = _normalise(norm, x.to(torch.promote_types(x.dtype, torch.float32))).to(x.dtype)
        for name in ("drop", "act"):
            y = getattr(norm, name, nn.Identity())(y)
        return y


def _normalise(norm: _BatchNorm, x: torch.Tensor) -> torch.Tensor:
    axes, shape = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
    count = x.new_tensor([x.numel() // x.shape[1]])
    total = _Sum.apply(torch.cat([x.sum(axes), count]))
    n = total[-1].detach()
    mean = total[:-1] / n
    centered = x - mean.view(shape)
    variance = _Sum.apply(centered.square().sum(axes)) / n
    running_mean, running_var = norm.running_mean, norm.running_var
    if running_mean is not None and running_var is not None and norm.momentum is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean), norm.momentum)
            unbiased = variance * (n / (n - 1))
            running_var.lerp_(unbiased.to(running_var), norm.momentum)
    y = centered * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
    return y
