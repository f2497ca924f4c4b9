"""Losses of fine-tuning beside the regression itself."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import smooth_l1_loss


def fidelity_loss(
    predictions: torch.Tensor, y: torch.Tensor, datasets: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return the fidelity loss of all pairs within a dataset.

    Parameters
    ----------
    predictions : tensor of shape (n,)
        In units of the standard deviation of the noise of a comparison (Thurstone).
    y : tensor of shape (n,)
        Opinion scores; only their order within a dataset matters, ties are left out.
    datasets : tensor of shape (n,), int
    weights : tensor of shape (n,)
        How many times each counts; a pair counts their product.

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
    >>> from skiqa._fine_tuning.losses import fidelity_loss
    >>> y, datasets = torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0, 0, 1])
    >>> fidelity_loss(torch.tensor([0.0, 0.0, 5.0]), y, datasets, torch.ones(3))  # 1 - sqrt(1 / 2)
    tensor(0.2929)
    """
    better = (y[:, None] > y) & (datasets[:, None] == datasets)
    if not better.any():
        return predictions.sum() * 0.0
    difference = (predictions[:, None] - predictions)[better]
    # the normal distribution's log: the root of a probability of 0 has no slope
    loss = 1 - (0.5 * torch.special.log_ndtr(difference / math.sqrt(2))).exp()
    of_pair = (weights[:, None] * weights)[better]
    return (of_pair * loss).sum() / of_pair.sum()


def consistency_loss(
    features: torch.Tensor, coef: torch.Tensor, gate: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return how far predictions move when a share of a partner's features is mixed in.

    Parameters
    ----------
    features : tensor of shape (2 * n, d)
        n images, then for each a partner of equal quality and other content. Their difference
        is semantic noise.
    coef : tensor of shape (n, d)
        Of the linear head that predicts each image.
    gate : tensor of shape (d,)
        Share of the difference that is added to each feature, in [0, 1].
    weights : tensor of shape (n,)
        How many times each image counts, 1 on the mean.

    Returns
    -------
    tensor, scalar
        Smooth-L1 between predictions with and without the noise.
    """
    images, partners = features.chunk(2)
    moved = torch.einsum("nd,nd->n", gate * (partners - images), coef)
    return weighted_loss(moved, torch.zeros_like(moved), weights)


def weighted_loss(
    predictions: torch.Tensor, y: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return the mean smooth-L1 loss of images of some weights, 1 on the mean."""
    return (weights * smooth_l1_loss(predictions, y, reduction="none")).mean()
