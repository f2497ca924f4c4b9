"""How far a network in training is from the one that it started from."""

from __future__ import annotations

import torch


def feature_drift(f: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """Return how far the stage features of a batch have moved from those of the start.

    Parameters
    ----------
    f, g : tensors of shape (n, k)
        The stage statistics of views, by the network in training and by the one it started from.

    Returns
    -------
    tensor, scalar float32
        mean_k m_k / (m_k + v_k), m_k = sum_i (f_ik - g_ik)^2, v_k = sum_i (g_ik - mean_i g_ik)^2,
        i = views, k = features: 0 at the start, 1/2 for a feature that moved by as much as it
        varies, never above 1, so that a feature which hardly varies cannot rule the rest.
        Features equal in the whole batch are left out.
    """
    moved, spread = (f - g).square().sum(dim=0), (g - g.mean(dim=0)).square().sum(dim=0)
    varies = spread > 1e-6 * g.square().sum(dim=0)
    drift = moved / (moved + torch.where(varies, spread, 1.0))
    return torch.where(varies, drift, 0.0).sum() / varies.sum()
