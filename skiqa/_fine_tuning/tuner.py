"""A network in training: what is trained how fast, a step, and resuming; and linear heads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from skiqa._fine_tuning.data import BatchTargets
from skiqa._fine_tuning.held_out import HeldOut
from skiqa._fine_tuning.losses import consistency_loss, fidelity_loss, weighted_loss
from skiqa._fine_tuning.sources import Indices, Source
from skiqa._network.batchnorm import absorb_batchnorm
from skiqa._network.build import build
from skiqa._network.stages import Stages
from skiqa._network.state import EncoderState
from skiqa._types import Arrays, Floats


@dataclass(frozen=True, kw_only=True)
class TuningPlan:
    """The numbers of a fine-tuning, as the regressors' parameters name them."""

    epochs: int
    batch_size: int
    window_size: int | None
    learning_rate: float
    trained_last_stages: int | None
    ranking: float
    averaging: float = 0.99
    layer_decay: float = 1.0
    start_penalty: float = 0.0


@dataclass(frozen=True, kw_only=True)
class FineTuningPlan(TuningPlan):
    """And those of FineTunedQualityRegressor alone."""

    semantic_noise: float


def parameter_groups(network: Stages, plan: TuningPlan) -> list[dict[str, Any]]:
    """Let the last stages of a network change, the deeper the faster: optimizer groups.

    BatchNorm keeps its scale: the convolution in front of it has one.

    Raises
    ------
    ValueError
        If the network has fewer than `plan.trained_last_stages` stages.
    """
    _, stages = network.split()
    if stages is None:  # a vision transformer
        stages = [[block] for block in getattr(network.model, "blocks", [network.model])]
    count = plan.trained_last_stages
    if count is not None and count > len(stages):
        raise ValueError(f"trained_last_stages={count}, but the network has {len(stages)} stages.")
    network.requires_grad_(False)
    groups: list[dict[str, Any]] = []
    for depth, stage in enumerate(stages[::-1][:count]):
        parameters = [p.requires_grad_() for layer in stage for p in _trainable(layer)]
        groups.append({"params": parameters, "factor": plan.layer_decay**depth})
    if count is None:  # what runs before the stages, and a transformer's last norm
        rest = [p.requires_grad_() for p in _trainable(network) if not p.requires_grad]
        groups.append({"params": rest, "factor": plan.layer_decay ** len(stages)})
    return [group for group in groups if group["params"]]


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a module but the scales of BatchNorm."""
    scales = {id(norm.weight) for norm in module.modules() if isinstance(norm, _BatchNorm)}
    return [p for p in module.parameters() if id(p) not in scales]


class Tuner(ABC):
    """A network in training, whatever predicts from it: a step, and resuming.

    Parameters
    ----------
    plan : TuningPlan
    source : Photos or KeptMaps
        Gives the features of what the network sees. Training starts from the state of its
        extraction; BatchNorm and dropout evaluate.
    gates : sequence of nn.Parameter
        What goes uphill: it decides where noise is added, and that is where it does most harm.
    head_groups : sequence of dict, default=()
        Groups of parameters behind the network, with their ``factor`` of the rate.

    Attributes
    ----------
    network : Stages
        In training.
    step : int
        How many steps are behind it.
    """

    def __init__(
        self,
        plan: TuningPlan,
        source: Source[Any],
        gates: Sequence[nn.Parameter],
        head_groups: Sequence[dict[str, Any]] = (),
    ) -> None:
        network: Stages = absorb_batchnorm(build(source.extraction.state).eval())
        self.network = network.to(source.device).to(memory_format=torch.channels_last)
        self.plan, self.source, self.gates = plan, source, list(gates)
        groups = [*parameter_groups(self.network, plan), *head_groups]
        self.optimizer = torch.optim.Adam(groups, lr=plan.learning_rate)
        self.trained: list[nn.Parameter] = [p for group in groups for p in group["params"]]
        self.start = [p.detach().clone() for p in self.trained]
        self.average = [p.detach().clone() for p in self.trained]
        self.gate_optimizer = torch.optim.Adam(self.gates, lr=0.01, maximize=True)
        self.step = 0

    @abstractmethod
    def _loss(self, inputs: Sequence[Any], targets: BatchTargets) -> torch.Tensor:
        """Return the loss of a batch of the source's inputs."""

    @abstractmethod
    def held_out_scores(self, held_out: HeldOut, state: EncoderState) -> Floats:
        """Return the scores of held-out images by the network as it is; `state` is its state."""

    def inputs(self, indices: Indices, seeds: Iterable[int]) -> Iterator[Any]:
        """Yield what a step takes of some images."""
        return self.source.inputs(indices, seeds)

    def head_arrays(self) -> Arrays:
        """Return what is trained behind the network."""
        return {}

    def step_on(self, inputs: Sequence[Any], targets: BatchTargets, factor: float) -> float:
        """Train on a batch of the source's inputs, at a factor of the rate; return the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate * group["factor"] * factor
        loss = self._loss(inputs, targets)
        self.optimizer.zero_grad()
        self.gate_optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.gate_optimizer.step()
        self.step += 1
        self._pull_and_average()
        return float(loss.detach())

    @torch.no_grad()
    def _pull_and_average(self) -> None:
        """Draw weights towards the start, and move their running average."""
        decay = min(self.plan.averaging, self.step / (self.step + 10))  # soon past the start
        start, average = iter(self.start), iter(self.average)
        for group in self.optimizer.param_groups:
            pull = min(1.0, group["lr"] * self.plan.start_penalty)
            for p in group["params"]:
                p.lerp_(next(start), pull)
                next(average).lerp_(p, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[Stages]:
        """Let the network have its averaged weights while the block runs."""
        in_training = [p.detach().clone() for p in self.trained]
        _copy_values(self.average, self.trained)
        try:
            yield self.network
        finally:
            _copy_values(in_training, self.trained)

    def state_dict(self) -> dict[str, Any]:
        """Return all that resuming needs."""
        return {
            "tensors": [p.detach() for p in self._changing_tensors()],
            "optimizers": [self.optimizer.state_dict(), self.gate_optimizer.state_dict()],
            "step": self.step,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where `state` was made."""
        _copy_values(state["tensors"], self._changing_tensors())
        self.optimizer.load_state_dict(state["optimizers"][0])
        self.gate_optimizer.load_state_dict(state["optimizers"][1])
        self.step = state["step"]

    def _changing_tensors(self) -> list[torch.Tensor]:
        return [*self.trained, *self.average, *self.gates]


class FineTuner(Tuner):
    """A network in training under linear heads that stay as they are.

    Parameters
    ----------
    plan : FineTuningPlan
    source : Photos or KeptMaps
        As of any tuner.
    """

    plan: FineTuningPlan

    def __init__(self, plan: FineTuningPlan, source: Source[Any]) -> None:
        n_features = source.extraction.n_features
        self.gate = nn.Parameter(torch.zeros(n_features, device=source.device))  # half open
        super().__init__(plan, source, [self.gate])

    def _loss(self, inputs: Sequence[Any], targets: BatchTargets) -> torch.Tensor:
        plan = self.plan
        rows = self.source.features(self.network, inputs)
        predictions = torch.einsum("nd,nd->n", rows, targets.coef) + targets.intercept
        loss = weighted_loss(predictions, targets.y, targets.weights)
        if plan.ranking:
            of_batch = (predictions, targets.y, targets.datasets, targets.weights)
            loss = loss + plan.ranking * fidelity_loss(*of_batch)
        if plan.semantic_noise:
            (coef, _), (weights, _) = targets.coef.chunk(2), targets.weights.chunk(2)
            moved = consistency_loss(rows, coef, self.gate.sigmoid(), weights)
            loss = loss + plan.semantic_noise * moved
        return loss

    def held_out_scores(self, held_out: HeldOut, state: EncoderState) -> Floats:
        return held_out.scores(self.source.rows(self.network, state, held_out.indices))


@torch.no_grad()
def _copy_values(source: Iterable[torch.Tensor], target: Iterable[torch.Tensor]) -> None:
    """Copy the values of tensors into others, in place."""
    for new, tensor in zip(source, target, strict=True):
        tensor.copy_(new)
