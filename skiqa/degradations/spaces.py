"""Degradation spaces: distributions over sequences of named degradations.

A space says which sequences there are, how many (``size``), and draws them (``sample``);
``degrade`` draws and applies in one call. What is drawn depends on each image's seed alone.
"""

import math
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

from skiqa.degradations._batching import check_images
from skiqa.degradations._random import uniform
from skiqa.degradations._registry import FAMILIES, N_LEVELS
from skiqa.degradations.bank import Bank, get_bank
from skiqa.degradations.sequences import apply_sequences

__all__ = ["BankSpace", "SequenceSpace", "ShuffleSpace", "Space", "get_space"]

_STREAM = 2000  # of random numbers; operators draw from seeds of their own (spawn)
_PROBABILITY = [Interval(Real, 0, 1, closed="both")]
_BANK = [str, Bank, tuple, list]


class Space(BaseEstimator):
    """What all spaces share; a space of one's own defines the three methods at the end.

    Spaces hold parameters only, as objectives do: they can be cloned, pickled and searched over
    (``objective__space__p_skip``). Their values are checked when the space is used.
    """

    def sample(self, seeds):
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
        seeds = _as_seeds(seeds)
        if not len(seeds):
            return []
        return self._sequences(uniform(seeds, (self._n_draws(),), _STREAM).double().numpy())

    def apply(self, images, sequences, seeds=0):
        """Degrade each image by its sequence: :func:`skiqa.degradations.apply_sequences`."""
        return apply_sequences(images, sequences, seeds)

    def degrade(self, images, seeds):
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
        seeds = _as_seeds(seeds)
        return apply_sequences(images, self.sample(seeds), seeds)

    def size(self):
        """Count the sequences that can be drawn.

        Returns
        -------
        int
            The number of different sequences of positive probability, exactly; the pristine image,
            if it can be drawn, is one of them.
        """
        raise NotImplementedError

    def _n_draws(self):
        """Return how many uniform numbers one sequence takes."""
        raise NotImplementedError

    def _sequences(self, draws):
        """Turn uniform numbers (N, n_draws) in [0, 1) into N sequences."""
        raise NotImplementedError


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

    def __init__(self, *, bank="kadis", p_pristine=0.0):
        self.bank = bank
        self.p_pristine = p_pristine

    def size(self):
        """Count the sequences that can be drawn.

        Returns
        -------
        int
            5 n for n operators, and 1 for the pristine image if `p_pristine` is above 0.
        """
        self._validate_params()
        degraded = len(get_bank(self.bank)) * N_LEVELS if self.p_pristine < 1 else 0
        return degraded + (self.p_pristine > 0)

    def sample_distinct(self, seeds, n_sequences):
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
        seeds = _as_seeds(seeds)
        order = uniform(seeds, (len(names),), _STREAM + 1).numpy().argsort(1, kind="stable")
        levels = uniform(seeds, (n_sequences,), _STREAM + 2).double().numpy()
        levels = _pick(levels, N_LEVELS) + 1
        return [
            [((names[k], level),) for k, level in zip(row[:n_sequences], row_levels, strict=True)]
            for row, row_levels in zip(order.tolist(), levels.tolist(), strict=True)
        ]

    def _n_draws(self):
        return 3

    def _sequences(self, draws):
        names = get_bank(self.bank).names
        pristine = draws[:, 0] < self.p_pristine
        chosen = _pick(draws[:, 1], len(names)).tolist()
        levels = (_pick(draws[:, 2], N_LEVELS) + 1).tolist()
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

    def __init__(self, *, bank="arniqa", max_length=4, level_std=2.5, p_pristine=0.05):
        self.bank = bank
        self.max_length = max_length
        self.level_std = level_std
        self.p_pristine = p_pristine

    def size(self):
        """Count the sequences that can be drawn.

        Returns
        -------
        int
            The sum in the notes of the class, and 1 for the pristine image if `p_pristine` is
            above 0.
        """
        self._validate_params()
        groups = self._groups()
        counts = _ordered_choices([len(names) * N_LEVELS for names in groups])
        degraded = sum(counts[1 : self.max_length + 1]) if self.p_pristine < 1 else 0
        return degraded + (self.p_pristine > 0)

    def _groups(self):
        """Return the names of the operators by group."""
        return list(_by(get_bank(self.bank), "group").values())

    def _level_probabilities(self):
        if self.level_std is None:
            return np.full(N_LEVELS, 1 / N_LEVELS)
        weights = np.exp(-(np.arange(N_LEVELS) ** 2) / (2 * self.level_std**2))
        return weights / weights.sum()

    def _n_draws(self):
        n_groups = len(self._groups())
        return 2 + n_groups + 2 * min(self.max_length, n_groups)

    def _sequences(self, draws):
        groups = self._groups()
        longest = min(self.max_length, len(groups))
        pristine, length, keys, which, level = np.split(
            draws, np.cumsum([1, 1, len(groups), longest]), axis=1
        )
        length = np.where(pristine[:, 0] < self.p_pristine, 0, 1 + _pick(length[:, 0], longest))
        order = keys.argsort(1, kind="stable")[:, :longest]
        chosen = _pick(which, np.array([len(names) for names in groups])[order])
        below = self._level_probabilities().cumsum()[:-1]
        level = 1 + np.searchsorted(below, level, side="right")
        rows = zip(*(a.tolist() for a in (length, order, chosen, level)), strict=True)
        return [
            tuple((groups[g][k], lev) for g, k, lev in list(zip(o, c, ls, strict=True))[:n])
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
    QPT has no public code. Certain is: three families, shuffle, skip, a second order, about
    2 x 10^7 degradations. The bank, its levels (those of an unofficial port), which operator is of
    which family, one operator of a family in a pass, `p_skip`, `p_second` and uniform levels are
    **our choice**.

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
    sequences.

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

    def __init__(self, *, bank="qpt", p_skip=0.5, p_second=0.5):
        self.bank = bank
        self.p_skip = p_skip
        self.p_second = p_second

    def size(self):
        """Count the sequences that can be drawn.

        Returns
        -------
        int
            Different sequences, the pristine image included, as in the notes of the class.
        """
        self._validate_params()
        options = [len(names) * N_LEVELS for names in self._families()]
        if self.p_skip == 0:  # every pass has every family: a double pass splits in the middle
            single = _ordered_choices(options)[-1]
            return single * (self.p_second < 1) + single**2 * (self.p_second > 0)
        single = sum(_ordered_choices(options))
        if self.p_second == 0:
            return single
        total = single
        for f, n in enumerate(options):
            without = sum(_ordered_choices(options[:f] + options[f + 1 :]))
            total += n * without * (single - without)
        return total

    def _families(self):
        """Return the names of the operators by family, in the order of FAMILIES."""
        families = _by(get_bank(self.bank), "family")
        return [families[family] for family in FAMILIES if family in families]

    def _n_draws(self):
        return 1 + 2 * 4 * len(self._families())

    def _sequences(self, draws):
        families = self._families()
        sizes = np.array([len(names) for names in families])
        second, *parts = np.split(draws, np.cumsum([1] + 7 * [len(families)]), axis=1)
        twice = second[:, 0] < self.p_second
        passes = []
        for skip, keys, which, level in (parts[:4], parts[4:]):
            order = keys.argsort(1, kind="stable")
            kept = np.take_along_axis(skip, order, 1) >= self.p_skip
            chosen = _pick(which, sizes[order])
            passes.append((order, chosen, 1 + _pick(level, N_LEVELS), kept))
        passes[1][3][~twice] = False
        both = [np.hstack(pair).tolist() for pair in zip(*passes, strict=True)]
        return [
            tuple((families[f][k], lev) for f, k, lev, keep in zip(*row, strict=True) if keep)
            for row in zip(*both, strict=True)
        ]


def _as_seeds(seeds):
    """Seeds as an int64 tensor (N,) on the CPU."""
    seeds = torch.as_tensor(seeds)
    if seeds.ndim != 1 or (len(seeds) and seeds.is_floating_point()):
        raise ValueError(
            "seeds must be integers of shape (n_samples,), not "
            f"{seeds.dtype} of shape {tuple(seeds.shape)}."
        )
    return seeds.to("cpu", torch.int64)


def _pick(draws, n):
    """Turn uniform numbers in [0, 1) into integers 0..n-1; exact in float64."""
    return (draws * n).astype(np.int64)


def _by(bank, attribute):
    """Return the names of a bank's operators by an attribute of theirs, in the bank's order."""
    parts = {}
    for operator in bank.operators:
        parts.setdefault(getattr(operator, attribute), []).append(operator.name)
    return parts


def _ordered_choices(options):
    """Count ordered choices of n parts with one option of each: n! e_n(options), n = 0, 1, ..."""
    polynomial = [1]  # product of (1 + options_i t): its coefficients are e_n
    for n in options:
        shifted = [0, *(n * c for c in polynomial)]
        polynomial = [a + b for a, b in zip([*polynomial, 0], shifted, strict=True)]
    return [math.factorial(n) * e for n, e in enumerate(polynomial)]


_SPACES = {
    "contrique": lambda: BankSpace(p_pristine=1 / 126),
    "arniqa": SequenceSpace,
    "qpt": ShuffleSpace,
    "reiqa": lambda: BankSpace(bank="reiqa"),
}


def get_space(name):
    """Make the space of a published method; a :class:`Space` is returned as it is.

    Parameters
    ----------
    name : {"contrique", "arniqa", "qpt", "reiqa"} or Space
        "contrique": the 125 types and levels of KADIS-700k and the pristine image, equally likely;
        "arniqa": :class:`SequenceSpace`; "qpt": :class:`ShuffleSpace`; "reiqa":
        :class:`BankSpace` of Re-IQA's 26 operators.

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
