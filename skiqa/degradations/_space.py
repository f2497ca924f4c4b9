"""The base class of degradation spaces, and what several of them need."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator

from skiqa._types import Integers
from skiqa._unpickling import DefaultsWhenUnpickled
from skiqa.degradations._batching import PerSample, check_images
from skiqa.degradations._random import uniform
from skiqa.degradations.bank import BankLike, get_bank
from skiqa.degradations.sequences import Steps, apply_sequences

__all__ = [
    "STREAM",
    "Draws",
    "Seeds",
    "Space",
    "as_seeds",
    "count_ordered_choices",
    "names_by",
    "pick",
]

STREAM = 2000  # of random numbers; operators draw from seeds of their own (spawn)

Seeds: TypeAlias = Sequence[int] | torch.Tensor
Draws: TypeAlias = npt.NDArray[np.float64]  # uniform in [0, 1), one row a sequence


class Space(DefaultsWhenUnpickled, BaseEstimator, ABC):
    """A distribution over sequences of degradations: the base class of all spaces.

    A subclass defines

    - ``__init__``, if it has parameters, which keeps them as they are, and
      ``_parameter_constraints``, by which scikit-learn checks them when the space is used;
    - :meth:`size`, how many sequences there are;
    - ``_n_draws()``, how many uniform numbers one sequence takes;
    - ``_sequences(draws)``, which turns such numbers, one row a sequence, into sequences.

    It inherits :meth:`sample`, :meth:`apply` and :meth:`degrade`: numbers are drawn here, by seed,
    so that what is drawn for an image does not depend on the batch. It holds parameters only, as
    objectives do, and can be cloned, pickled and searched over (``objective__space__p_skip``).

    Examples
    --------
    A space of one's own: JPEG at any level, or nothing at even odds.

    >>> from skiqa.degradations import Space
    >>> class JpegSpace(Space):
    ...     def size(self):
    ...         return 6
    ...
    ...     def _n_draws(self):
    ...         return 2
    ...
    ...     def _sequences(self, draws):
    ...         return [(("jpeg", 1 + int(5 * v)),) if u < 0.5 else () for u, v in draws]
    >>> len(set(JpegSpace().sample(range(100))))
    6
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def sample(self, seeds: Seeds) -> list[Steps]:
        """Draw one sequence for each seed.

        Parameters
        ----------
        seeds : int64 tensor of shape (N,), or sequence of int
            What is drawn for a seed is the same whatever stands beside it.

        Returns
        -------
        list of N tuples of (str, int)
            Steps (name, level) in order; the empty tuple is the pristine image.

        Notes
        -----
        1 to 35 microseconds a sequence on one CPU core, by space.
        """
        self._validate_params()
        rows = as_seeds(seeds)
        if not len(rows):
            return []
        return self._sequences(uniform(rows, (self._n_draws(),), STREAM).double().numpy())

    def apply(
        self, images: torch.Tensor, sequences: str | Sequence[str | Steps], seeds: PerSample = 0
    ) -> torch.Tensor:
        """Degrade each image by its sequence: :func:`skiqa.degradations.apply_sequences`."""
        return apply_sequences(images, sequences, seeds)

    def degrade(self, images: torch.Tensor, seeds: Seeds) -> torch.Tensor:
        """Draw a sequence for each image of a batch, and apply it.

        Parameters
        ----------
        images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
            RGB images, on any device. They are not changed.
        seeds : int64 tensor of shape (N,), or sequence of int

        Returns
        -------
        torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        """
        check_images(images)
        rows = as_seeds(seeds)
        return apply_sequences(images, self.sample(rows), rows)

    @abstractmethod
    def size(self) -> int:
        """Count the sequences that can be drawn.

        Returns
        -------
        int
            The number of different sequences of positive probability, exactly; the pristine image,
            if it can be drawn, is one of them.
        """

    @abstractmethod
    def _n_draws(self) -> int:
        """How many uniform numbers one sequence takes."""

    @abstractmethod
    def _sequences(self, draws: Draws) -> list[Steps]:
        """Turn uniform numbers (N, n_draws) in [0, 1) into N sequences."""


def as_seeds(seeds: Seeds) -> torch.Tensor:
    """Seeds as an int64 tensor (N,) on the CPU."""
    found = torch.as_tensor(seeds)
    if found.ndim != 1 or (len(found) and found.is_floating_point()):
        raise ValueError(
            "seeds must be integers of shape (n_samples,), not "
            f"{found.dtype} of shape {tuple(found.shape)}."
        )
    return found.to("cpu", torch.int64)


def pick(draws: Draws, n: int | Integers) -> npt.NDArray[np.int64]:
    """Turn uniform numbers in [0, 1) into integers 0..n-1; exact in float64."""
    return (draws * n).astype(np.int64)


def names_by(attribute: Literal["group", "family"], bank: BankLike) -> dict[str, list[str]]:
    """The names of a bank's operators by their group or family, in the bank's order."""
    parts: dict[str, list[str]] = {}
    for operator in get_bank(bank).operators:
        parts.setdefault(getattr(operator, attribute), []).append(operator.name)
    return parts


def count_ordered_choices(options: Sequence[int]) -> list[int]:
    """Count ordered choices of n parts with one option of each: n! e_n(options), n = 0, 1, ..."""
    polynomial = [1]  # product of (1 + options_i t): its coefficients are e_n
    for n in options:
        shifted = [0, *(n * c for c in polynomial)]
        polynomial = [a + b for a, b in zip([*polynomial, 0], shifted, strict=True)]
    return [math.factorial(n) * e for n, e in enumerate(polynomial)]
