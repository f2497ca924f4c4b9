"""Degradation spaces: distributions over sequences of named degradations.

A space says which sequences there are, how many (``size``), and draws them (``sample``);
``degrade`` draws and applies in one call. What is drawn depends on each image's seed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval

from skiqa._types import Floats
from skiqa.degradations._random import uniform
from skiqa.degradations._registry import FAMILIES, N_LEVELS
from skiqa.degradations._space import (
    STREAM,
    Draws,
    Seeds,
    Space,
    as_seeds,
    count_ordered_choices,
    names_by,
    pick,
)
from skiqa.degradations.bank import KADIS, Bank, BankLike, get_bank
from skiqa.degradations.sequences import Steps

__all__ = ["BankSpace", "SequenceSpace", "ShuffleSpace", "Space", "get_space"]

_PROBABILITY = [Interval(Real, 0, 1, closed="both")]
_BANK = [str, Bank, tuple, list]


class BankSpace(Space):
    """One degradation at one level, all equally likely: CONTRIQUE, Re-IQA.

    Parameters
    ----------
    bank : str, Bank, or tuple of str, default="kadis"
        What is drawn from: a name that :func:`get_bank` knows ("all": every registered operator),
        or names of operators.
    p_pristine : float in [0, 1], default=0.0
        Probability of the pristine image.

    References
    ----------
    Madhusudana et al., "Image Quality Assessment using Contrastive Learning", IEEE TIP 31, 2022;
    Saha, Mishra, Bovik, "Re-IQA: Unsupervised Learning for Image Quality Assessment in the Wild",
    CVPR 2023.

    Examples
    --------
    >>> from skiqa.degradations import KADIS, BankSpace
    >>> space = BankSpace()
    >>> space.size()
    125
    >>> [[(name, level)], _] = space.sample([0, 1])
    >>> name in KADIS.names, 1 <= level <= 5
    (True, True)
    """

    _parameter_constraints = {"bank": _BANK, "p_pristine": _PROBABILITY}

    def __init__(self, *, bank: BankLike = "kadis", p_pristine: float = 0.0) -> None:
        self.bank = bank
        self.p_pristine = p_pristine

    def size(self) -> int:
        """Count the sequences that can be drawn.

        Returns
        -------
        int
            5 n for n operators, and 1 for the pristine image if `p_pristine` is above 0.
        """
        self._validate_params()
        degraded = get_bank(self.bank).n_classes - 1 if self.p_pristine < 1 else 0
        return degraded + (self.p_pristine > 0)

    def sample_distinct(self, seeds: Seeds, n_sequences: int) -> list[list[Steps]]:
        """Draw several sequences for each seed, no operator twice, and none pristine.

        Re-IQA degrades each photo by 11 of its 26 operators at once.

        Parameters
        ----------
        seeds : int64 tensor of shape (N,), or sequence of int
        n_sequences : int
            At most the number of operators.

        Returns
        -------
        list of N lists of n_sequences sequences
        """
        names = get_bank(self.bank).names
        if not 1 <= n_sequences <= len(names):
            raise ValueError(f"n_sequences={n_sequences} is not in 1..{len(names)}.")
        rows = as_seeds(seeds)
        order = uniform(rows, (len(names),), STREAM + 1).numpy().argsort(1, kind="stable")
        draws = uniform(rows, (n_sequences,), STREAM + 2).double().numpy()
        levels = pick(draws, N_LEVELS) + 1
        return [
            [((names[k], level),) for k, level in zip(row[:n_sequences], row_levels, strict=True)]
            for row, row_levels in zip(order.tolist(), levels.tolist(), strict=True)
        ]

    def _n_draws(self) -> int:
        return 3

    def _sequences(self, draws: Draws) -> list[Steps]:
        names = get_bank(self.bank).names
        pristine = draws[:, 0] < self.p_pristine
        chosen = pick(draws[:, 1], len(names)).tolist()
        levels = (pick(draws[:, 2], N_LEVELS) + 1).tolist()
        return [
            () if skip else ((names[k], level),)
            for skip, k, level in zip(pristine, chosen, levels, strict=True)
        ]


class SequenceSpace(Space):
    """Degradations from distinct groups in random order: ARNIQA.

    With probability `p_pristine` nothing. Else the length is uniform over 1..`max_length`; so many
    distinct groups in random order; of each one operator, uniformly, at a level of the half-normal
    prior ``p(l) ~ exp(-(l - 1)^2 / (2 level_std^2))``, l = 1..5.

    Parameters
    ----------
    bank : str, Bank, or tuple of str, default="arniqa"
        As in :class:`BankSpace`. Operators of one group (``Operator.group``) exclude each other.
    max_length : int, default=4
        Most degradations; where there are fewer groups, so many.
    level_std : float in (0, inf) or None, default=2.5
        Spread of the levels; the default's probabilities are .293, .270, .213, .143, .081. None:
        all levels are equally likely.
    p_pristine : float in [0, 1], default=0.05
        Probability of the pristine image.

    Notes
    -----
    With k_g operators in group g = 1..G there are ``sum_n n! e_n(5 k_1, ..., 5 k_G)`` sequences of
    1..max_length steps, e_n the elementary symmetric polynomial. For ARNIQA's groups of
    k = 3, 4, 2, 4, 3, 5, 3 operators: 120 of one step, 12,320 of at most two, 1,033,820 of three,
    68,638,820 of four, 3,382,888,820 of five.

    References
    ----------
    Agnolucci, Galteri, Bertini, Del Bimbo, "ARNIQA: Learning Distortion Manifold for Image Quality
    Assessment", WACV 2024, section 3.1.

    Examples
    --------
    >>> from skiqa.degradations import SequenceSpace
    >>> space = SequenceSpace(bank=("gaussian_blur", "lens_blur", "jpeg"), p_pristine=0)
    >>> space.size()  # 15 of one step, 2 * 10 * 5 of two
    115
    >>> max(len(sequence) for sequence in space.sample(range(100)))
    2
    """

    _parameter_constraints = {
        "bank": _BANK,
        "max_length": [Interval(Integral, 1, None, closed="left")],
        "level_std": [Interval(Real, 0, None, closed="neither"), None],
        "p_pristine": _PROBABILITY,
    }

    def __init__(
        self,
        *,
        bank: BankLike = "arniqa",
        max_length: int = 4,
        level_std: float | None = 2.5,
        p_pristine: float = 0.05,
    ) -> None:
        self.bank = bank
        self.max_length = max_length
        self.level_std = level_std
        self.p_pristine = p_pristine

    def size(self) -> int:
        """Count the sequences that can be drawn.

        Returns
        -------
        int
            The sum in the notes of the class, and 1 for the pristine image if `p_pristine` is
            above 0.
        """
        self._validate_params()
        groups = self._groups()
        counts = count_ordered_choices([len(names) * N_LEVELS for names in groups])
        degraded = sum(counts[1 : self.max_length + 1]) if self.p_pristine < 1 else 0
        return degraded + (self.p_pristine > 0)

    def _groups(self) -> list[list[str]]:
        """The names of the operators by group."""
        return list(names_by("group", self.bank).values())

    def _level_probabilities(self) -> Floats:
        if self.level_std is None:
            return np.full(N_LEVELS, 1 / N_LEVELS)
        weights = np.exp(-(np.arange(N_LEVELS) ** 2) / (2 * self.level_std**2))
        return weights / weights.sum()

    def _n_draws(self) -> int:
        n_groups = len(self._groups())
        return 2 + n_groups + 2 * min(self.max_length, n_groups)

    def _sequences(self, draws: Draws) -> list[Steps]:
        groups = self._groups()
        longest = min(self.max_length, len(groups))
        ends = np.cumsum([1, 1, len(groups), longest])
        pristine, length, keys, which, how_much = np.split(draws, ends, axis=1)
        lengths = np.where(pristine[:, 0] < self.p_pristine, 0, 1 + pick(length[:, 0], longest))
        order = keys.argsort(1, kind="stable")[:, :longest]
        chosen = pick(which, np.array([len(names) for names in groups])[order])
        below = self._level_probabilities().cumsum()[:-1]
        levels = 1 + np.searchsorted(below, how_much, side="right")
        rows = zip(*(a.tolist() for a in (lengths, order, chosen, levels)), strict=True)
        return [
            tuple((groups[g][k], level) for g, k, level in zip(o[:n], c[:n], ls[:n], strict=True))
            for n, o, c, ls in rows
        ]


class ShuffleSpace(Space):
    """Families of operators, shuffled, skipped, and passed once or twice: QPT.

    In one pass each family - geometric deformation, colour change, texture adjustment - is left
    out with probability `p_skip`; the others follow in random order, each by one of its operators
    at one level, all equally likely. With probability `p_second` a second, independent pass
    follows (the second-order process): so a family, and an operator, may come twice.

    Parameters
    ----------
    bank : str, Bank, or tuple of str, default="qpt"
        As in :class:`BankSpace`. ``Operator.family`` says which family an operator belongs to.
    p_skip : float in [0, 1), default=0.5
        Probability that a pass leaves a family out.
    p_second : float in [0, 1], default=0.5
        Probability of the second pass.

    Notes
    -----
    QPT has no public code. Certain, from its abstract, is the size alone: about 2 x 10^7
    degradations, by improving an earlier process. Three families, shuffle, skip and a second order
    are a **reconstruction**: how the method is told, not read in the paper. The bank and its levels
    (see :data:`QPT`), which operator is of which family, one operator of a family in a pass,
    `p_skip`, `p_second` and uniform levels are **our choice**.

    Counting. With L_f = 5 x operators of family f, one pass has
    ``D1 = sum_S |S|! prod_{f in S} L_f`` outcomes, over all subsets S of the families (the empty
    one is the pristine image), and two passes have ``D2 = D1^2``. That counts pairs of passes: the
    sequence a > b is the pass (a, b) and nothing, a and then b, nothing and (a, b). :meth:`size`
    counts sequences, each once. A sequence of two passes splits uniquely if the first pass is as
    long as it can be: the second then is empty or begins with a family of the first. So, with
    D1(-f) for the families without f, there are
    ``D1 + sum_f L_f D1(-f) (D1 - D1(-f))`` sequences.
    Families of (8, 9, 9) options, which make D2 = 1.9 x 10^7 (a guess at QPT's table), have
    D1 = 4,365 and 18,318,745 different sequences. The default's families of 3, 10 and 13
    operators have options of (15, 50, 65), D1 = 302,581 and 90,533,038,531 different
    sequences. ``get_space("qpt_small")`` is of the paper's size: of 1, 1 and 5 operators of the
    same bank, with options of (5, 5, 25), it has D1 = 1 + 35 + 2 (25 + 125 + 125) + 6 x 625 =
    4,336, D2 = 18,800,896 and 17,918,261 different sequences.

    References
    ----------
    Zhao, Yuan, Sun, Li, Wen, "Quality-aware Pre-trained Models for Blind Image Quality
    Assessment", CVPR 2023.

    Examples
    --------
    >>> from skiqa.degradations import ShuffleSpace
    >>> space = ShuffleSpace()
    >>> space.size() > 2e7
    True
    >>> ShuffleSpace(bank=("jitter", "darken", "jpeg"), p_second=0).size()  # 1 + 15 + 150 + 750
    916
    >>> max(len(sequence) for sequence in space.sample(range(1000)))
    6
    """

    _parameter_constraints = {
        "bank": _BANK,
        "p_skip": [Interval(Real, 0, 1, closed="left")],
        "p_second": _PROBABILITY,
    }

    def __init__(
        self, *, bank: BankLike = "qpt", p_skip: float = 0.5, p_second: float = 0.5
    ) -> None:
        self.bank = bank
        self.p_skip = p_skip
        self.p_second = p_second

    def size(self) -> int:
        """Count the sequences that can be drawn.

        Returns
        -------
        int
            Different sequences, the pristine image included, as in the notes of the class.
        """
        self._validate_params()
        options = [len(names) * N_LEVELS for names in self._families()]
        if self.p_skip == 0:  # every pass has every family: a double pass splits in the middle
            single = count_ordered_choices(options)[-1]
            return single * (self.p_second < 1) + single**2 * (self.p_second > 0)
        single = sum(count_ordered_choices(options))
        if self.p_second == 0:
            return single
        total = single
        for f, n in enumerate(options):
            without = sum(count_ordered_choices(options[:f] + options[f + 1 :]))
            total += n * without * (single - without)
        return total

    def _families(self) -> list[list[str]]:
        """The names of the operators by family, in the order of FAMILIES."""
        families = names_by("family", self.bank)
        return [families[family] for family in FAMILIES if family in families]

    def _n_draws(self) -> int:
        return 1 + 2 * 4 * len(self._families())

    def _sequences(self, draws: Draws) -> list[Steps]:
        families = self._families()
        sizes = np.array([len(names) for names in families])
        second, *parts = np.split(draws, np.cumsum([1] + 7 * [len(families)]), axis=1)
        twice = second[:, 0] < self.p_second
        passes = []
        for skip, keys, which, level in (parts[:4], parts[4:]):
            order = keys.argsort(1, kind="stable")
            kept = np.take_along_axis(skip, order, 1) >= self.p_skip
            chosen = pick(which, sizes[order])
            passes.append((order, chosen, 1 + pick(level, N_LEVELS), kept))
        passes[1][3][~twice] = False
        both = [np.hstack(pair).tolist() for pair in zip(*passes, strict=True)]
        return [
            tuple((families[f][k], lev) for f, k, lev, keep in zip(*row, strict=True) if keep)
            for row in zip(*both, strict=True)
        ]


# As many of QPT's bank as give a space of about the size that the paper states: our choice.
_QPT_SMALL = (
    "resize_bicubic",
    "saturation_down",
    "unsharp_mask",
    "gaussian_blur_qpt",
    "motion_blur",
    "gaussian_noise",
    "jpeg_qpt",
)

_SPACES: dict[str, Callable[[], Space]] = {
    "contrique": lambda: BankSpace(p_pristine=1 / KADIS.n_classes),
    "arniqa": SequenceSpace,
    "qpt": ShuffleSpace,
    "reiqa": lambda: BankSpace(bank="reiqa"),
    "qpt_small": lambda: ShuffleSpace(bank=_QPT_SMALL),
}


def get_space(name: str | Space) -> Space:
    """Make the space of a published method; a :class:`Space` is returned as it is.

    Parameters
    ----------
    name : {"contrique", "arniqa", "qpt", "reiqa", "qpt_small"} or Space
        "contrique": the 125 types and levels of KADIS-700k and the pristine image, equally likely;
        "arniqa": :class:`SequenceSpace`; "qpt": :class:`ShuffleSpace`; "reiqa":
        :class:`BankSpace` of Re-IQA's 26 operators; "qpt_small": :class:`ShuffleSpace` of seven
        operators, with the size that QPT's abstract states.

    Returns
    -------
    Space

    Examples
    --------
    >>> from skiqa.degradations import get_space
    >>> get_space("contrique").size()
    126
    """
    if isinstance(name, Space):
        return name
    if not isinstance(name, str) or name not in _SPACES:
        raise ValueError(f"There is no space {name!r}. There are: {', '.join(_SPACES)}.")
    return _SPACES[name]()
