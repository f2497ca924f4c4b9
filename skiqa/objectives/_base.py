"""Objective: what every training objective defines, and what it inherits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Any, ClassVar, TypeAlias, TypedDict

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval
from torch import Tensor, nn

from skiqa._unpickling import DefaultsWhenUnpickled
from skiqa.objectives._common import PlainProjector, average

# The views of a batch; with a momentum encoder those of the queries and those of the keys.
Views: TypeAlias = "Tensor | tuple[Tensor, Tensor]"


class Defaults(TypedDict):
    """The encoder's parameters that are the objective's own where they are None."""

    batch_size: int
    view_size: int
    learning_rate: float
    weight_decay: float


class Objective(DefaultsWhenUnpickled, BaseEstimator, ABC):
    """What all objectives share; an objective of one's own defines `views` and `loss`.

    Objectives hold parameters only: they can be cloned, pickled and searched over
    (``objective__temperature``). Their values are checked when an encoder is fitted. An instance is
    given to :class:`~skiqa.ContrastiveQualityEncoder` as ``objective``.

    Parameters
    ----------
    temperature : float in (0, inf), default=0.1
        Temperature of the loss.
    projection_dim : int in [1, inf), default=128
        Width of the projection.

    Attributes
    ----------
    defaults_scratch, defaults_pretrained : dict
        ``batch_size``, ``view_size``, ``learning_rate`` and ``weight_decay`` of a training from
        random and from trained weights, where the encoder's own are None. Here MoCo v2's, and
        gentle ones.
    learning_rate_batch : float
        Photos a step that these learning rates are meant for.
    grid : int
        Patches along each side of a view that `pool` makes rows of.
    fills_windows : bool
        Whether a photo smaller than the window is mirrored at its borders until it fills it. If
        not, `views` is given as much of each photo as the window holds, and, where these differ in
        shape, a list of tensors (3, h, w).
    starts_as_timm : bool
        Whether a network from random weights begins as timm has it: photos normalised by the mean
        and deviation that it states, the last BatchNorm scale of residual blocks at zero. If not,
        it is given pixels in [0, 1] as they are, and all scales are one.
    has_queue : bool
        Whether keys come from a momentum encoder, and those of earlier steps from a queue. Such an
        objective also has the parameters ``queue_size`` and ``momentum``.

    Notes
    -----
    With a queue, `views` returns a pair (queries, keys) instead of the views, both laid out as
    these, each view one row, and the loss is called as ``loss(projections, labels, keys, queue,
    queue_labels)``: the keys of this step and, with their photos' labels, those of earlier ones.

    Examples
    --------
    >>> import torch
    >>> from skiqa.objectives import Objective, nt_xent
    >>> class Corners(Objective):
    ...     "Two corners of a photo attract, other photos repel."
    ...
    ...     def views(self, windows, indices, authentic, seeds, view_size):
    ...         first = windows[..., :view_size, :view_size]
    ...         second = windows[..., -view_size:, -view_size:]
    ...         return torch.cat([first, second]), indices
    ...
    ...     def loss(self, projections, labels):
    ...         return nt_xent(projections, labels.repeat(2), self.temperature)
    >>> Corners(temperature=0.2)
    Corners(temperature=0.2)
    """

    defaults_scratch: ClassVar[Defaults] = Defaults(
        batch_size=256, view_size=160, learning_rate=0.03, weight_decay=1e-4
    )
    defaults_pretrained: ClassVar[Defaults] = Defaults(
        batch_size=64, view_size=160, learning_rate=0.002, weight_decay=1e-4
    )
    grid: ClassVar[int] = 1
    fills_windows: ClassVar[bool] = True
    starts_as_timm: ClassVar[bool] = True
    has_queue: ClassVar[bool] = False
    queue_size: int  # of those with a queue alone, as the next one
    momentum: float
    # of parameters that an objective does not have nothing is asked
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "projection_dim": [Interval(Integral, 1, None, closed="left")],
        "queue_size": [Interval(Integral, 1, None, closed="left")],
        "momentum": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, *, temperature: float = 0.1, projection_dim: int = 128) -> None:
        self.temperature = temperature
        self.projection_dim = projection_dim

    @property
    def learning_rate_batch(self) -> float:
        """Photos a step that the learning rates are meant for."""
        return 256

    @abstractmethod
    def views(
        self, windows: Tensor, indices: Tensor, authentic: Tensor, seeds: Tensor, view_size: int
    ) -> tuple[Views, Tensor]:
        """Degrade windows and cut them into views.

        Parameters
        ----------
        windows : tensor of shape (n, 3, s, s) in [0, 1], s = ``window_size(view_size)``
            A random square of each photo. They are not changed. Without `fills_windows` they may
            have any sides up to s.
        indices : int tensor of shape (n,)
            Which photo it is.
        authentic : int tensor of shape (n,)
            1: degraded by life; 0: pristine; -1: unknown.
        seeds : int64 tensor of shape (n,)
            One for each photo; everything random follows from it.
        view_size : int
            Side of a view.

        Returns
        -------
        views : tensor of shape (v * n, 3, view_size, view_size)
            The first views of all photos, then the second ones, and so on.
        labels : tensor of shape (n, ...)
            For each photo what the loss is to know.
        """

    @abstractmethod
    def loss(self, projections: Tensor, labels: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the loss, a scalar.

        Parameters
        ----------
        projections : tensor of shape (m, d)
            Of all views, in their order: what `head` makes of the rows of `pool`.
        labels : tensor of shape (n, ...)
            As `views` returned them.
        *args, **kwargs
            ``keys, queue, queue_labels``, where the objective has a queue.
        """

    def window_size(self, view_size: int) -> int:
        """Return the side of the window that is cut from a photo: half of it fills a view."""
        return 2 * view_size

    def pool(self, maps: Tensor) -> Tensor:
        """Turn the network's last maps of views, (m, c, h, w), into rows for the projector.

        Here the mean of each map, (m, c). Where a view gives several rows, they lie together.
        """
        return average(maps)

    def head(self, n_features: int) -> nn.Module:
        """Return what is trained behind the network: the projector."""
        return PlainProjector(n_features, self.projection_dim)

    def plateau(self, n: int) -> float | None:
        """Return the loss of features that are all equal, with n photos a step.

        What a network has that sees nothing. None: it is no one number, as where a queue fills.
        """
        return None
