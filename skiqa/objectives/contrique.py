"""CONTRIQUE: contrastive image quality by predicting which degradation a patch suffered."""

from numbers import Integral, Real

import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn
from torch.nn import functional as F

from skiqa.degradations import KADIS
from skiqa.degradations._random import uniform
from skiqa.degradations.color import rgb_to_gray, rgb_to_hsv, rgb_to_lab
from skiqa.objectives._common import at_least_float32, crop, halved

COLOR_SPACES = ("gray", "lab", "hsv", "ms", "rgb")
PRISTINE = 125  # classes 0..124 are (type, level), 125 is pristine, authentic images follow


def nt_xent(projections, labels, temperature=0.1):
    """Return the multi-positive normalised temperature-scaled cross entropy.

    The "out" form of the supervised contrastive loss, in float32 (float64 if that comes in).

    Parameters
    ----------
    projections : tensor of shape (n, d), n >= 2
        One row for each patch; normalised here.
    labels : int tensor of shape (n,)
        Rows of equal label attract, all others repel. A row without a partner adds nothing but
        its repulsion and is left out of the mean.
    temperature : float in (0, inf), default=0.1

    Returns
    -------
    tensor, scalar
        log(n - 1) when all projections are equal. Lowest about mean_i log |P(i)|.

    Notes
    -----
    With zhat_i = z_i / |z_i|, s_ij = zhat_i . zhat_j / t and P(i) = {j != i: c(j) = c(i)},
    L = 1/n sum_i [log sum_{j != i} exp(s_ij) - 1/|P(i)| sum_{j in P(i)} s_ij]
    (Madhusudana et al., IEEE TIP 2022, eq. 2). O(n^2) memory.

    Examples
    --------
    >>> import torch
    >>> from skiqa.objectives.contrique import nt_xent
    >>> round(float(nt_xent(torch.ones(8, 4), torch.zeros(8))), 4)  # log 7
    1.9459
    """
    return weighted_nt_xent(projections, labels[:, None] == labels[None, :], temperature)


def weighted_nt_xent(projections, weights, temperature=0.1):
    """Return the temperature-scaled cross entropy whose positives have weights.

    In float32 (float64 if that comes in).

    Parameters
    ----------
    projections : tensor of shape (n, d), n >= 2
        Normalised here.
    weights : tensor of shape (n, n), >= 0, or bool
        How much row i is attracted to row j, relative to the others of the row; the diagonal is
        not looked at. A row of zeros is left out of the mean.
    temperature : float in (0, inf), default=0.1

    Returns
    -------
    tensor, scalar
        Never below the mean entropy of the rows of p.

    Notes
    -----
    L = -1/n sum_i sum_{j != i} p_ij log [exp(s_ij) / sum_{k != i} exp(s_ik)], with s as in
    :func:`nt_xent` and p_ij = w_ij / sum_{k != i} w_ik. With weights of 0 and 1, the loss of
    CONTRIQUE. O(n^2) memory.

    Examples
    --------
    >>> import torch
    >>> from skiqa.objectives import weighted_nt_xent
    >>> round(float(weighted_nt_xent(torch.ones(8, 4), torch.rand(8, 8))), 4)  # log 7
    1.9459
    """
    z = F.normalize(at_least_float32(projections), dim=1)
    with torch.autocast(z.device.type, enabled=False):  # else the products round to 8 bits
        s = torch.einsum("id,jd->ij", z, z) / temperature  # i, j = rows, d = projection
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    weights = weights.to(z.dtype).masked_fill(itself, 0.0)
    total = weights.sum(dim=1)
    paired = total > 0
    everyone = s.masked_fill(itself, -torch.inf).logsumexp(dim=1)
    attraction = (weights * s).sum(dim=1) / torch.where(paired, total, 1.0)
    return torch.where(paired, everyone - attraction, 0.0).sum() / paired.sum().clamp(min=1)


def to_color_space(images, which):
    """Show images in one of CONTRIQUE's five colour spaces, each channel scaled to [0, 1].

    Parameters
    ----------
    images : tensor of shape (n, 3, h, w) in [0, 1], RGB
    which : {"gray", "lab", "hsv", "ms", "rgb"}
        "lab" is scaled as 8-bit ICC Lab (L / 100, (a + 128) / 255, (b + 128) / 255); "ms" is
        the mean-subtracted image: 7 Gaussian taps, sigma 7/6, then min-max of the whole image.

    Returns
    -------
    tensor of shape (n, 3, h, w) in [0, 1]
    """
    if which == "rgb":
        return images
    if which == "gray":
        return rgb_to_gray(images).expand(-1, 3, -1, -1)
    if which == "hsv":
        return rgb_to_hsv(images)
    if which == "lab":
        lightness, a, b = rgb_to_lab(images).unbind(1)
        return torch.stack(
            [lightness / 100, (a + 128) / 255, (b + 128) / 255], dim=1
        ).clamp(0, 1)  # fmt: skip
    if which != "ms":
        raise ValueError(f"{which!r} is no colour space; choose from {COLOR_SPACES}.")
    centred = images - _local_mean(images)
    low = centred.amin(dim=(1, 2, 3), keepdim=True)
    spread = centred.amax(dim=(1, 2, 3), keepdim=True) - low
    return (centred - low) / (spread + 1e-3 / 255)


def _local_mean(images):
    """Gaussian window of 7 taps, sigma 7/6, reflecting at the borders; separable."""
    taps = torch.arange(-3.0, 4.0, device=images.device)
    taps = torch.exp(-(taps**2) / (2 * (7 / 6) ** 2))
    taps = (taps / taps.sum()).expand(images.shape[1], 1, 1, 7)  # one filter for each channel
    padded = F.pad(images, (3, 3, 3, 3), mode="reflect")
    rows = F.conv2d(padded, taps, groups=images.shape[1])
    return F.conv2d(rows, taps.transpose(2, 3), groups=images.shape[1])


class Projector(nn.Sequential):
    """Linear - BatchNorm - ReLU - Linear - BatchNorm, no biases: the paper's projector."""

    def __init__(self, n_features, n_outputs):
        super().__init__(
            nn.Linear(n_features, n_features, bias=False),
            nn.BatchNorm1d(n_features),
            nn.ReLU(),
            nn.Linear(n_features, n_outputs, bias=False),
            nn.BatchNorm1d(n_outputs),
        )


class Contrique(BaseEstimator):
    """CONTRIQUE's objective: patches of one degradation type and level attract.

    Two views of every image, one at full and one at half scale, give 2 x 2 patches each. Patches
    of images with the same degradation type and level are one class; every image that is not
    degraded by us is a class of its own.

    Parameters
    ----------
    temperature : float in (0, inf), default=0.1
        Temperature of the loss.
    color_spaces : tuple of {"gray", "lab", "hsv", "ms", "rgb"}
        Each view is shown in one of them, drawn uniformly. The default is the reference code's.
    normalize : {"kadis", None}, default="kadis"
        The min-max stretch of KADIS before and after each degradation, or none.
    projection_dim : int, default=128
        Width of the projection.

    References
    ----------
    Madhusudana, Birkbeck, Wang, Adsumilli, Bovik, "Image Quality Assessment using Contrastive
    Learning", IEEE TIP 31, 2022. The reference decays the weights of some BatchNorm layers by a
    slip of its name filter; here none is decayed.

    Examples
    --------
    >>> from skiqa.objectives import Contrique
    >>> Contrique(temperature=0.2)
    Contrique(temperature=0.2)
    """

    # Published for training from scratch (512 images a step). From trained weights our choice:
    # small, as all rates tried on the bundled ones lowered their probe in the end (see their card).
    defaults_scratch = {
        "batch_size": 256, "crop_size": 256, "learning_rate": 0.6, "weight_decay": 1e-4,
    }  # fmt: skip
    defaults_pretrained = {
        "batch_size": 64, "crop_size": 160, "learning_rate": 0.002, "weight_decay": 1e-4,
    }  # fmt: skip
    _parameter_constraints = {
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "color_spaces": [tuple, list],
        "normalize": [StrOptions({"kadis"}), None],
        "projection_dim": [Interval(Integral, 1, None, closed="left")],
    }
    grid = 2  # patches along each side of a view
    learning_rate_batch = 512  # images per step that the learning rates are stated for

    def __init__(self, *, temperature=0.1, color_spaces=COLOR_SPACES, normalize="kadis",
                 projection_dim=128):  # fmt: skip
        self.temperature = temperature
        self.color_spaces = color_spaces
        self.normalize = normalize
        self.projection_dim = projection_dim

    def _validate_params(self):
        super()._validate_params()
        unknown = [name for name in self.color_spaces if name not in COLOR_SPACES]
        if unknown or not len(self.color_spaces):
            raise ValueError(
                f"color_spaces={self.color_spaces!r}: give one or more of {COLOR_SPACES}."
            )

    def window_size(self, crop_size):
        """Return the side of the square that is cut from a photo: half of it fills a crop."""
        return 2 * crop_size

    def head(self, n_features):
        """Return what is trained beside the network: the projector."""
        return Projector(n_features, self.projection_dim)

    def views(self, windows, indices, authentic, seeds, crop_size):
        """Degrade windows and cut them into views.

        Parameters
        ----------
        windows : tensor of shape (n, 3, 2 * crop_size, 2 * crop_size) in [0, 1]
            A random part of each photo.
        indices : int tensor of shape (n,)
            Which photo it is: the class of one that is left alone.
        authentic : int tensor of shape (n,)
            1: degraded by life, left alone; 0: pristine, degraded (or, with probability 1/126,
            shown as the pristine class); -1: unknown, degraded or left alone with equal chance.
        seeds : int64 tensor of shape (n,)
            One for each photo; everything random follows from it.
        crop_size : int
            Side of a view.

        Returns
        -------
        views : tensor of shape (2 n, 3, crop_size, crop_size)
            First views of all photos, then the second ones.
        labels : int64 tensor of shape (n,)
        """
        draw = uniform(seeds, (10,), stream=1000)  # n x what is drawn once for each photo
        types, levels, alone = draw_degradations(authentic, draw[:, :3])
        labels = torch.where(types < 0, PRISTINE, types * 5 + levels - 1)
        labels = torch.where(alone, PRISTINE + 1 + indices, labels)
        degraded = KADIS.apply(windows, types, levels, seeds, normalize=self.normalize)

        full = crop(degraded, draw[:, 3:5], crop_size)
        half = halved(degraded)
        swap = (draw[:, 5] < 0.5)[:, None, None, None]  # which comes first is random
        pair = [torch.where(swap, half, full), torch.where(swap, full, half)]
        for v, view in enumerate(pair):
            view = torch.where((draw[:, 6 + v] < 0.5)[:, None, None, None], view.flip(3), view)
            pair[v] = self._in_color_spaces(view, draw[:, 8 + v])
        return torch.cat(pair), labels

    def _in_color_spaces(self, view, draw):
        chosen = (draw * len(self.color_spaces)).long().clamp(max=len(self.color_spaces) - 1)
        shown = torch.empty_like(view)
        for k, name in enumerate(self.color_spaces):
            members = (chosen == k).nonzero()[:, 0]
            if len(members):
                shown[members] = to_color_space(view[members], name)
        return shown

    def pool(self, maps):
        """Return the features of 2 x 2 patches of each map, (4 n, c): the projector's input."""
        return patch_features(maps, self.grid)

    def loss(self, projections, labels):
        """Return the loss of the projections of all patches of all views."""
        labels = labels.repeat(2).repeat_interleave(self.grid**2)
        return nt_xent(projections, labels, self.temperature)


def draw_degradations(authentic, draw, n_types=25):
    """Draw type and level of each photo, or leave it alone.

    Parameters
    ----------
    authentic : int tensor of shape (n,)
        As in :meth:`Contrique.views`.
    draw : tensor of shape (n, 3) in [0, 1)
    n_types : int, default=25

    Returns
    -------
    types : int64 tensor of shape (n,)
        -1: not degraded.
    levels : int64 tensor of shape (n,), 1..5
    alone : bool tensor of shape (n,)
        Not degraded because it is, or may be, degraded by life.
    """
    alone = torch.where(authentic < 0, draw[:, 0] < 0.5, authentic > 0)
    pristine = (authentic == 0) & (draw[:, 0] < 1 / (5 * n_types + 1))
    types = (draw[:, 1] * n_types).long().clamp(max=n_types - 1)
    levels = (draw[:, 2] * 5).long().clamp(max=4) + 1
    return torch.where(alone | pristine, -1, types), levels, alone


def patch_features(maps, grid=2):
    """Average a map over a grid of patches, L2-norm each: (n, c, h, w) -> (n * grid^2, c)."""
    pooled = F.adaptive_avg_pool2d(at_least_float32(maps), grid)  # n c g g
    return F.normalize(pooled.flatten(2).transpose(1, 2).flatten(0, 1), dim=1)  # row-major patches
