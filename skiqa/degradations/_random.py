"""Counter-based random numbers: every sample's stream depends on its seed alone.

Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), whose words
NumPy makes on the CPU, and int64 tensor operations elsewhere and for many short draws: the same
bits everywhere, whatever stands beside a sample in the batch. Numbers are asked for by (seed,
stream, position); there is no state.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

__all__ = ["normal", "philox", "randint", "spawn", "uniform"]

_LOW = 0xFFFFFFFF
_ALL = (1 << 64) - 1
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
# From so many words a sample on, or up to so many samples, NumPy's loop beats tensor operations.
_LONG, _FEW = 256, 32
# Words made at a time: their buffers stay in the second-level cache.
_PIECE = 1 << 15


def _signed(word: int) -> int:
    """The int64 of the same 64 bits."""
    return word - (1 << 64) if word >> 63 else word


def _high_product(a: torch.Tensor, multiplier: int) -> torch.Tensor:
    """The upper 64 bits of an unsigned product, by products of 32-bit halves."""
    a0, a1 = a & _LOW, (a >> 32) & _LOW
    m0, m1 = multiplier & _LOW, multiplier >> 32
    middle = (((a0 * m0) >> 32) & _LOW).add_(a1 * m0)
    lower = (a0 * m1).add_(middle & _LOW)
    return (a1 * m1).add_((middle >> 32) & _LOW).add_((lower >> 32) & _LOW)


def philox(counter: Sequence[torch.Tensor], key: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Philox4x64 with 10 rounds.

    Parameters
    ----------
    counter : sequence of 4 int64 tensors
        The words of the counter, unsigned in two's complement, of shapes that broadcast.
    key : sequence of 2 int64 tensors
        The words of the key, likewise.

    Returns
    -------
    list of 4 int64 tensors
        Random words of 64 bits.
    """
    k0, k1 = key
    c0, c1, c2, c3 = torch.broadcast_tensors(*counter, k0)[:4]
    for _ in range(10):
        high0, low0 = _high_product(c0, _MULTIPLIERS[0]), c0 * _signed(_MULTIPLIERS[0])
        high1, low1 = _high_product(c2, _MULTIPLIERS[1]), c2 * _signed(_MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + _signed(_WEYL[0]), k1 + _signed(_WEYL[1])
    return [c0, c1, c2, c3]


def _pieces(
    seeds: torch.Tensor, n_words: int, stream: int, plane: int = 0
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Random words of each seed: pairs (slice of the words, int64 tensor (N, size of the slice)).

    Word w of a seed is word w % 4 of the block with the counter (w // 4 + 1, plane, 0, 0); NumPy
    begins at 1.
    """
    if seeds.device.type == "cpu" and (n_words >= _LONG or len(seeds) <= _FEW):
        return _pieces_by_numpy(seeds, n_words, stream, plane)
    return _pieces_by_tensors(seeds, n_words, stream, plane)


def _pieces_by_numpy(
    seeds: torch.Tensor, n_words: int, stream: int, plane: int
) -> Iterator[tuple[slice, torch.Tensor]]:
    keys = np.array([(seed & _ALL, stream) for seed in seeds.tolist()], np.uint64)
    counter = np.array([0, plane, 0, 0], np.uint64)
    generators = [np.random.Philox(counter=counter, key=key) for key in keys]
    for start in range(0, n_words, _PIECE):
        size = min(_PIECE, n_words - start)
        words = np.empty((len(seeds), size), np.uint64)
        for row, generator in zip(words, generators, strict=True):
            row[:] = generator.random_raw(size)
        yield slice(start, start + size), torch.from_numpy(words.view(np.int64))


def _pieces_by_tensors(
    seeds: torch.Tensor, n_words: int, stream: int, plane: int
) -> Iterator[tuple[slice, torch.Tensor]]:
    zero = torch.zeros(1, 1, dtype=torch.int64, device=seeds.device)
    key = seeds[:, None], zero + stream
    piece = _PIECE if seeds.device.type == "cpu" else 1 << 22
    for start in range(0, n_words, piece):
        size = min(piece, n_words - start)
        block = torch.arange(start // 4 + 1, (start + size + 3) // 4 + 1, device=seeds.device)
        blocks = torch.stack(philox((block[None], zero + plane, zero, zero), key), -1)
        yield slice(start, start + size), blocks.flatten(1)[:, :size].contiguous()


def _halves(
    seeds: torch.Tensor,
    shape: Sequence[int],
    stream: int,
    convert: Callable[[torch.Tensor, torch.Tensor], None],
    dtype: torch.dtype,
) -> torch.Tensor:
    """Numbers (N, *shape); ``convert(halves, out)`` makes them from the halves of random words."""
    n, size = len(seeds), math.prod(shape)
    n_words = -(-size // 2)
    result = torch.empty(n, 2 * n_words, dtype=dtype, device=seeds.device)
    for where, words in _pieces(seeds, n_words, stream):
        convert(words.view(torch.int32), result[:, 2 * where.start : 2 * where.stop])
    return result[:, :size].reshape(n, *shape)


def uniform(seeds: torch.Tensor, shape: Sequence[int], stream: int = 0) -> torch.Tensor:
    """Uniform numbers in [0, 1), multiples of 2**-24.

    Parameters
    ----------
    seeds : int64 tensor of shape (N,)
        Any 64-bit seeds.
    shape : tuple of int
        Shape for one sample. The first numbers of a seed are the same for any shape.
    stream : int, default=0
        Numbers of different streams are independent.

    Returns
    -------
    float32 tensor of shape (N, *shape)
        The same bits on CPU and CUDA.
    """

    def convert(halves: torch.Tensor, out: torch.Tensor) -> None:
        torch.mul(halves & 0xFFFFFF, 2.0**-24, out=out)

    return _halves(seeds, shape, stream, convert, torch.float32)


def randint(
    seeds: torch.Tensor, low: int, high: int, shape: Sequence[int], stream: int = 0
) -> torch.Tensor:
    """Integers from low to high, both included; `shape`, `stream` as in :func:`uniform`.

    The span must be below 2**24; its bias is then below span / 2**32.
    """
    span = high - low + 1

    def convert(halves: torch.Tensor, out: torch.Tensor) -> None:
        torch.add((halves.to(torch.int64) & _LOW).mul_(span) >> 32, low, out=out)

    return _halves(seeds, shape, stream, convert, torch.int64)


@functools.lru_cache(maxsize=4)
def _quantiles(device: torch.device) -> torch.Tensor:
    """65,536 equally likely values that stand for a normal distribution of variance 1/2."""
    middle = (torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)
    values = torch.special.ndtri(middle)
    # the factor 1 / sqrt(2) of `normal` is taken here
    return (values / (2 * values.square().mean()).sqrt()).to(torch.float32).to(device)


def normal(seeds: torch.Tensor, shape: Sequence[int], stream: int = 0) -> torch.Tensor:
    """Standard normal numbers; parameters as in :func:`uniform`.

    A random word gives four 16-bit quantiles of the normal distribution by table, and quantiles
    a, b of two words give two numbers, (a + b) / sqrt(2) and (a - b) / sqrt(2): again independent
    and normal, and no longer confined to the table. Unlike Box and Muller's sines and logarithms,
    sums are the same on every device. The largest magnitude is 6.1.

    Returns
    -------
    float32 tensor of shape (N, *shape)
    """
    n, size = len(seeds), math.prod(shape)
    n_words = -(-size // 8)
    result = torch.empty(n, 2, 4 * n_words, dtype=torch.float32, device=seeds.device)
    table = _quantiles(seeds.device)
    planes = (_pieces(seeds, n_words, stream, plane) for plane in (0, 1))
    for (where, words_a), (_, words_b) in zip(*planes, strict=True):
        a, b = _look_up(table, words_a), _look_up(table, words_b)
        torch.add(a, b, out=result[:, 0, 4 * where.start : 4 * where.stop])
        torch.sub(a, b, out=result[:, 1, 4 * where.start : 4 * where.stop])
    return result.view(n, 8 * n_words)[:, :size].reshape(n, *shape)


def _look_up(table: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """Entries of a table of 65,536 for every 16 bits of int64 words (N, n): (N, 4 n)."""
    if words.device.type != "cpu":
        index = words.view(torch.int16).to(torch.int32) & 0xFFFF
        return table.index_select(0, index.flatten()).view(index.shape)
    # NumPy's take reads 16-bit indices as they are, and is twice as fast
    return torch.from_numpy(np.take(table.numpy(), words.numpy().view(np.uint16), mode="wrap"))


def spawn(seeds: torch.Tensor, index: int) -> torch.Tensor:
    """New seeds, independent of the old ones and of those for another `index`.

    Parameters
    ----------
    seeds : int64 tensor of shape (N,)
    index : int
        Which child, 0..2**31-1.

    Returns
    -------
    int64 tensor of shape (N,)
    """
    zero = torch.zeros_like(seeds)
    # The last counter word is 0 in every other use, so no seed repeats an image's numbers.
    return philox((zero + index, zero, zero, zero + 1), (seeds, zero))[0]
