"""Re-IQA: two overlapping views of one degraded photo attract; a queue of all others repels."""

from __future__ import annotations

import math
from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor
from torch.nn import functional as F

from skiqa.degradations import Bank, BankSpace, apply_sequences
from skiqa.degradations._random import spawn, uniform
from skiqa.degradations.bank import BankLike
from skiqa.objectives._base import Defaults, Objective
from skiqa.objectives._common import cut_at_corners
from skiqa.objectives._losses import info_nce

_OVERLAP = (0.1, 0.3)  # part of a view's area that the other one shows too


class Reiqa(Objective):
    """Re-IQA's quality-aware objective: two views of one degraded photo attract.

    Each photo is shown as it is and under `n_degradations` different degradations. Of each of
    these images, at full and at half scale, two views that share 10 to 30 % of their area are
    taken, at the same places in all of them: one is the query, the other its only positive key, in
    turns. Keys of earlier steps, under all degradations, are the negatives.

    Parameters
    ----------
    temperature : float in (0, inf), default=0.2
        Temperature of the loss.
    bank : str, Bank, or tuple of str, default="reiqa"
        What degradations are drawn from.
    n_degradations : int in [1, inf), default=11
        Degradations of each photo, no operator twice, each at a random level.
    half_scale : bool, default=True
        Whether all is repeated at half scale.
    queue_size : int in [1, inf), default=65536
        Keys of earlier steps, but never more than an epoch gives.
    momentum : float in [0, 1], default=0.999
        Of the encoder of the keys.
    projection_dim : int in [1, inf), default=128
        Width of the projection.

    Notes
    -----
    A photo gives 2 (n_degradations + 1) queries and as many keys: 24 of each. The loss is
    :func:`~skiqa.objectives.info_nce` with the queue alone: the other degradations of a photo
    repel it only from the next steps on. The queue is filled before the first step, by a pass over
    as many photos; the reference's starts with random keys.

    As in the code, not the paper, where they differ (26 operators, not 25); the half scale, too, is
    bicubic without a filter against aliasing. Departs from the code: sharpening, motion blur and
    what else :data:`~skiqa.degradations.REIQA` says of its operators. **Our choice**: batch and
    rate (published are LARS at rate 12 and 630 photos a step on 18 GPUs; here it is SGD as for all
    objectives, at MoCo v2's 0.03 for 256 queries); views from a window of four times their side,
    reflect-padded, not zero-padded, where the photo is smaller; BatchNorm of the momentum encoder
    by statistics that follow the network's, where the code shuffles batches between GPUs.

    Re-IQA's second expert, a network for content, is the encoder's `content_backbone`, or, where
    training starts from such weights, ``keep_start=True``.

    References
    ----------
    Saha, Mishra, Bovik, "Re-IQA: Unsupervised Learning for Image Quality Assessment in the Wild",
    CVPR 2023.

    Examples
    --------
    >>> from skiqa.objectives import Reiqa
    >>> Reiqa(n_degradations=3, half_scale=False)
    Reiqa(half_scale=False, n_degradations=3)
    """

    defaults_scratch = Defaults(batch_size=32, view_size=160, learning_rate=0.03, weight_decay=1e-4)
    defaults_pretrained = Defaults(
        batch_size=16, view_size=160, learning_rate=0.002, weight_decay=1e-4
    )
    has_queue = True
    starts_as_timm = False
    _parameter_constraints = Objective._parameter_constraints | {
        "bank": [str, Bank, tuple, list],
        "n_degradations": [Interval(Integral, 1, None, closed="left")],
        "half_scale": ["boolean"],
    }

    def __init__(
        self,
        *,
        temperature: float = 0.2,
        bank: BankLike = "reiqa",
        n_degradations: int = 11,
        half_scale: bool = True,
        queue_size: int = 65536,
        momentum: float = 0.999,
        projection_dim: int = 128,
    ) -> None:
        super().__init__(temperature=temperature, projection_dim=projection_dim)
        self.bank = bank
        self.n_degradations = n_degradations
        self.half_scale = half_scale
        self.queue_size = queue_size
        self.momentum = momentum

    @property
    def learning_rate_batch(self) -> float:
        """Photos a step that the rates are meant for: those that give 256 queries."""
        return 256 / ((1 + self.half_scale) * (1 + self.n_degradations))

    def window_size(self, view_size: int) -> int:
        """Return the side of the window that is cut from a photo."""
        return (4 if self.half_scale else 2) * view_size

    def views(
        self, windows: Tensor, indices: Tensor, authentic: Tensor, seeds: Tensor, view_size: int
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Degrade windows and cut them into overlapping queries and keys.

        Returns
        -------
        (queries, keys) : tensors of shape (k n, 3, view_size, view_size)
            k = (1 + half_scale) (1 + n_degradations); the window as it is first.
        indices : int tensor of shape (n,)
        """
        sequences = BankSpace(bank=self.bank).sample_distinct(seeds, self.n_degradations)
        draws = uniform(seeds, (2, 4), stream=1000)
        n_images = 1 + self.n_degradations
        n_swapped = n_images // 2  # at full scale of the first images, at half scale of the last
        pairs: list[tuple[Tensor, Tensor]] = []
        for d in range(n_images):
            image = windows
            if d:
                steps = [row[d - 1] for row in sequences]
                image = apply_sequences(windows, steps, spawn(seeds, d))
            pair = _overlapping_views(image, draws[:, 0], view_size)
            pairs.append(pair[::-1] if d < n_swapped else pair)
            if self.half_scale:
                image = halved_by_corners(image)
                pair = _overlapping_views(image, draws[:, 1], view_size)
                pairs.append(pair[::-1] if d >= n_images - n_swapped else pair)
        queries, keys = zip(*pairs, strict=True)
        return (torch.cat(queries), torch.cat(keys)), indices

    def loss(
        self, projections: Tensor, labels: Tensor, keys: Tensor, queue: Tensor, queue_labels: Tensor
    ) -> Tensor:
        """Return the loss of the queries' projections."""
        keys = keys[:, None]
        return info_nce(projections, keys, keys[:, :0], queue, self.temperature)


def halved_by_corners(images: Tensor) -> Tensor:
    """Return images (n, c, h, w) at half their size as the reference has them.

    Bicubic between the corners' centres, no average over what is removed: so fine texture aliases.
    """
    size = [max(1, side // 2) for side in images.shape[2:]]
    return F.interpolate(images, size=size, mode="bicubic", align_corners=True).clamp(0, 1)


def overlapping_corners(draws: Tensor, side: int, size: int) -> tuple[Tensor, Tensor]:
    """Place two squares in an image so that they share 10 to 30 % of their area.

    Parameters
    ----------
    draws : tensor of shape (n, 4) in [0, 1)
    side : int
        Of the image, at least 2 `size`.
    size : int
        Of the squares.

    Returns
    -------
    first, second : int64 tensors of shape (n, 2)
        Corners (row, column). The second lies y rows below and x columns right of the first: y
        uniform where rows alone leave an overlap in range, then x uniform where both do.
    """
    draws = draws.cpu().double()  # exact products, far below the next integer
    low, high = _OVERLAP
    least, most = math.ceil((1 - high) * size - 1e-9), math.ceil((1 - low) * size - 1e-9) - 1
    y = least + (draws[:, 0] * (most - least + 1)).floor()
    x = (draws[:, 1] * ((size - low * size**2 / (size - y) + 1e-9).floor() + 1)).floor()
    free = side - size - y  # x < y: the square around both has the side size + y
    first = (draws[:, 2:] * (free[:, None] + 1)).floor()
    return first.long(), (first + torch.stack([y, x], dim=1)).long()


def _overlapping_views(images: Tensor, draws: Tensor, size: int) -> tuple[Tensor, Tensor]:
    first, second = overlapping_corners(draws, images.shape[2], size)
    return cut_at_corners(images, first, size), cut_at_corners(images, second, size)
