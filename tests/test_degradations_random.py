"""The counter-based generator: published vectors, distributions, independence of the batch."""

import numpy as np
import pytest
import torch
from scipy import stats

from skiqa.degradations._random import normal, philox, randint, spawn, uniform

# Known answers of Philox4x32-10: Random123 (D. E. Shaw Research), tests/kat_vectors.
VECTORS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def words(values):
    return [torch.tensor([value]) for value in values]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_philox_gives_the_published_words(counter, key, expected):
    assert tuple(int(word) for word in philox(words(counter), words(key))) == expected


def test_philox_leaves_its_arguments_alone():
    counter, key = words(VECTORS[2][0]), words(VECTORS[2][1])
    philox(counter, key)
    assert tuple(map(int, counter)) == VECTORS[2][0]
    assert tuple(map(int, key)) == VECTORS[2][1]


def test_normal_numbers_are_normal():
    z = normal(torch.tensor([12345]), (3, 200, 200)).flatten().double().numpy()
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert abs(z.mean()) < 4 / len(z) ** 0.5
    assert abs(z.var() - 1) < 4 * (2 / len(z)) ** 0.5
    assert abs(stats.kurtosis(z)) < 4 * (24 / len(z)) ** 0.5
    # the share beyond 4 sigma, of which Box and Muller's numbers have 6.3e-5
    tail = normal(torch.arange(20), (100_000,)).abs().gt(4).double().mean()
    assert 5e-5 < tail < 7.7e-5


def test_the_two_normals_of_one_word_are_independent():
    z = normal(torch.tensor([3]), (8, 40_000))[0].double().numpy()  # row i: number i of the blocks
    correlation = np.corrcoef(z)[np.triu_indices(8, 1)]
    assert np.abs(correlation).max() < 4.5 / 200
    correlation = np.corrcoef(z**2)[np.triu_indices(8, 1)]
    assert np.abs(correlation).max() < 4.5 / 200


def test_uniform_numbers_are_uniform():
    u = uniform(torch.tensor([-7]), (100_000,))[0]
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u.double().numpy(), "uniform").pvalue > 1e-3


def test_integers_cover_their_range_evenly():
    draws = randint(torch.tensor([1]), -8, 8, (170_000,))[0]
    counts = torch.bincount(draws + 8)
    assert len(counts) == 17
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("draw", [normal, uniform, lambda s, n: randint(s, 0, 99, n)])
def test_a_sample_depends_on_its_seed_alone(draw):
    seeds = torch.tensor([5, -1, 2**40, 5])
    numbers = draw(seeds, (3, 37, 11))
    assert numbers.shape == (4, 3, 37, 11)
    assert torch.equal(numbers[0], numbers[3])
    assert not torch.equal(numbers[0], numbers[1])
    for i in range(4):
        assert torch.equal(draw(seeds[i : i + 1], (3, 37, 11))[0], numbers[i])


def test_large_and_small_batches_agree_across_pieces():
    # more blocks than one piece holds, cut at different places for one seed and for three
    seeds = torch.tensor([1, 2, 3])
    assert torch.equal(normal(seeds, (200_000,))[1:2], normal(seeds[1:2], (200_000,)))


def test_high_seed_bits_and_streams_count():
    seeds = torch.tensor([1, 1 + 2**32, 1])
    numbers = uniform(seeds, (64,))
    assert not torch.equal(numbers[0], numbers[1])
    assert torch.equal(numbers[0], numbers[2])
    assert not torch.equal(uniform(seeds, (64,), 1), numbers)


def test_spawned_seeds_differ():
    seeds = torch.arange(1000)
    children = torch.cat([seeds, spawn(seeds, 0), spawn(seeds, 1), spawn(spawn(seeds, 0), 0)])
    assert len(children.unique()) == 4000


def test_no_global_generator_is_touched():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    normal(torch.arange(2), (100,))
    assert torch.equal(before, torch.random.get_rng_state())


def test_empty_batches_and_shapes():
    assert normal(torch.empty(0, dtype=torch.int64), (3, 4)).shape == (0, 3, 4)
    assert uniform(torch.arange(2), (0,)).shape == (2, 0)


@needs_cuda
@pytest.mark.parametrize("draw", [normal, uniform, lambda s, n: randint(s, 0, 99, n)])
def test_cuda_gives_the_same_bits(draw):
    seeds = torch.tensor([5, -1, 2**40])
    assert torch.equal(draw(seeds.cuda(), (3, 37, 11)).cpu(), draw(seeds, (3, 37, 11)))
