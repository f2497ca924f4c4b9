"""The register of degradations: what an operator is, how one is added, found and applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from skiqa.degradations._batching import PerSample, as_samples, check_images

__all__ = ["FAMILIES", "N_LEVELS", "Operator", "get_operator", "list_operators", "register"]

N_LEVELS = 5

# QPT's three families. Which operator belongs to which it does not disclose: our choice, by group,
# and by the operator's own word where its group does not fit.
FAMILIES = ("geometric", "color", "texture")
_FAMILY_OF_GROUP = {"spatial": "geometric", "color": "color", "brightness": "color"}


@dataclass(frozen=True)
class Operator:
    """A named degradation with five levels.

    Calling it, ``operator(images, levels, seeds)``, degrades a batch. Operators are made by
    :func:`register` and found by :func:`get_operator`.

    Parameters
    ----------
    name : str
        Unique name, in lower case with underscores.
    group : str
        "blur", "color", "compression", "noise", "brightness", "spatial", "sharpness", or one of
        your own.
    function : callable
        ``function(images, value, *, clip)``, or ``function(images, value, seeds, *, clip)`` if
        `random`, on a float32 batch (N, 3, H, W) and one value per sample.
    levels : tuple of 5 float
        The value that `function` gets at level 1, 2, 3, 4, 5.
    monotone : bool
        Whether a higher level degrades more. False for mean shift and contrast change, which
        run from more to less.
    random : bool
        Whether the outcome depends on a seed.
    source : str
        Where definition and levels come from.
    family : {None, "geometric", "color", "texture"}
        Family in the sense of QPT. None: "geometric" for the group "spatial", "color" for "color"
        and "brightness", "texture" for any other.
    """

    name: str
    group: str
    function: Callable[..., torch.Tensor]
    levels: tuple[float, ...]
    monotone: bool = True
    random: bool = False
    source: str = ""
    family: str | None = None

    def __post_init__(self) -> None:
        if self.family is None:
            object.__setattr__(self, "family", _FAMILY_OF_GROUP.get(self.group, "texture"))
        if self.family not in FAMILIES:
            raise ValueError(
                f"{self.name}: family {self.family!r} is none of {', '.join(FAMILIES)}."
            )

    def __call__(
        self, images: torch.Tensor, levels: PerSample, seeds: PerSample = 0, *, clip: bool = True
    ) -> torch.Tensor:
        """Degrade a batch.

        Parameters
        ----------
        images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
            RGB images. They are not changed.
        levels : int or int64 tensor of shape (N,), 1..5
            Level of every sample.
        seeds : int or int64 tensor of shape (N,), default=0
            Seed of every sample. Ignored unless the operator is random.
        clip : bool, default=True
            Clip to [0, 1] what the definition itself leaves outside.

        Returns
        -------
        torch.Tensor of shape (N, 3, H, W), float32
            The degraded images, on the same device.
        """
        check_images(images)
        levels = check_levels(levels, len(images), self.name)
        values = torch.tensor(self.levels, dtype=torch.float64)[levels - 1]
        if self.random:
            return self.function(images, values, seeds, clip=clip)
        return self.function(images, values, clip=clip)


def check_levels(levels: PerSample, n_samples: int, name: str) -> torch.Tensor:
    """Levels as an int64 tensor (n_samples,) on the CPU, each in 1..5."""
    levels = as_samples(levels, n_samples, torch.int64, f"{name}: levels").cpu()
    bad = torch.nonzero((levels < 1) | (levels > N_LEVELS))
    if len(bad):
        i = int(bad[0])
        raise ValueError(f"{name}: level {int(levels[i])} at index {i} is not in 1..{N_LEVELS}.")
    return levels


_OPERATORS: dict[str, Operator] = {}
_Function = TypeVar("_Function", bound=Callable[..., torch.Tensor])


def register(
    name: str,
    *,
    group: str,
    levels: Sequence[float],
    monotone: bool = True,
    random: bool = False,
    source: str = "",
    family: str | None = None,
) -> Callable[[_Function], _Function]:
    """Register a function as a degradation; a decorator.

    From then on its name stands for it everywhere: in :func:`get_operator`, :func:`degrade` and
    the text of sequences, in banks and spaces that name it, in the bank "all", in the gallery of
    :mod:`skiqa.inspection`, and at the prompt, in ``skiqa degrade --register FILE``.

    Parameters
    ----------
    name, group, levels, monotone, random, source, family
        See :class:`Operator`.

    Returns
    -------
    callable
        Registers the function that it is given, and returns it as it was.

    Raises
    ------
    ValueError
        If the name is taken or there are not five levels.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations import batched, get_operator, register
    >>> @register("fog", group="weather", levels=(0.1, 0.2, 0.3, 0.4, 0.5))
    ... @batched
    ... def fog(images, amount):
    ...     return images + amount * (1 - images)
    >>> get_operator("fog")(torch.zeros(1, 3, 2, 2), 5).max()
    tensor(0.5000)

    In a space of one's own, beside built-in operators:

    >>> from skiqa.degradations import ShuffleSpace
    >>> space = ShuffleSpace(bank=("fog", "gaussian_blur", "jpeg"))
    >>> space.degrade(torch.rand(2, 3, 32, 32), seeds=[0, 1]).shape
    torch.Size([2, 3, 32, 32])
    """
    values = tuple(levels)
    if len(values) != N_LEVELS:
        raise ValueError(f"{name}: five levels are needed, not {len(values)}.")
    if name in _OPERATORS:
        raise ValueError(f"A degradation named {name!r} is registered already.")

    def add(function: _Function) -> _Function:
        _OPERATORS[name] = Operator(name, group, function, values, monotone, random, source, family)
        return function

    return add


def get_operator(name: str | Operator) -> Operator:
    """The registered degradation of that name.

    Parameters
    ----------
    name : str or Operator
        An operator is returned as it is.

    Returns
    -------
    Operator

    Raises
    ------
    ValueError
        If there is none; the message lists those that exist.

    Examples
    --------
    >>> from skiqa.degradations import get_operator
    >>> get_operator("gaussian_blur").levels
    (0.1, 0.5, 1.0, 2.0, 5.0)
    """
    if isinstance(name, Operator):
        return name
    if not isinstance(name, str):
        raise TypeError(f"A degradation's name is a str, not {type(name).__name__}.")
    try:
        return _OPERATORS[name]
    except KeyError:
        raise ValueError(
            f"There is no degradation named {name!r}. There are: {', '.join(sorted(_OPERATORS))}."
        ) from None


def list_operators(group: str | None = None) -> list[str]:
    """Names of the registered degradations, in the order of registration.

    Parameters
    ----------
    group : str, default=None
        Only those of this group.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from skiqa.degradations import list_operators
    >>> "motion_blur" in list_operators("blur")
    True
    """
    if group is None:
        return list(_OPERATORS)
    names = [o.name for o in _OPERATORS.values() if o.group == group]
    if not names:
        groups = sorted({o.group for o in _OPERATORS.values()})
        raise ValueError(f"There is no group {group!r}. There are: {', '.join(groups)}.")
    return names
