"""ARNIQA: two photos under the same degradations attract; their half-scale twins repel."""

from numbers import Integral, Real

import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

from skiqa.degradations import Space, get_space
from skiqa.degradations._random import spawn, uniform
from skiqa.objectives._common import PlainProjector, average, crop, halved
from skiqa.objectives._losses import nt_xent


class Arniqa(BaseEstimator):
    """ARNIQA's objective: two photos under the same sequence of degradations attract.

    The photos of a batch go in pairs. A sequence is drawn for each pair and applied to a crop of
    each photo at full scale and one at half scale. The two at full scale attract each other, the
    two at half scale likewise, and all else repels: above all the half-scale twin, which shows
    the same photo and sequence, so that the scale must be seen.

    Parameters
    ----------
    temperature : float in (0, inf), default=0.1
        Temperature of the loss.
    space : {"arniqa", "contrique", "qpt", "reiqa"} or Space, default="arniqa"
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
    the half-scale crop shows the window that the full-scale crop lies in, not another part of the
    photo; the schedule is the same as for all objectives, without restarts; no labels choose the
    epoch; BatchNorm keeps the statistics of the weights that training starts from. Photos
    degraded by life are treated as all others. As published, random numbers of a sequence, such as
    noise, are drawn for each crop anew, and two pairs that get the same sequence by chance repel.

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

    defaults_scratch = {
        "batch_size": 32, "view_size": 224, "learning_rate": 0.03, "weight_decay": 1e-4,
    }  # fmt: skip
    defaults_pretrained = {
        "batch_size": 32, "view_size": 224, "learning_rate": 0.001, "weight_decay": 1e-4,
    }  # fmt: skip
    _parameter_constraints = {
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "space": [str, Space],
        "projection_dim": [Interval(Integral, 1, None, closed="left")],
    }
    learning_rate_batch = 32

    def __init__(self, *, temperature=0.1, space="arniqa", projection_dim=128):
        self.temperature = temperature
        self.space = space
        self.projection_dim = projection_dim

    def window_size(self, view_size):
        """Return the side of the square that is cut from a photo: half of it fills a crop."""
        return 2 * view_size

    def head(self, n_features):
        """Return what is trained beside the network: the projector."""
        return PlainProjector(n_features, self.projection_dim)

    def views(self, windows, indices, authentic, seeds, view_size):
        """Cut windows into crops of two scales and degrade pairs of photos alike.

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
        full = crop(windows, uniform(seeds, (2,), stream=1000), view_size)
        half = halved(windows, "bicubic").clamp(0, 1)
        views = [space.apply(x, sequences, spawn(seeds, k)) for k, x in enumerate((full, half))]
        return torch.cat(views), indices[:m:2].repeat_interleave(2)

    def pool(self, maps):
        """Return the mean of each map, L2-normed: the projector's input."""
        return torch.nn.functional.normalize(average(maps), dim=1)

    def loss(self, projections, labels):
        """Return the loss: each row has one positive, its partner at its scale."""
        return nt_xent(projections, torch.cat([2 * labels, 2 * labels + 1]), self.temperature)
