"""An objective of our own: views attract by how close they are in quality and in fault."""

from __future__ import annotations

import math
from numbers import Real

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn
from torch.nn import functional as F

from skiqa.degradations import Bank, get_bank
from skiqa.degradations._random import uniform
from skiqa.degradations.bank import BankLike
from skiqa.objectives._base import Defaults, Objective
from skiqa.objectives._common import (
    Projector,
    cut_at_offsets,
    draw_degradations,
    halved,
    patch_features,
)
from skiqa.objectives._losses import weighted_nt_xent

_C1, _C2 = 0.01**2, 0.03**2  # of SSIM, for pixels in [0, 1]


def structural_similarity(reference: Tensor, degraded: Tensor, window: int = 7) -> Tensor:
    """Return the map of SSIM of images with their references, mean over the channels.

    Parameters
    ----------
    reference, degraded : tensors of shape (n, c, h, w) in [0, 1]
    window : int, default=7
        Side of the square that local means, variances and the covariance are taken over.

    Returns
    -------
    tensor of shape (n, h - window + 1, w - window + 1) in [-1, 1]
        1 where equal.

    Notes
    -----
    Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13, 2004, with population moments over a flat window.
    """

    def local(x: Tensor) -> Tensor:  # rows, then columns: a quarter of the time
        return F.avg_pool2d(F.avg_pool2d(x, (window, 1), stride=1), (1, window), stride=1)

    x, y = reference, degraded
    mx, my = local(x), local(y)
    vx, vy, cov = local(x * x) - mx * mx, local(y * y) - my * my, local(x * y) - mx * my
    light = (2 * mx * my + _C1) / (mx * mx + my * my + _C1)
    return (light * (2 * cov + _C2) / (vx + vy + _C2)).mean(dim=1)


def quality_weights(
    photos: Tensor,
    types: Tensor,
    levels: Tensor,
    quality: Tensor,
    bandwidth: float = 0.1,
    other: float = 0.1,
) -> Tensor:
    """Return how much rows should attract each other.

    Parameters
    ----------
    photos : int tensor of shape (m,)
        Which photo a row shows.
    types : tensor of shape (m,)
        Its degradation; equal numbers are equal operators, -1 is an unknown one, done by life.
    levels : tensor of shape (m,)
        Level of the degradation, 0 for none.
    quality : tensor of shape (m,)
        Similarity to the clean photo, 1 = equal.
    bandwidth : float in (0, inf), default=0.1
        Difference in quality beyond which attraction fades.
    other : float in [0, 1], default=0.1
        Factor for another operator.

    Returns
    -------
    tensor of shape (m, m) in [0, 1]
        exp(-(q_i - q_j)^2 / (2 h^2)) f_ij, h the bandwidth, f_ij = 2^-|l_i - l_j| for the same
        operator, else `other`. Rows of unknown degradation: 1 for the same photo, else 0.

    Examples
    --------
    >>> import torch
    >>> from skiqa.objectives.weighted import quality_weights
    >>> types, levels = torch.tensor([0, 0, 1, -1]), torch.tensor([1, 2, 1, 0])
    >>> quality = torch.tensor([0.9, 0.9, 0.9, 1.0])
    >>> quality_weights(torch.arange(4), types, levels, quality)
    tensor([[1.0000, 0.5000, 0.1000, 0.0000],
            [0.5000, 1.0000, 0.1000, 0.0000],
            [0.1000, 0.1000, 1.0000, 0.0000],
            [0.0000, 0.0000, 0.0000, 1.0000]])
    """

    def pairs(x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, None], x[None, :]

    (p, r), (s, t), (u, v), (a, b) = map(pairs, (photos, types, levels, quality))
    closeness = torch.exp(-(((a - b) / bandwidth) ** 2) / 2)
    fault = torch.where(s == t, torch.exp2(-(u - v).abs().to(quality.dtype)), other)
    return torch.where((s < 0) | (t < 0), (p == r).to(quality.dtype), closeness * fault)


class Weighted(Objective):
    """Views attract by how close they are in quality and in fault: an objective of our own.

    CONTRIQUE's views without its color spaces, and its patches, projector and loss, but no
    classes: how strongly two patches attract is a number, from what is known of both. Each is
    compared with the clean photo by SSIM; equal operators attract, the more the closer their
    levels; and whatever the fault, only patches of similar quality do. So two photos with the same
    fault attract (in QPT and Re-IQA they repel), as far as it does the same harm to both (in
    CONTRIQUE the same level on a flat sky and on grass is one class).

    Parameters
    ----------
    temperature : float in (0, inf), default=0.1
        Temperature of the loss.
    bank : str, Bank, or tuple of str, default="kadis"
        What degradations are drawn from: one for each photo, at a random level.
    bandwidth : float in (0, inf), default=0.1
        Difference in SSIM beyond which attraction fades: a standard deviation.
    other : float in [0, 1], default=0.1
        Factor of the attraction between different operators.
    projection_dim : int in [1, inf), default=128
        Width of the projection.

    Notes
    -----
    Everything is **our choice**. A photo that is degraded by life has no clean version: its patches
    attract each other and repel all else, as in CONTRIQUE. The weights are those of
    ``quality_weights`` in this file, the loss is
    :func:`~skiqa.objectives.weighted_nt_xent`. The soft targets follow an idea of GRepQ (Srinath,
    Mitra, Rao, Soundararajan, WACV 2024), which weights by similarity alone.

    Examples
    --------
    >>> from skiqa.objectives import Weighted
    >>> Weighted(bandwidth=0.05)
    Weighted(bandwidth=0.05)
    """

    defaults_scratch = Defaults(batch_size=256, view_size=256, learning_rate=0.6, weight_decay=1e-4)
    _parameter_constraints = Objective._parameter_constraints | {
        "bank": [str, Bank, tuple, list],
        "bandwidth": [Interval(Real, 0, None, closed="neither")],
        "other": [Interval(Real, 0, 1, closed="both")],
    }
    grid = 2  # patches along each side of a view
    learning_rate_batch = 512

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        bank: BankLike = "kadis",
        bandwidth: float = 0.1,
        other: float = 0.1,
        projection_dim: int = 128,
    ) -> None:
        super().__init__(temperature=temperature, projection_dim=projection_dim)
        self.bank = bank
        self.bandwidth = bandwidth
        self.other = other

    def head(self, n_features: int) -> nn.Module:
        """Return what is trained behind the network: the projector."""
        return Projector(n_features, self.projection_dim)

    def views(
        self, windows: Tensor, indices: Tensor, authentic: Tensor, seeds: Tensor, view_size: int
    ) -> tuple[Tensor, Tensor]:
        """Degrade windows, cut them into views, and compare these with the clean ones.

        Returns
        -------
        views : tensor of shape (2 n, 3, view_size, view_size)
            A square at full scale of each photo, then the whole window at half scale.
        labels : float32 tensor of shape (n, 10)
            Type (-1: alone), level (0: none), and the quality of the four patches of both views.
        """
        bank = get_bank(self.bank)
        draw = uniform(seeds, (6,), stream=1000)
        windows = torch.where((draw[:, 5] < 0.5)[:, None, None, None], windows.flip(3), windows)
        types, levels, alone = draw_degradations(authentic, draw[:, :3], bank)
        degraded = bank.apply(windows, types, levels, seeds)
        pairs = [
            (cut_at_offsets(x, draw[:, 3:5], view_size), halved(x)) for x in (windows, degraded)
        ]
        quality = [
            F.adaptive_avg_pool2d(structural_similarity(*pair), self.grid).flatten(1)
            for pair in zip(*pairs, strict=True)
        ]
        levels = torch.where(types < 0, 0, levels)
        types = torch.where(alone, -1, torch.where(types < 0, len(bank), types))
        labels = torch.cat([torch.stack([types, levels], dim=1), *quality], dim=1)
        return torch.cat(pairs[1]), labels

    def pool(self, maps: Tensor) -> Tensor:
        """Return the features of 2 x 2 patches of each map, (4 n, c): the projector's input."""
        return patch_features(maps, self.grid)

    def loss(self, projections: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the projections of all patches of all views."""
        n, patches = len(labels), self.grid**2
        rows = torch.arange(n, device=labels.device).repeat(2).repeat_interleave(patches)
        quality = labels[:, 2:].unflatten(1, (2, patches)).transpose(0, 1).flatten()
        weights = quality_weights(
            rows, labels[rows, 0], labels[rows, 1], quality, self.bandwidth, self.other
        )
        return weighted_nt_xent(projections, weights, self.temperature)

    def plateau(self, n: int) -> float:
        """Return the loss of features that are all equal, with n photos a step."""
        return math.log(2 * n * self.grid**2 - 1)
