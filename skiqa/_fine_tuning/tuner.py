"""Fine-tuning a network to opinion scores: losses, what is trained how fast, and the loop."""

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from torch import nn
from torch.nn.functional import smooth_l1_loss

from skiqa._network.stages import absorb_batchnorm
from skiqa._training.trainer import epoch_order, rate, sample_seeds

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
    >>> from skiqa._fine_tuning.tuner import fidelity_loss
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
    weight : tensor of shape (n, d)
        Of the linear head that predicts each image.
    gate : tensor of shape (d,)
        Share of the difference that is added to each feature, in [0, 1].

    Returns
    -------
    tensor, scalar
        Smooth-L1 between predictions with and without the noise.
    """
    images, partners = features.chunk(2)
    moved = torch.einsum("nd,nd->n", gate * (partners - images), weight)
    return smooth_l1_loss(moved, torch.zeros_like(moved))


def parameter_groups(network, plan):
    """Let the last stages of a network change, the deeper the faster: optimizer groups.

    BatchNorm keeps its scale: the convolution in front of it has one.

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


class Target(NamedTuple):
    """What images are trained to, and by which linear head each is predicted."""

    y: torch.Tensor  # (n,) float32, in units of the standard deviation of its dataset
    datasets: torch.Tensor  # (n,) int
    coef: torch.Tensor  # (n, d) float32, of the image's head
    intercept: torch.Tensor  # (n,) float32


class Heads(NamedTuple):
    """Linear heads, and which of them predicts an image."""

    coef: np.ndarray  # (k, d) float64
    intercept: np.ndarray  # (k, n_datasets) float64
    chosen: np.ndarray  # (n,) intp

    def target(self, y, datasets, images, device):
        """Return the Target of some images, indices of shape (m,)."""
        head, datasets = self.chosen[images], datasets[images]
        numbers = (y[images], self.coef[head], self.intercept[head, datasets])
        y, coef, intercept = (
            torch.as_tensor(a, dtype=torch.float32, device=device) for a in numbers
        )
        return Target(y, torch.as_tensor(datasets, device=device), coef, intercept)


def ridge_within(rows, y, datasets, n_datasets, alpha):
    """Fit one ridge to several datasets, each of which has an intercept of its own.

    Parameters
    ----------
    rows : ndarray of shape (n, d), float
    y : ndarray of shape (n,), float
    datasets : ndarray of shape (n,), int in [0, n_datasets)
    n_datasets : int
    alpha : float

    Returns
    -------
    coef : ndarray of shape (d,), float64
    intercept : ndarray of shape (n_datasets,), float64
        Of all samples where a dataset has none here.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa._fine_tuning.tuner import ridge_within
    >>> rows = np.array([[0.0], [1.0], [5.0], [6.0]])
    >>> coef, intercept = ridge_within(rows, np.array([0.0, 2, 0, 2]), [0, 0, 1, 1], 2, 1e-9)
    >>> print(coef.round(3), intercept.round(3))
    [2.] [  0. -10.]
    """
    rows, y, datasets = rows.astype(np.float64), np.asarray(y, np.float64), np.asarray(datasets)
    mean = np.tile(rows.mean(axis=0), (n_datasets, 1))
    level = np.full(n_datasets, y.mean())
    for d in np.unique(datasets):
        mean[d], level[d] = rows[datasets == d].mean(axis=0), y[datasets == d].mean()
    ridge = Ridge(alpha, fit_intercept=False)
    coef = ridge.fit(rows - mean[datasets], y - level[datasets]).coef_
    return coef, level - mean @ coef


def cross_fitted(rows, y, groups, datasets, n_datasets, alpha, seed, n_folds=5):
    """Fit a ridge for each of some folds, without its groups: Heads that have not seen an image.

    What a head gets wrong on images that it was fitted to says little: on 3,136 features, that it
    did not memorise them.
    """
    n_groups = len(np.unique(groups))
    if n_groups < 2:  # nothing can be left out
        coef, intercept = ridge_within(rows, y, datasets, n_datasets, alpha)
        return Heads(coef[None], intercept[None], np.zeros(len(y), np.intp))
    folds = GroupKFold(min(n_folds, n_groups), shuffle=True, random_state=seed)
    chosen, ridges = np.empty(len(y), np.intp), []
    for fitted, left_out in folds.split(rows, groups=groups):
        chosen[left_out] = len(ridges)
        part = (rows[fitted], y[fitted], datasets[fitted])
        ridges.append(ridge_within(*part, n_datasets, alpha))
    return Heads(*map(np.stack, zip(*ridges, strict=True)), chosen)


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


def batches(seed, epoch, n, size, partners=None):
    """Return the indices of each batch of an epoch; with `partners`, a second half of these."""
    if partners is not None:
        size = max(1, size // 2)
    order = epoch_order(seed, epoch, n)
    parts = [order[k : k + size] for k in range(0, n - n % min(size, n), min(size, n))]
    return parts if partners is None else [np.concatenate([p, partners[p]]) for p in parts]


def train_epoch(tuner, members, target, partners, *, epoch, seed, folder, history, advance):
    """Train for what is left of an epoch; return its mean loss.

    Parameters
    ----------
    tuner : FineTuner
        Changed in place; its step says how much of the epoch is behind it.
    members : intp ndarray of shape (n,)
        Which images are trained on.
    target : callable
        Returns the Target of some of the n images.
    partners : intp ndarray of shape (n,) or None
    epoch, seed : int
        Decide, with the place in the epoch, every random number.
    folder : TrainingFolder or None
        Where checkpoints go.
    history : dict
        What a checkpoint holds beside the tuner.
    advance : callable
        Called after each step.

    Raises
    ------
    ValueError
        If the loss is no longer finite.
    """
    plan, saved = tuner.plan, time.monotonic()
    parts = batches(seed, epoch, len(members), plan.batch_size, partners)
    starts = np.cumsum([0, *map(len, parts)])  # places in the epoch's order
    done = tuner.step - epoch * len(parts)
    chosen = np.concatenate([np.empty(0, np.intp), *parts[done:]])
    seeds = sample_seeds(seed, epoch, range(starts[done], starts[-1]))
    views = tuner.source.views(members[chosen], seeds)
    for k in range(done, len(parts)):
        factor = rate(tuner.step, plan.epochs * len(parts))
        batch = list(islice(views, len(parts[k])))
        loss = tuner.step_on(batch, target(parts[k]), factor)
        if not math.isfinite(loss):
            raise ValueError(
                f"The loss became {loss} in step {tuner.step}. Lower learning_rate (now "
                f"{plan.learning_rate:g})."
            )
        tuner.losses.append(loss)
        advance()
        if folder is not None and time.monotonic() - saved > _CHECKPOINT_SECONDS:
            folder.save(tuner.step, tuner.content() | history)
            saved = time.monotonic()
    losses, tuner.losses = tuner.losses, []
    return float(np.mean(losses))
