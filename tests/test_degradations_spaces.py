"""Spaces: what is drawn, how often, how many there are, and what becomes of a batch."""

import itertools
import math
import pickle
from collections import Counter

import pytest
import torch
from scipy.stats import chisquare
from sklearn.base import clone

from skiqa.degradations import (
    KADIS,
    Bank,
    BankSpace,
    SequenceSpace,
    ShuffleSpace,
    _registry,
    apply_sequences,
    format_sequence,
    get_bank,
    get_operator,
    get_space,
    list_operators,
)
from skiqa.degradations._space import names_by

N = 10_000
BUILT_IN = tuple(list_operators())  # as this file is read: tests register more
SEEDS = torch.arange(N)

# Two groups (blur, blur, compression); three families (geometric, color, texture, texture).
SMALL = ("gaussian_blur", "lens_blur", "jpeg")
FAMILIES = ("jitter", "darken", "jpeg", "white_noise")
PRIOR = (0.2929, 0.2704, 0.2127, 0.1426, 0.0814)  # ARNIQA's levels, methods of the paper

SPACES = [
    BankSpace(),
    BankSpace(bank=SMALL, p_pristine=0.2),
    SequenceSpace(bank="kadis"),
    SequenceSpace(bank=SMALL, level_std=None),
    ShuffleSpace(),
    ShuffleSpace(bank=FAMILIES, p_skip=0.2, p_second=0.9),
]


@pytest.fixture
def images():
    return torch.rand(8, 3, 40, 36, generator=torch.Generator().manual_seed(0))


def _p_value(outcomes, probabilities):
    """Chi-square test of `outcomes` against {outcome: probability}; rare ones are pooled."""
    n = len(outcomes)
    counts = Counter(outcomes)
    assert set(counts) <= set(probabilities), "an impossible outcome"
    assert sum(probabilities.values()) == pytest.approx(1)
    common = [key for key, p in probabilities.items() if p * n >= 5]
    observed = [counts[key] for key in common]
    expected = [probabilities[key] * n for key in common]
    if n - sum(expected) > 1e-6:
        observed.append(n - sum(observed))
        expected.append(n - sum(expected))
    if len(observed) == 1:
        return 1.0
    return chisquare(observed, expected, sum_check=False).pvalue


def _uniform(outcomes):
    outcomes = list(outcomes)
    return {outcome: 1 / len(outcomes) for outcome in outcomes}


# ---------------------------------------------------------------- documented probabilities


def test_the_test_can_fail():
    sequences = SequenceSpace(bank=SMALL, p_pristine=0).sample(SEEDS)
    levels = [level for sequence in sequences for _, level in sequence]
    assert _p_value(levels, _uniform(range(1, 6))) < 1e-9


@pytest.mark.parametrize("p_pristine", [0, 1 / 126, 0.3, 1])
def test_bank_space_draws_all_alike(p_pristine):
    expected = {
        ((name, level),): (1 - p_pristine) / 125 for name in KADIS.names for level in range(1, 6)
    }
    expected[()] = p_pristine
    space = BankSpace(p_pristine=p_pristine)
    assert _p_value(space.sample(SEEDS), expected) > 1e-3


def test_distinct_draws_repeat_no_operator():
    space = BankSpace()
    rows = space.sample_distinct(SEEDS, 11)
    assert len(rows) == N
    assert all(len({name for ((name, _),) in row}) == 11 for row in rows)
    steps = {(name, level): 1 / 125 for name in KADIS.names for level in range(1, 6)}
    for position in (0, 10):
        assert _p_value([row[position][0] for row in rows], steps) > 1e-3
    first_pairs = dict.fromkeys(itertools.permutations(KADIS.names, 2), 1 / 600)
    assert _p_value([(row[0][0][0], row[1][0][0]) for row in rows], first_pairs) > 1e-3
    assert space.sample_distinct(SEEDS[[7]], 11) == [rows[7]]
    with pytest.raises(ValueError, match=r"n_sequences=26 is not in 1\.\.25"):
        space.sample_distinct(SEEDS, 26)


def _sequence_probabilities(groups, longest, prior, p_pristine):
    """Probability of every sequence, by going through all that can happen."""
    probabilities = Counter({(): p_pristine})
    for length in range(1, longest + 1):
        orders = list(itertools.permutations(groups, length))
        for order in orders:
            choices = [[(n, lev) for n in group for lev in range(1, 6)] for group in order]
            for sequence in itertools.product(*choices):
                p = (1 - p_pristine) / longest / len(orders)
                for (_, level), group in zip(sequence, order, strict=True):
                    p *= prior[level - 1] / len(group)
                probabilities[sequence] += p
    return probabilities


@pytest.mark.parametrize(
    ("level_std", "prior"), [(2.5, [p / sum(PRIOR) for p in PRIOR]), (None, [0.2] * 5)]
)
def test_sequence_space_on_a_small_bank(level_std, prior):
    space = SequenceSpace(bank=SMALL, level_std=level_std, p_pristine=0.1)
    expected = _sequence_probabilities([SMALL[:2], SMALL[2:]], 2, prior, 0.1)
    assert _p_value(space.sample(SEEDS), expected) > 1e-3
    assert space.size() == len(expected)


def test_sequence_space_at_full_size():
    sequences = SequenceSpace(bank="kadis").sample(SEEDS)
    lengths = {0: 0.05} | dict.fromkeys(range(1, 5), 0.95 / 4)
    assert _p_value([len(s) for s in sequences], lengths) > 1e-3
    groups = [[get_operator(name).group for name, _ in s] for s in sequences]
    assert all(len(set(g)) == len(g) for g in groups)
    pairs = [tuple(g[:2]) for g in groups if len(g) > 1]
    names = {get_operator(name).group for name in KADIS.names}
    assert _p_value(pairs, _uniform(itertools.permutations(names, 2))) > 1e-3
    blurs = [name for s in sequences for name, _ in s if get_operator(name).group == "blur"]
    assert _p_value(blurs, _uniform(KADIS.names[:3])) > 1e-3
    levels = [level for s in sequences for _, level in s]
    prior = dict(zip(range(1, 6), (p / sum(PRIOR) for p in PRIOR), strict=True))
    assert _p_value(levels, prior) > 1e-3


def _pass_probabilities(families, p_skip):
    """Probability of every outcome of one pass, in operators without levels."""
    probabilities = Counter()
    for kept in itertools.product([False, True], repeat=len(families)):
        chosen = [f for f, keep in zip(families, kept, strict=True) if keep]
        p = (1 - p_skip) ** len(chosen) * p_skip ** (len(families) - len(chosen))
        outcomes = [
            o for order in itertools.permutations(chosen) for o in itertools.product(*order)
        ]
        for outcome in outcomes:
            probabilities[outcome] += p / len(outcomes)
    return probabilities


@pytest.mark.parametrize(("p_skip", "p_second"), [(0.5, 0.5), (0.2, 1), (0, 0.7), (0.4, 0)])
def test_shuffle_space_on_a_small_bank(p_skip, p_second):
    space = ShuffleSpace(bank=FAMILIES, p_skip=p_skip, p_second=p_second)
    one = _pass_probabilities([("jitter",), ("darken",), ("jpeg", "white_noise")], p_skip)
    expected = Counter()
    for (a, p), (b, q) in itertools.product(one.items(), one.items()):
        expected[a] += (1 - p_second) * p * q
        expected[a + b] += p_second * p * q
    expected = {pattern: p for pattern, p in expected.items() if p}
    sequences = space.sample(SEEDS)
    patterns = [tuple(name for name, _ in s) for s in sequences]
    assert _p_value(patterns, expected) > 1e-3
    # that an operator, and a family, comes twice is part of it
    for what in ("name", "family"):
        twice = [
            len({getattr(get_operator(name), what) for name in pattern}) < len(pattern)
            for pattern in expected
        ]
        share = sum(p for p, again in zip(expected.values(), twice, strict=True) if again)
        repeats = dict(zip(expected, twice, strict=True))
        if p_second:
            assert 0.05 < share < 1 - 1e-9 or p_skip == 0
            outcomes = [repeats[pattern] for pattern in patterns]
            assert _p_value(outcomes, {True: share, False: 1 - share}) > 1e-3
        else:
            assert share == 0
    levels = Counter(step for s in sequences for step in s)
    for name in FAMILIES:
        counts = [levels[name, level] for level in range(1, 6)]
        assert chisquare(counts).pvalue > 1e-3
    pairs = [(s[0][1], s[1][1]) for s in sequences if len(s) > 1]
    assert _p_value(pairs, _uniform(itertools.product(range(1, 6), repeat=2))) > 1e-3


def test_shuffle_space_at_full_size():
    sequences = ShuffleSpace().sample(SEEDS)
    # 6 places, each filled with .5, the last three with .25
    binomial = {0: 1 / 8, 1: 3 / 8, 2: 3 / 8, 3: 1 / 8}
    lengths = Counter()
    for (a, p), (b, q) in itertools.product(binomial.items(), binomial.items()):
        lengths[a] += p * q / 2
        lengths[a + b] += p * q / 2
    assert _p_value([len(s) for s in sequences], lengths) > 1e-3
    first = [get_operator(s[0][0]).family for s in sequences if s]
    assert _p_value(first, _uniform(_registry.FAMILIES)) > 1e-3
    texture = [n for n in get_bank("qpt").names if get_operator(n).family == "texture"]
    drawn = [step for s in sequences for step in s if step[0] in texture]
    assert _p_value(drawn, _uniform(itertools.product(texture, range(1, 6)))) > 1e-3


# ---------------------------------------------------------------- counts


def _chains(parts, lengths):
    """All sequences of one step of each of some parts, in every order."""
    for length in lengths:
        for order in itertools.permutations(parts, length):
            choices = [[(name, lev) for name in part for lev in range(1, 6)] for part in order]
            yield from itertools.product(*choices)


@pytest.mark.parametrize(
    ("bank", "parts"),
    [
        (SMALL, [SMALL[:2], SMALL[2:]]),
        (("jpeg",), [("jpeg",)]),
        (
            ("jpeg", "darken", "jpeg2000", "jitter"),
            [("jpeg", "jpeg2000"), ("darken",), ("jitter",)],
        ),
    ],
)
@pytest.mark.parametrize("max_length", [1, 2, 3, 9])
@pytest.mark.parametrize("p_pristine", [0, 0.05, 1])
def test_size_of_sequence_spaces(bank, parts, max_length, p_pristine):
    lengths = range(1, min(max_length, len(parts)) + 1)
    found = set(_chains(parts, lengths)) if p_pristine < 1 else set()
    found |= {()} if p_pristine else set()
    space = SequenceSpace(bank=bank, max_length=max_length, p_pristine=p_pristine)
    assert space.size() == len(found)
    assert set(space.sample(range(300))) <= found


@pytest.mark.parametrize(
    ("bank", "parts"),
    [
        (("jpeg",), [("jpeg",)]),
        (("jpeg", "darken"), [("darken",), ("jpeg",)]),
        (("jpeg", "gaussian_blur", "darken"), [("jpeg", "gaussian_blur"), ("darken",)]),
        (("jitter", "darken", "jpeg"), [("jitter",), ("darken",), ("jpeg",)]),
    ],
)
@pytest.mark.parametrize("p_skip", [0, 0.5])
@pytest.mark.parametrize("p_second", [0, 0.5, 1])
def test_size_of_shuffle_spaces(bank, parts, p_skip, p_second):
    lengths = range(len(parts) + 1) if p_skip else [len(parts)]
    one = set(_chains(parts, lengths))
    found = one if p_second < 1 else set()
    if p_second:
        found = found | {a + b for a in one for b in one}
    space = ShuffleSpace(bank=bank, p_skip=p_skip, p_second=p_second)
    assert space.size() == len(found)
    assert set(space.sample(range(300))) <= found


@pytest.fixture
def stand_ins(monkeypatch):
    """Return a maker of banks of stand-ins with given numbers of operators by group or family."""

    def make(counts, kind):
        operators = {}
        for key, count in counts.items():
            for k in range(count):
                name = f"{key}_{k}"
                group, family = (key, None) if kind == "group" else ("own", key)
                operators[name] = _registry.Operator(name, group, None, (0,) * 5, family=family)
        monkeypatch.setattr(_registry, "_OPERATORS", operators)
        return tuple(operators)

    return make


def test_published_counts_of_arniqa(stand_ins):
    # 24 operators in groups of 3, 4, 2, 4, 3, 5, 3; 1.03e6, 6.9e7, 3.4e9, 1.1e11, 1.8e12
    names = stand_ins(dict(zip("abcdefg", (3, 4, 2, 4, 3, 5, 3), strict=True)), "group")
    counts = [SequenceSpace(bank=names, max_length=n, p_pristine=0).size() for n in range(1, 8)]
    assert counts[:4] == [120, 12_320, 1_033_820, 68_638_820]
    assert counts[4:] == [3_382_888_820, 110_302_888_820, 1_811_302_888_820]
    assert SequenceSpace(bank=names).size() == 68_638_821


def test_counting_formula_of_qpt(stand_ins):
    # families of 1, 2, 2 operators: L = 5, 10, 10
    names = stand_ins({"geometric": 1, "color": 2, "texture": 2}, "family")
    first_order = 1 + 25 + 2 * (50 + 50 + 100) + 6 * 500
    assert ShuffleSpace(bank=names, p_second=0).size() == first_order == 3426
    # a pair of passes is no sequence of its own where another pair reads the same
    assert first_order < ShuffleSpace(bank=names).size() < first_order**2
    shown = first_order
    for options, without in ((5, 1 + 20 + 200), (10, 1 + 15 + 100), (10, 1 + 15 + 100)):
        shown += options * without * (first_order - without)
    assert ShuffleSpace(bank=names).size() == shown


def test_qpt_has_the_size_of_the_paper():
    assert get_space("qpt").size() >= 2e7


def test_a_small_space_has_the_size_of_the_abstract():
    """Counted for all pairs of passes: what different ones give is one sequence, counted once."""
    space, options = get_space("qpt_small"), (5, 5, 25)
    families = names_by("family", space.bank)
    assert sorted(5 * len(names) for names in families.values()) == list(options)
    orders = [p for k in range(4) for p in itertools.permutations(range(3), k)]
    spelled = {a + b for a in orders for b in orders}  # families of a sequence, whatever its pass
    size = sum(math.prod(options[f] for f in sequence) for sequence in spelled)
    assert space.size() == size == 17_918_261
    assert abs(space.size() / 2e7 - 1) < 0.11
    first_order = sum(math.prod(options[f] for f in order) for order in orders)
    assert first_order == 4336
    assert set(space.bank) < set(get_bank("qpt").names)


def test_presets():
    assert get_space("contrique").size() == 126
    assert get_space("contrique").get_params() == {"bank": "kadis", "p_pristine": 1 / 126}
    assert isinstance(get_space("arniqa"), SequenceSpace)
    assert isinstance(get_space("qpt"), ShuffleSpace)
    space = ShuffleSpace(p_skip=0.1)
    assert get_space(space) is space
    with pytest.raises(ValueError, match="There are: contrique, arniqa, qpt, reiqa"):
        get_space("koniq")


# ---------------------------------------------------------------- samples depend on the seed


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_a_sample_depends_on_its_seed_alone(space):
    seeds = torch.tensor([5, -3, 2**62, 5, 0, -(2**63)])
    sequences = space.sample(seeds)
    assert sequences == space.sample(seeds)
    assert sequences[0] == sequences[3]
    assert sequences == [space.sample(seeds[[i]])[0] for i in range(6)]
    assert space.sample(seeds.tolist()) == sequences
    assert space.sample([]) == []
    before = torch.random.get_rng_state()
    space.sample(seeds)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("seeds", [3, [0.5], [[1, 2]]])
def test_seeds_must_be_integers_in_a_row(seeds):
    with pytest.raises(ValueError, match="seeds must be integers of shape"):
        BankSpace().sample(seeds)


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_spaces_are_parameters(space):
    for copy in (clone(space), pickle.loads(pickle.dumps(space))):
        assert copy.get_params() == space.get_params()
        assert copy.sample(SEEDS[:50]) == space.sample(SEEDS[:50])
    assert len(repr(space)) < 150


def test_parameters_are_searched_over_and_checked_on_use():
    space = ShuffleSpace(bank=FAMILIES).set_params(p_skip=0, p_second=0)
    assert all(len(s) == 3 for s in space.sample(range(20)))
    for broken in (
        ShuffleSpace(p_skip=1),
        ShuffleSpace(p_second=1.5),
        SequenceSpace(max_length=0),
        SequenceSpace(level_std=0),
        BankSpace(p_pristine=-1),
    ):
        for use in (broken.size, lambda space=broken: space.sample([0])):
            with pytest.raises(ValueError, match="parameter of"):
                use()
    with pytest.raises(ValueError, match=r"There is no bank 'kadid'\. There are: all, kadis"):
        BankSpace(bank="kadid").sample([0])
    with pytest.raises(ValueError, match="no degradation named 'fogg'"):
        SequenceSpace(bank=("fogg",)).sample([0])
    assert BankSpace(bank=Bank("b", ["jpeg"])).size() == 5


# ---------------------------------------------------------------- application


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_batch_is_one_by_one(space, images):
    seeds = torch.arange(8) * 1000
    result = space.degrade(images, seeds)
    assert result.shape == images.shape
    assert result.dtype == torch.float32
    assert result.min() >= 0
    assert result.max() <= 1
    drawn = space.sample(seeds)
    for i in range(8):
        assert torch.equal(space.degrade(images[i : i + 1], seeds[i : i + 1])[0], result[i])
    assert torch.equal(space.apply(images, drawn, seeds), result)
    backwards = space.degrade(images.flip(0), seeds.flip(0)).flip(0)
    assert torch.equal(backwards, result)
    text = [format_sequence(s) for s in drawn]
    assert torch.equal(apply_sequences(images, text, seeds), result)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu(images):
    seeds = torch.arange(8)
    space = ShuffleSpace(p_skip=0.2)
    there = space.degrade(images.cuda(), seeds)
    assert there.device.type == "cuda"
    difference = (there.cpu() - space.degrade(images, seeds)).abs()
    assert difference.mean() < 0.01


@pytest.mark.parametrize("kind", [BankSpace, SequenceSpace, ShuffleSpace])
def test_every_operator_is_available_to_every_space(kind):
    names = BUILT_IN
    drawn = {name for s in kind(bank=names).sample(range(5000)) for name, _ in s}
    assert drawn == set(names)
    assert get_bank("all").names[: len(names)] == names
