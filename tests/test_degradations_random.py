"""The counter-based generator: published vectors, distributions, independence of the batch."""

import numpy as np
import pytest
import torch
from scipy import stats

from skiqa.degradations import _random
from skiqa.degradations._random import normal, philox, randint, spawn, uniform

# Known answers of Philox4x64-10: Random123 (D. E. Shaw Research), tests/kat_vectors.
VECTORS = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
    ),
    (
        (2**64 - 1,) * 4,
        (2**64 - 1,) * 2,
        (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
    ),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def words(values):
    return [torch.tensor(np.array([value], np.uint64).view(np.int64)) for value in values]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_philox_gives_the_published_words(counter, key, expected):
    assert philox(words(counter), words(key)) == words(expected)


def test_philox_leaves_its_arguments_alone():
    counter, key = words(VECTORS[2][0]), words(VECTORS[2][1])
    philox(counter, key)
    assert counter == words(VECTORS[2][0])
    assert key == words(VECTORS[2][1])


@pytest.mark.parametrize("draw", [normal, uniform, lambda s, n: randint(s, 0, 99, n)])
def test_numpys_words_are_those_of_the_tensor_operations(draw, monkeypatch):
    seeds = torch.tensor([5, -1, 2**40])
    expected = draw(seeds, (100_003,))
    monkeypatch.setattr(_random, "_FEW", 0)
    monkeypatch.setattr(_random, "_LONG", 2**62)
    monkeypatch.setattr(_random, "_PIECE", 1 << 10)
    assert torch.equal(draw(seeds, (100_003,)), expected)


@pytest.mark.parametrize("draw", [uniform, lambda s, n: randint(s, 0, 99, n)])
def test_the_first_numbers_do_not_depend_on_how_many_are_drawn(draw):
    seeds = torch.tensor([5, -1])
    assert torch.equal(draw(seeds, (5,)), draw(seeds, (5000,))[:, :5])


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
