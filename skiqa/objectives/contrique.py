"""CONTRIQUE: contrastive image quality by predicting which degradation a patch suffered."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from numbers import Integral

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from skiqa.degradations import KADIS
from skiqa.degradations._random import uniform
from skiqa.objectives._base import Defaults, Objective
from skiqa.objectives._color_spaces import ALL_COLOR_SPACES, COLOR_SPACES, to_color_space
from skiqa.objectives._common import (
    Projector,
    crop_or_pad,
    draw_degradations,
    halved,
    patch_features,
)
from skiqa.objectives._losses import nt_xent


class Contrique(Objective):
    """CONTRIQUE's objective: patches of one degradation type and level attract.

    Two views of every image, one at full and one at half scale, give 2 x 2 patches each. Patches
    of images with the same degradation type and level are one class; every image that is not
    degraded by us is a class of its own.

    Parameters
    ----------
    temperature : float in (0, inf), default=0.1
        Temperature of the loss.
    color_spaces : tuple of {"gray", "lab", "hsv", "ms", "rgb", "lab_offset"}
        Each view is shown in one of them, drawn uniformly. The default is the reference code's:
        all but "lab_offset". Its "lab" has a* and b* in two's complement, Pillow's bytes as they
        are, which jump at neutral grey; "lab_offset", ours, does not. "ms": the local mean is
        subtracted, then each channel is stretched to [0, 1].
    normalize : {"kadis", None}, default="kadis"
        The min-max stretch of KADIS before and after each degradation, or none.
    window_scale : int in [2, inf) or None, default=2
        A photo larger than so many views a side is cut to a random square of that size before it
        is degraded. None: never, as in the reference, which degrades whole photos.
    projection_dim : int, default=128
        Width of the projection.

    Notes
    -----
    As in the reference, the degradation and its min-max see the photo, not the view; of what they
    give one view is cut at full and one at half scale, each at a place of its own; where a side is
    too short for a view, the middle is taken, with zeros around it.

    Departs from the reference: degradations are drawn anew each time, not rendered once, and
    views are not rounded to 8 bits. With the default `window_scale` and views of 256 pixels, photos
    of KADIS-700k (512 x 384) are degraded whole; of larger ones a square of 512 pixels is, and its
    half view is all of it, and so holds the full one. ``window_scale=None`` takes the time and
    memory of whole photos: see the encoder's `max_pixels`. The reference decays the weights of
    some BatchNorm layers by a slip of its name filter; here none is decayed.

    References
    ----------
    Madhusudana, Birkbeck, Wang, Adsumilli, Bovik, "Image Quality Assessment using Contrastive
    Learning", IEEE TIP 31, 2022.

    Examples
    --------
    >>> from skiqa.objectives import Contrique
    >>> Contrique(temperature=0.2)
    Contrique(temperature=0.2)
    """

    # Published for training from scratch (512 images a step). From trained weights our choice:
    # small, as all rates tried on the bundled ones lowered their probe in the end (see their card).
    defaults_scratch = Defaults(batch_size=256, view_size=256, learning_rate=0.6, weight_decay=1e-4)
    _parameter_constraints = Objective._parameter_constraints | {
        "color_spaces": [tuple, list],
        "normalize": [StrOptions({"kadis"}), None],
        "window_scale": [Interval(Integral, 2, None, closed="left"), None],
    }
    fills_windows = False  # nothing mirrored is degraded
    starts_as_timm = False
    grid = 2  # patches along each side of a view
    learning_rate_batch = 512  # images per step that the learning rates are stated for

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        color_spaces: Sequence[str] = COLOR_SPACES,
        normalize: str | None = "kadis",
        window_scale: int | None = 2,
        projection_dim: int = 128,
    ) -> None:
        super().__init__(temperature=temperature, projection_dim=projection_dim)
        self.color_spaces = color_spaces
        self.normalize = normalize
        self.window_scale = window_scale

    def _validate_params(self) -> None:
        super()._validate_params()
        unknown = [name for name in self.color_spaces if name not in ALL_COLOR_SPACES]
        if unknown or not len(self.color_spaces):
            raise ValueError(
                f"color_spaces={self.color_spaces!r}: give one or more of {ALL_COLOR_SPACES}."
            )

    def head(self, n_features: int) -> nn.Module:
        """Return what is trained behind the network: the projector."""
        return Projector(n_features, self.projection_dim)

    def window_size(self, view_size: int) -> int:
        """Return the largest side of what is degraded."""
        return sys.maxsize if self.window_scale is None else self.window_scale * view_size

    def views(
        self,
        windows: Tensor | Sequence[Tensor],
        indices: Tensor,
        authentic: Tensor,
        seeds: Tensor,
        view_size: int,
    ) -> tuple[Tensor, Tensor]:
        """Degrade windows and cut them into views.

        Photos that are degraded by life are left alone; pristine ones are degraded, or, with
        probability 1/126, shown as the pristine class; of unknown ones half are left alone.

        Returns
        -------
        views : tensor of shape (2 n, 3, view_size, view_size)
            First views of all photos, then the second ones.
        labels : int64 tensor of shape (n,)
        """
        draw = uniform(seeds, (12,), stream=1000)  # n x what is drawn once for each photo
        types, levels, alone = draw_degradations(authentic, draw[:, :3], KADIS)
        # behind the classes of the bank each photo that is left alone has one of its own
        labels = torch.where(alone, KADIS.n_classes + indices, KADIS.class_index(types, levels))
        full = torch.empty(len(windows), 3, view_size, view_size, device=windows[0].device)
        half = torch.empty_like(full)
        for members in _of_one_shape(windows):
            same = torch.stack([windows[i] for i in members])
            own, place = torch.tensor(members), torch.tensor(members, device=draw.device)
            kinds, degrees, own_seeds = (x.cpu()[own] for x in (types, levels, seeds))
            degraded = KADIS.apply(same, kinds, degrees, own_seeds, normalize=self.normalize)
            full[place] = crop_or_pad(degraded, draw[place, 3:5], view_size)
            half[place] = crop_or_pad(halved(degraded), draw[place, 10:12], view_size)
        swap = (draw[:, 5] < 0.5)[:, None, None, None]  # which comes first is random
        pair = [torch.where(swap, half, full), torch.where(swap, full, half)]
        for v, view in enumerate(pair):
            view = torch.where((draw[:, 6 + v] < 0.5)[:, None, None, None], view.flip(3), view)
            pair[v] = self._in_color_spaces(view, draw[:, 8 + v])
        return torch.cat(pair), labels

    def _in_color_spaces(self, view: Tensor, draw: Tensor) -> Tensor:
        chosen = (draw * len(self.color_spaces)).long().clamp(max=len(self.color_spaces) - 1)
        shown = torch.empty_like(view)
        for k, name in enumerate(self.color_spaces):
            members = (chosen == k).nonzero()[:, 0]
            if len(members):
                shown[members] = to_color_space(view[members], name)
        return shown

    def pool(self, maps: Tensor) -> Tensor:
        """Return the features of 2 x 2 patches of each map, (4 n, c): the projector's input."""
        return patch_features(maps, self.grid)

    def loss(self, projections: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the projections of all patches of all views."""
        labels = labels.repeat(2).repeat_interleave(self.grid**2)
        return nt_xent(projections, labels, self.temperature)

    def plateau(self, n: int) -> float:
        """Return the loss of features that are all equal, with n photos a step."""
        return math.log(2 * n * self.grid**2 - 1)


def _of_one_shape(windows: Tensor | Sequence[Tensor]) -> list[list[int]]:
    """Return which windows have the same shape."""
    members: dict[tuple[int, ...], list[int]] = {}
    for i, window in enumerate(windows):
        members.setdefault(tuple(window.shape), []).append(i)
    return list(members.values())
