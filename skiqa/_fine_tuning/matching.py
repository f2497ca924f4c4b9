"""Semantic noise within a batch: who is matched with whom, where noise is added, and a memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import normalize


class Seen(NamedTuple):
    """Images as they were when a step saw them; without slopes."""

    tokens: torch.Tensor  # (n, t, d) float32
    semantics: torch.Tensor  # (n, c) float32, pooled tokens of the last stage
    y: torch.Tensor  # (n,) float32, in units of the standard deviation of its dataset
    deviations: torch.Tensor  # (n,) float32, of the ratings of each
    datasets: torch.Tensor  # (n,) int
    groups: torch.Tensor  # (n,) int, content groups


def matched(images: Seen, candidates: Seen, tolerance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each image the candidate of nearly its score and the farthest semantics.

    Parameters
    ----------
    images : Seen
        n of them.
    candidates : Seen
    tolerance : float
        How far the scores of a pair may lie apart, in units of the mean deviation of its ratings.

    Returns
    -------
    places : tensor of shape (n,), int
        Among the candidates: of another content and the same dataset, within the tolerance, the
        one of the smallest cosine.
    found : tensor of shape (n,), bool
        Whether there is any; else the place says nothing.

    Examples
    --------
    >>> import torch
    >>> from skiqa._fine_tuning.matching import Seen, matched
    >>> semantics, y = torch.tensor([[1.0, 0], [1, 0.1], [0, 1]]), torch.tensor([1.0, 1, 1.1])
    >>> known = torch.tensor([[1, 1, 1], [0, 0, 0], [0, 1, 2]])
    >>> seen = Seen(torch.zeros(3, 1, 1), semantics, y, *known)
    >>> matched(seen, seen, tolerance=0.2)[0]
    tensor([2, 2, 0])
    """
    unit = (images.deviations[:, None] + candidates.deviations) / 2
    near = (images.y[:, None] - candidates.y).abs() <= tolerance * unit
    near &= images.datasets[:, None] == candidates.datasets
    near &= images.groups[:, None] != candidates.groups
    ours, theirs = normalize(images.semantics, dim=1), normalize(candidates.semantics, dim=1)
    cosines = torch.einsum("nc,mc->nm", ours, theirs)
    return torch.where(near, cosines, torch.inf).argmin(dim=1), near.any(dim=1)


class Memory:
    """The images of the last steps: small batches hold few of nearly equal score.

    Parameters
    ----------
    size : int
        How many images.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.seen: Seen | None = None

    def with_batch(self, batch: Seen) -> Seen:
        """Return the images of a batch and, behind them, what is remembered."""
        if self.seen is None:
            return batch
        return Seen(*(torch.cat(both) for both in zip(batch, self.seen, strict=True)))

    def remember(self, batch: Seen) -> None:
        """Take up a batch, and forget what is too much."""
        if self.size:
            # a copy: a slice would hold on to the whole
            self.seen = Seen(*(x[: self.size].clone() for x in self.with_batch(batch)))

    def state_dict(self) -> list[torch.Tensor]:
        """Return all that resuming needs."""
        return [] if self.seen is None else list(self.seen)

    def load_state_dict(self, state: list[torch.Tensor]) -> None:
        """Take up where `state` was made."""
        self.seen = Seen(*state) if state else None


class NoiseGate(nn.Module):
    """How much of the noise is added to each channel of each token, from both.

    Half of it, before training.

    Parameters
    ----------
    width : int
        Channels of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.logit = nn.Linear(2 * width, width)
        nn.init.zeros_(self.logit.weight)
        nn.init.zeros_(self.logit.bias)

    def forward(self, tokens: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return tokens (n, t, d) with noise (n, t, d) let in; only tokens and gate have slopes."""
        noise = noise.detach()
        open_ = self.logit(torch.cat([tokens.detach(), noise], dim=2)).sigmoid()
        return tokens + open_ * noise
