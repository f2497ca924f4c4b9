"""A network in training under linear heads: what is trained how fast, a step, and resuming."""

from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import smooth_l1_loss

from skiqa._fine_tuning.losses import consistency_loss, fidelity_loss
from skiqa._network.batchnorm import absorb_batchnorm


@dataclass(frozen=True)
class FineTuning:
    """The numbers of a fine-tuning, as parameters of FineTunedQualityRegressor name them."""

    epochs: int
    batch_size: int
    window_size: int | None
    learning_rate: float
    layer_decay: float
    trained_last_stages: int | None
    averaging: float
    start_penalty: float
    ranking: float
    semantic_noise: float


def parameter_groups(network, plan):
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
    groups = []
    for depth, stage in enumerate(stages[::-1][:count]):
        parameters = [p.requires_grad_() for layer in stage for p in _trainable(layer)]
        groups.append({"params": parameters, "factor": plan.layer_decay**depth})
    if count is None:  # what runs before the stages, and a transformer's last norm
        rest = [p.requires_grad_() for p in _trainable(network) if not p.requires_grad]
        groups.append({"params": rest, "factor": plan.layer_decay ** len(stages)})
    return [group for group in groups if group["params"]]


def _trainable(module):
    """Return the parameters of a module but the scales of BatchNorm."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    scales = {id(norm.weight) for norm in norms}
    return [p for p in module.parameters() if id(p) not in scales]


class FineTuner:
    """A network in training under linear heads that stay as they are: a step, and resuming.

    Parameters
    ----------
    network : Stages
        How training starts, on the CPU. A copy is trained; its BatchNorm and dropout evaluate.
    plan : FineTuning
    source : Photos or KeptMaps
        Gives the features of views.
    n_features : int
    """

    def __init__(self, network, plan, source, n_features):
        device = source.recipe.device
        self.network = absorb_batchnorm(network.eval()).to(
            device, memory_format=torch.channels_last
        )
        self.plan, self.source = plan, source
        groups = parameter_groups(self.network, plan)
        self.optimizer = torch.optim.Adam(groups, lr=plan.learning_rate)
        self.trained = [p for group in groups for p in group["params"]]
        self.start = [p.detach().clone() for p in self.trained]
        self.average = [p.detach().clone() for p in self.trained]
        self.gate = torch.zeros(n_features, device=device, requires_grad=True)  # half open
        self.gate_optimizer = torch.optim.Adam([self.gate], lr=0.01, maximize=True)
        self.step, self.losses = 0, []

    def step_on(self, views, target, factor):
        """Train on some views with the target of each; return the loss."""
        plan = self.plan
        for group in self.optimizer.param_groups:
            group["lr"] = plan.learning_rate * group["factor"] * factor
        rows = self.source.features(self.network, views)
        predictions = torch.einsum("nd,nd->n", rows, target.coef) + target.intercept
        loss = smooth_l1_loss(predictions, target.y)
        if plan.ranking:
            loss = loss + plan.ranking * fidelity_loss(predictions, target.y, target.datasets)
        if plan.semantic_noise:
            coef, _ = target.coef.chunk(2)
            moved = consistency_loss(rows, coef, self.gate.sigmoid())
            loss = loss + plan.semantic_noise * moved
        self.optimizer.zero_grad()
        self.gate_optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if plan.semantic_noise:
            self.gate_optimizer.step()  # uphill: the noise is added where it does most harm
        self.step += 1
        self._hold()
        return float(loss.detach())

    @torch.no_grad()
    def _hold(self):
        """Draw weights towards the start, and move their running average."""
        decay = min(self.plan.averaging, self.step / (self.step + 10))  # soon past the start
        start, average = iter(self.start), iter(self.average)
        for group in self.optimizer.param_groups:
            pull = min(1.0, group["lr"] * self.plan.start_penalty)
            for p in group["params"]:
                p.lerp_(next(start), pull)
                next(average).lerp_(p, 1 - decay)

    @contextmanager
    def averaged(self):
        """Let the network have its averaged weights while the block runs."""
        kept = [p.detach().clone() for p in self.trained]
        self._take(self.trained, self.average)
        try:
            yield self.network
        finally:
            self._take(self.trained, kept)

    def content(self):
        """Return all that resuming needs."""
        return {
            "tensors": [p.detach() for p in self._tensors()],
            "optimizers": [self.optimizer.state_dict(), self.gate_optimizer.state_dict()],
            "step": self.step,
            "losses": self.losses,
        }

    def restore(self, content):
        """Take up where `content` was made."""
        self._take(self._tensors(), content["tensors"])
        self.optimizer.load_state_dict(content["optimizers"][0])
        self.gate_optimizer.load_state_dict(content["optimizers"][1])
        self.step, self.losses = content["step"], list(content["losses"])

    def _tensors(self):
        return [*self.trained, *self.average, self.gate]

    @staticmethod
    @torch.no_grad()
    def _take(tensors, values):
        for tensor, value in zip(tensors, values, strict=True):
            tensor.copy_(value)
