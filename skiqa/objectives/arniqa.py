"""ARNIQA: two photos under the same degradations attract; their half-scale twins repel."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from skiqa.degradations import Space, get_space
from skiqa.degradations._random import spawn, uniform
from skiqa.objectives._base import Defaults, Objective
from skiqa.objectives._common import average, cut_at_offsets, halved
from skiqa.objectives._losses import nt_xent


class Arniqa(Objective):
    """ARNIQA's objective: two photos under the same sequence of degradations attract.

    The photos of a batch go in pairs. A sequence is drawn for each pair and applied to a view of
    each photo at full scale and one at half scale. The two at full scale attract each other, the
    two at half scale likewise, and all else repels: above all the half-scale twin, which shows
    the same photo and sequence, so that the scale must be seen.

    Parameters
    ----------
    temperature : float in (0, inf), default=0.1
        Temperature of the loss.
    space : {"arniqa", "contrique", "qpt", "qpt_small", "reiqa"} or Space, default="arniqa"
        Where sequences are drawn from; "arniqa" is
        :class:`~skiqa.degradations.SequenceSpace`: one to four degradations, or, with probability
        0.05, none.
    projection_dim : int in [1, inf), default=128
        Width of the projection.

    Notes
    -----
    Published for pristine photos, on weights trained on ImageNet, and so are the defaults for
    training from weights (32 photos are its batch of 16 pairs); those from scratch are **our
    choice**. Further choices of ours: pairs are photos of one batch, not a photo and any other;
    the half-scale view shows the window that the full-scale one lies in, not another part of the
    photo; the schedule is the same as for all objectives, without restarts; no labels choose the
    epoch; BatchNorm keeps the statistics of the weights that training starts from. Photos
    degraded by life are treated as all others. As published, random numbers of a sequence, such as
    noise, are drawn for each view anew, and two pairs that get the same sequence by chance repel.

    References
    ----------
    Agnolucci, Galteri, Bertini, Del Bimbo, "ARNIQA: Learning Distortion Manifold for Image Quality
    Assessment", WACV 2024.

    Examples
    --------
    >>> from skiqa.degradations import SequenceSpace
    >>> from skiqa.objectives import Arniqa
    >>> Arniqa(space=SequenceSpace(max_length=2))
    Arniqa(space=SequenceSpace(max_length=2))
    """

    defaults_scratch = Defaults(batch_size=32, view_size=224, learning_rate=0.03, weight_decay=1e-4)
    defaults_pretrained = Defaults(
        batch_size=32, view_size=224, learning_rate=0.001, weight_decay=1e-4
    )
    _parameter_constraints = Objective._parameter_constraints | {"space": [str, Space]}
    learning_rate_batch = 32

    def __init__(
        self, *, temperature: float = 0.1, space: str | Space = "arniqa", projection_dim: int = 128
    ) -> None:
        super().__init__(temperature=temperature, projection_dim=projection_dim)
        self.space = space

    def views(
        self, windows: Tensor, indices: Tensor, authentic: Tensor, seeds: Tensor, view_size: int
    ) -> tuple[Tensor, Tensor]:
        """Cut windows into views of two scales and degrade pairs of photos alike.

        Returns
        -------
        views : tensor of shape (2 m, 3, view_size, view_size)
            Full scale, then half scale; m = n, or n - 1 where n is odd: the last one has no
            partner.
        labels : int tensor of shape (m,)
            The index of the first photo of each pair.
        """
        m = len(windows) // 2 * 2
        windows, seeds = windows[:m], seeds[:m]
        space = get_space(self.space)
        sequences = [sequence for sequence in space.sample(seeds[::2]) for _ in range(2)]
        full = cut_at_offsets(windows, uniform(seeds, (2,), stream=1000), view_size)
        half = halved(windows, "bicubic").clamp(0, 1)
        views = [space.apply(x, sequences, spawn(seeds, k)) for k, x in enumerate((full, half))]
        return torch.cat(views), indices[:m:2].repeat_interleave(2)

    def pool(self, maps: Tensor) -> Tensor:
        """Return the mean of each map, L2-normed: the projector's input."""
        return F.normalize(average(maps), dim=1)

    def loss(self, projections: Tensor, labels: Tensor) -> Tensor:
        """Return the loss: each row has one positive, its partner at its scale."""
        return nt_xent(projections, torch.cat([2 * labels, 2 * labels + 1]), self.temperature)

    def plateau(self, n: int) -> float:
        """Return the loss of features that are all equal, with n photos a step, in pairs."""
        return math.log(4 * (n // 2) - 1)
