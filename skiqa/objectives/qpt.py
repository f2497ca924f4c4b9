"""QPT: views of one degraded photo attract; its other degradations and other photos repel."""

from __future__ import annotations

from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval
from torch import Tensor

from skiqa.degradations import Space, get_space
from skiqa.degradations._random import spawn, uniform
from skiqa.degradations.sequences import Steps
from skiqa.objectives._base import Objective
from skiqa.objectives._common import cut_at_offsets
from skiqa.objectives._losses import info_nce

_DRAWS, _ATTEMPTS = 1000, 100  # children of a seed that sequences are drawn from; most redraws


class Qpt(Objective):
    """QPT's objective: views of one degraded photo attract, its other degradations repel.

    Each photo is degraded in 1 + `n_extra` different ways. A view of the first one is the query;
    `n_positives` other views of it are its positives; a view of each further one, and the keys of
    other photos from earlier steps, are its negatives. Keys are made by a momentum encoder.

    Parameters
    ----------
    temperature : float in (0, inf), default=0.2
        Temperature of the loss.
    space : {"qpt", "qpt_small", "arniqa", "contrique", "reiqa"} or Space, default="qpt"
        Where degradations are drawn from; "qpt" is
        :class:`~skiqa.degradations.ShuffleSpace`.
    n_positives : int in [1, inf), default=1
        Positive views of each photo.
    n_extra : int in [0, inf), default=1
        Further degradations of each photo, which repel.
    queue_size : int in [1, inf), default=65536
        Keys of earlier steps, but never more than an epoch gives; filled before the first one.
    momentum : float in [0, 1], default=0.999
        Of the encoder of the keys.
    projection_dim : int in [1, inf), default=128
        Width of the projection.

    Notes
    -----
    QPT has no public code. Certain, from its abstract, are what attracts and what repels, and the
    size of the degradation space, which ``space="qpt_small"`` has, too. **Our choice**: all else.
    Temperature, queue, momentum, projector, batch and rate from scratch are MoCo v2's; views are
    random squares of a window of twice their side, not mirrored; a photo's own keys from earlier
    epochs, which are in the queue where there are few photos, do not repel it; photos degraded by
    life are treated as all others. The loss is
    :func:`~skiqa.objectives.info_nce`.

    Two photos with the same degradation repel each other, the opposite of ARNIQA's choice.

    References
    ----------
    Zhao, Yuan, Sun, Li, Wen, "Quality-aware Pre-trained Models for Blind Image Quality
    Assessment", CVPR 2023. He, Fan, Wu, Xie, Girshick, "Momentum Contrast for Unsupervised Visual
    Representation Learning", CVPR 2020.

    Examples
    --------
    >>> from skiqa.objectives import Qpt
    >>> Qpt(n_extra=2)
    Qpt(n_extra=2)
    """

    has_queue = True
    _parameter_constraints = Objective._parameter_constraints | {
        "space": [str, Space],
        "n_positives": [Interval(Integral, 1, None, closed="left")],
        "n_extra": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        temperature: float = 0.2,
        space: str | Space = "qpt",
        n_positives: int = 1,
        n_extra: int = 1,
        queue_size: int = 65536,
        momentum: float = 0.999,
        projection_dim: int = 128,
    ) -> None:
        super().__init__(temperature=temperature, projection_dim=projection_dim)
        self.space = space
        self.n_positives = n_positives
        self.n_extra = n_extra
        self.queue_size = queue_size
        self.momentum = momentum

    def views(
        self, windows: Tensor, indices: Tensor, authentic: Tensor, seeds: Tensor, view_size: int
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Degrade windows and cut them into queries and keys; labels are the photos' indices.

        Returns
        -------
        (queries, keys) : tensors of shape (n, 3, view_size, view_size) and (k n, ...)
            k = n_positives + n_extra; positives first.
        indices : int tensor of shape (n,)
        """
        space = get_space(self.space)
        sequences = distinct_sequences(space, seeds, 1 + self.n_extra)
        offsets = uniform(seeds, (1 + self.n_positives + self.n_extra, 2), stream=1000)
        views: list[Tensor] = []
        for d in range(1 + self.n_extra):
            degraded = space.apply(windows, [row[d] for row in sequences], spawn(seeds, d))
            for _ in range(1 if d else 1 + self.n_positives):
                views.append(cut_at_offsets(degraded, offsets[:, len(views)], view_size))
        return (views[0], torch.cat(views[1:])), indices

    def loss(
        self, projections: Tensor, labels: Tensor, keys: Tensor, queue: Tensor, queue_labels: Tensor
    ) -> Tensor:
        """Return the loss of the queries' projections."""
        keys = keys.unflatten(0, (-1, len(labels))).transpose(0, 1)
        positives, negatives = keys.split([self.n_positives, self.n_extra], dim=1)
        own = labels[:, None] == queue_labels[None, :]
        return info_nce(projections, positives, negatives, queue, self.temperature, own)


def distinct_sequences(space: Space, seeds: Tensor, count: int) -> list[list[Steps]]:
    """Draw several different sequences for each seed.

    Parameters
    ----------
    space : Space
    seeds : int64 tensor of shape (n,)
    count : int

    Returns
    -------
    list of n lists of `count` sequences

    Raises
    ------
    ValueError
        If so many different ones do not turn up.
    """
    rows: list[list[Steps]] = [[] for _ in range(len(seeds))]
    for attempt in range(count + _ATTEMPTS):
        waiting = [i for i, row in enumerate(rows) if len(row) < count]
        if not waiting:
            return rows
        drawn = space.sample(spawn(seeds[waiting], _DRAWS + attempt))
        for i, sequence in zip(waiting, drawn, strict=True):
            if sequence not in rows[i]:
                rows[i].append(sequence)
    raise ValueError(
        f"{space!r} did not give {count} different degradations of a photo in "
        f"{count + _ATTEMPTS} draws: lower n_extra, or take a larger space."
    )
