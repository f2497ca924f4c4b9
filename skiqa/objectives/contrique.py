"""CONTRIQUE: contrastive image quality by predicting which degradation a patch suffered."""

from numbers import Integral, Real

import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from torch.nn import functional as F

from skiqa.degradations import KADIS
from skiqa.degradations._random import uniform
from skiqa.degradations.color import rgb_to_gray, rgb_to_hsv, rgb_to_lab
from skiqa.objectives._common import Projector, crop, draw_degradations, halved, patch_features
from skiqa.objectives._losses import nt_xent

COLOR_SPACES = ("gray", "lab", "hsv", "ms", "rgb")
PRISTINE = 125  # classes 0..124 are (type, level), 125 is pristine, authentic images follow


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
        "batch_size": 256, "view_size": 256, "learning_rate": 0.6, "weight_decay": 1e-4,
    }  # fmt: skip
    defaults_pretrained = {
        "batch_size": 64, "view_size": 160, "learning_rate": 0.002, "weight_decay": 1e-4,
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

    def window_size(self, view_size):
        """Return the side of the square that is cut from a photo: half of it fills a crop."""
        return 2 * view_size

    def head(self, n_features):
        """Return what is trained beside the network: the projector."""
        return Projector(n_features, self.projection_dim)

    def views(self, windows, indices, authentic, seeds, view_size):
        """Degrade windows and cut them into views.

        Parameters
        ----------
        windows : tensor of shape (n, 3, 2 * view_size, 2 * view_size) in [0, 1]
            A random part of each photo.
        indices : int tensor of shape (n,)
            Which photo it is: the class of one that is left alone.
        authentic : int tensor of shape (n,)
            1: degraded by life, left alone; 0: pristine, degraded (or, with probability 1/126,
            shown as the pristine class); -1: unknown, degraded or left alone with equal chance.
        seeds : int64 tensor of shape (n,)
            One for each photo; everything random follows from it.
        view_size : int
            Side of a view.

        Returns
        -------
        views : tensor of shape (2 n, 3, view_size, view_size)
            First views of all photos, then the second ones.
        labels : int64 tensor of shape (n,)
        """
        draw = uniform(seeds, (10,), stream=1000)  # n x what is drawn once for each photo
        types, levels, alone = draw_degradations(authentic, draw[:, :3])
        labels = torch.where(types < 0, PRISTINE, types * 5 + levels - 1)
        labels = torch.where(alone, PRISTINE + 1 + indices, labels)
        degraded = KADIS.apply(windows, types, levels, seeds, normalize=self.normalize)

        full = crop(degraded, draw[:, 3:5], view_size)
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
