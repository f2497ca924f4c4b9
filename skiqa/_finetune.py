"""Fine-tuning a network to opinion scores: losses, what is trained how fast, and the loop."""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import normalize, smooth_l1_loss

from skiqa._backbones import seeded, to_arrays, to_input
from skiqa._extract import stage_constants
from skiqa._images import iter_decoded, pad_to, resize
from skiqa._pooling import POOLINGS
from skiqa._train import cut_window, epoch_order, rate, sample_seeds

_CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class FineTuning:
    """The numbers of a fine-tuning, as parameters of FineTunedQualityRegressor name them."""

    epochs: int
    batch_size: int
    crop_size: int | None
    learning_rate: float
    layer_decay: float
    trained_stages: int | None
    averaging: float
    start_penalty: float
    ranking: float
    semantic_noise: float


def fidelity_loss(predictions, y, datasets):
    """Return the fidelity loss of all pairs within a dataset.

    Parameters
    ----------
    predictions : tensor of shape (n,)
        In units of the standard deviation of the noise of a comparison (Thurstone).
    y : tensor of shape (n,)
        Opinion scores; only their order within a dataset matters, ties are left out.
    datasets : tensor of shape (n,), int

    Returns
    -------
    tensor, scalar
        Mean of ``1 - sqrt(P(the better one wins))``, in [0, 1]; 0 without pairs.

    References
    ----------
    Zhang et al., "Blind Image Quality Assessment via Vision-Language Correspondence", CVPR 2023.

    Examples
    --------
    >>> import torch
    >>> from skiqa._finetune import fidelity_loss
    >>> y, datasets = torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0, 0, 1])
    >>> fidelity_loss(torch.tensor([0.0, 0.0, 5.0]), y, datasets)  # 1 - sqrt(1 / 2)
    tensor(0.2929)
    """
    better = (y[:, None] > y) & (datasets[:, None] == datasets)
    if not better.any():
        return predictions.sum() * 0.0
    difference = (predictions[:, None] - predictions)[better]
    # the normal distribution's log: the root of a probability of 0 has no slope
    return (1 - (0.5 * torch.special.log_ndtr(difference / math.sqrt(2))).exp()).mean()


def consistency_loss(features, weight, gate):
    """Return how far predictions move when a share of a partner's features is mixed in.

    Parameters
    ----------
    features : tensor of shape (2 * n, d)
        n images, then for each a partner of equal quality and other content. Their difference
        is semantic noise.
    weight : tensor of shape (d,)
        Of the linear head.
    gate : tensor of shape (d,)
        Share of the difference that is added to each feature, in [0, 1].

    Returns
    -------
    tensor, scalar
        Smooth-L1 between predictions with and without the noise.
    """
    images, partners = features.chunk(2)
    moved = (gate * (partners - images)) @ weight
    return smooth_l1_loss(moved, torch.zeros_like(moved))


def parameter_groups(network, plan):
    """Let the last stages of a network change, the deeper the faster: optimizer groups.

    Raises
    ------
    ValueError
        If the network has fewer than `plan.trained_stages` stages.
    """
    _, stages = network.split()
    if stages is None:  # a vision transformer
        stages = [[block] for block in getattr(network.model, "blocks", [network.model])]
    count = plan.trained_stages
    if count is not None and count > len(stages):
        raise ValueError(f"trained_stages={count}, but the network has {len(stages)} stages.")
    network.requires_grad_(False)
    groups = []
    for depth, stage in enumerate(stages[::-1][:count]):
        parameters = [p.requires_grad_() for layer in stage for p in layer.parameters()]
        groups.append({"params": parameters, "factor": plan.layer_decay**depth})
    if count is None:  # what runs before the stages, and a transformer's last norm
        rest = [p.requires_grad_() for p in network.parameters() if not p.requires_grad]
        groups.append({"params": rest, "factor": plan.layer_decay ** len(stages)})
    return [group for group in groups if group["params"]]


def live_features(network, windows, state, scales, pooling, device):
    """Return the features of uint8 windows as `skiqa._extract` makes them, with their slopes.

    Windows of one size run together, others one by one: (n, d).
    """
    if len({window.shape for window in windows}) > 1:
        one = [live_features(network, [w], state, scales, pooling, device) for w in windows]
        return torch.cat(one)
    blocks = []
    for scale in scales:
        copies = np.stack([pad_to(resize(w, scale), network.stride) for w in windows])
        maps = network.maps(to_input(copies, network, device, torch.float32))
        blocks.append(POOLINGS[pooling](maps))
    if pooling == "avg":
        return torch.cat(
            [normalize(b, dim=1) for b in blocks] if state.unit_norm else blocks, dim=1
        )
    rows = torch.cat(blocks, dim=1)
    center, scale = (torch.as_tensor(x, device=device) for x in stage_constants(state, scales))
    return (rows - center) / (scale * math.sqrt(rows.shape[1]))


class FineTuner:
    """A network with a linear head in training: one step, and what resuming needs.

    Parameters
    ----------
    network : Stages
        In training from here on, but for its BatchNorm and dropout, which evaluate.
    coef, intercept : ndarray of shape (d,), float
        The head to start from; it predicts y in units of its standard deviation.
    plan : FineTuning
    features : callable
        (network, windows) -> tensor of shape (n, d).
    """

    def __init__(self, network, coef, intercept, plan, features, device):
        self.network, self.plan, self.features = network.to(device).eval(), plan, features
        self.groups = parameter_groups(network, plan)
        self.weight = torch.tensor(coef, dtype=torch.float32, device=device, requires_grad=True)
        self.bias = torch.tensor(intercept, dtype=torch.float32, device=device, requires_grad=True)
        self.gate = torch.zeros_like(self.weight, requires_grad=True)  # half open
        head = {"params": [self.weight, self.bias], "factor": 1.0}
        self.optimizer = torch.optim.Adam([*self.groups, head], lr=plan.learning_rate)
        self.gate_optimizer = torch.optim.Adam([self.gate], lr=0.01, maximize=True)
        self.trained = [p for group in self.groups for p in group["params"]]
        self.start = [p.detach().clone() for p in self.trained]
        self.average = [p.detach().clone() for p in self.trained]
        self.step, self.losses = 0, []

    def step_on(self, windows, y, datasets, factor):
        """Train on some windows (h, w, 3) with their y (n,); return the loss."""
        plan = self.plan
        for group in self.optimizer.param_groups:
            group["lr"] = plan.learning_rate * group["factor"] * factor
        rows = self.features(self.network, windows)
        predictions = rows @ self.weight + self.bias
        loss = smooth_l1_loss(predictions, y)
        if plan.ranking:
            loss = loss + plan.ranking * fidelity_loss(predictions, y, datasets)
        if plan.semantic_noise:
            gate = self.gate.sigmoid()
            loss = loss + plan.semantic_noise * consistency_loss(rows, self.weight, gate)
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
        for group in self.groups:
            pull = min(1.0, group["lr"] * self.plan.start_penalty)
            for p in group["params"]:
                p.lerp_(next(start), pull)
                next(average).lerp_(p, 1 - decay)

    def arrays(self):
        """Return the network with averaged weights, as numpy arrays."""
        kept = [p.detach().clone() for p in self.trained]
        with torch.no_grad():
            for p, mean in zip(self.trained, self.average, strict=True):
                p.copy_(mean)
            arrays = to_arrays(self.network.model)
            for p, value in zip(self.trained, kept, strict=True):
                p.copy_(value)
        return arrays

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
        with torch.no_grad():
            for p, value in zip(self._tensors(), content["tensors"], strict=True):
                p.copy_(value)
        self.optimizer.load_state_dict(content["optimizers"][0])
        self.gate_optimizer.load_state_dict(content["optimizers"][1])
        self.step, self.losses = content["step"], list(content["losses"])

    def _tensors(self):
        return [*self.trained, *self.average, self.weight, self.bias, self.gate]


def batches(seed, epoch, n, size, partners=None):
    """Return the indices of each batch of an epoch; with `partners`, a second half of these."""
    if partners is not None:
        size = max(1, size // 2)
    order = epoch_order(seed, epoch, n)
    parts = [order[k : k + size] for k in range(0, n - n % min(size, n), min(size, n))]
    return parts if partners is None else [np.concatenate([p, partners[p]]) for p in parts]


def train_epoch(
    tuner, images, members, y, datasets, partners, *, epoch, seed, n_jobs, folder, history
):  # fmt: skip
    """Train for what is left of an epoch; return its mean loss.

    Parameters
    ----------
    tuner : FineTuner
        Changed in place; its step says how much of the epoch is behind it.
    images : ImageList
    members : intp ndarray of shape (n,)
        Which of them are trained on.
    y : tensor of shape (n,), float32
    datasets : tensor of shape (n,), int
    partners : intp ndarray of shape (n,) or None
    epoch, seed : int
        Decide, with the place in the epoch, every random number.
    n_jobs : int or None
    folder : TrainingFolder or None
        Where checkpoints go.
    history : dict
        What a checkpoint holds beside the tuner.

    Raises
    ------
    ValueError
        If the loss is no longer finite.
    """
    plan, saved = tuner.plan, time.monotonic()
    parts = batches(seed, epoch, len(members), plan.batch_size, partners)
    done = tuner.step - epoch * len(parts)
    todo = members[np.concatenate([np.empty(0, np.intp), *parts[done:]])]
    decoded = iter_decoded(images, n_jobs=n_jobs, prefetch=2 * plan.batch_size, indices=todo)
    for k in range(done, len(parts)):
        chosen = torch.from_numpy(parts[k])
        first = 2 * k * plan.batch_size
        seeds = sample_seeds(seed, epoch, range(first, first + len(chosen)))
        windows = [_view(next(decoded)[1], plan.crop_size, s) for s in seeds]
        factor = rate(tuner.step, plan.epochs * len(parts))
        with seeded(int(seeds[0])):
            loss = tuner.step_on(
                windows, y[chosen].to(tuner.weight.device),
                datasets[chosen].to(tuner.weight.device), factor,
            )  # fmt: skip
        if not math.isfinite(loss):
            raise ValueError(
                f"The loss became {loss} in step {tuner.step}. Lower learning_rate (now "
                f"{plan.learning_rate:g})."
            )
        tuner.losses.append(loss)
        if folder is not None and time.monotonic() - saved > _CHECKPOINT_SECONDS:
            folder.save(tuner.step, tuner.content() | history)
            saved = time.monotonic()
    losses, tuner.losses = tuner.losses, []
    return float(np.mean(losses))


def _view(image, crop_size, seed):
    """Return a random window of an image, or all of it, mirrored at even odds."""
    window = image if crop_size is None else cut_window(image, crop_size, seed)
    return window[:, ::-1] if int(seed) & 1 else window
