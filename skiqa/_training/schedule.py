"""The numbers of a training run, and all that follows from the position in it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsInt

import numpy as np
import numpy.typing as npt
import torch

from skiqa._inputs.resizing import pad_to
from skiqa._types import Pixels

if TYPE_CHECKING:
    from skiqa.objectives import Objective


@dataclass(frozen=True)
class Plan:
    """The numbers of a training run.

    Parameters
    ----------
    epochs : int
        Passes over the images.
    batch_size : int
        Images a step.
    view_size : int
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
    trained_first_stages : int or None, default=None
        Only the first so many stages change; None = all.
    start_penalty : float, default=0.0
        Weight of the term that holds the features to those of the weights at the start.
    micro_batch_size : int or None, default=None
        Views that run through the network at a time; None = all of a step's.
    max_grad_norm : float or None, default=None
        Longer gradients, over all parameters, are shortened to this.
    """

    epochs: int
    batch_size: int
    view_size: int
    learning_rate: float
    weight_decay: float
    train_statistics: bool
    constant: bool = False
    momentum: float = 0.9
    first_epoch: int = 0
    head_factor: float = 1.0
    trained_first_stages: int | None = None
    start_penalty: float = 0.0
    micro_batch_size: int | None = None
    max_grad_norm: float | None = None

    def n_batches(self, n_images: int) -> int:
        """Return the steps of an epoch: what is left of the images behind them is left out."""
        return max(1, n_images // self.batch_size)


# What an objective has defaults for; None for these means: the objective's own.
DECIDED_BY_OBJECTIVE = ("batch_size", "view_size", "learning_rate", "weight_decay")


# The number of an epoch that is never trained: its order and seeds are for what comes before.
BEFORE_TRAINING = 2**31 - 1


def make_plan(
    objective: Objective,
    n_images: int,
    given: dict[str, Any],
    *,
    scratch: bool,
    **options: Any,
) -> Plan:
    """Return the numbers of a training of so many images.

    Parameters
    ----------
    objective : Objective
    n_images : int
    given : dict
        Values of what the objective has defaults for; None: its own.
    scratch : bool
        Whether training starts from random weights.
    **options
        Other fields of the plan, as they are.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If there are fewer than two images.
    """
    if n_images < 2:
        raise ValueError(
            f"Found {n_images} sample(s), but contrastive training needs at least 2: a "
            "minimum of 2 is required."
        )
    defaults = objective.defaults_scratch if scratch else objective.defaults_pretrained
    value: dict[str, Any] = dict(defaults) | {name: x for name, x in given.items() if x is not None}
    if not scratch:  # the projector behind trained weights is new: it learns as from scratch
        published = objective.defaults_scratch["learning_rate"]
        options["head_factor"] = published / value["learning_rate"]
    value["batch_size"] = min(value["batch_size"], n_images)
    value["learning_rate"] *= value["batch_size"] / objective.learning_rate_batch
    return Plan(train_statistics=scratch, **value, **options)


def rate(step: int, n_steps: int) -> float:
    """Return the schedule's factor at a step: linear warm-up over 10 %, then cosine to zero."""
    warmup = max(1, n_steps // 10)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, n_steps - warmup)))


def sample_seeds(seed: int, epoch: int, positions: Iterable[int]) -> torch.Tensor:
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


def epoch_order(seed: int, epoch: int, n: int) -> npt.NDArray[np.int64]:
    """Return the order of n images in an epoch: a permutation that depends on nothing else."""
    return np.random.default_rng([seed, 0, epoch]).permutation(n)


def cut_window(image: Pixels, size: int, seed: SupportsInt, *, fill: bool = True) -> Pixels:
    """Cut a random size x size window from a uint8 image.

    Where the image is smaller it is reflect-padded, or, without `fill`, kept as it is.
    """
    if fill:
        image = pad_to(image, size)
    rng = np.random.default_rng(int(seed) & (2**63 - 1))
    top, left = (int(rng.integers(max(0, side - size) + 1)) for side in image.shape[:2])
    return image[top : top + size, left : left + size]
