"""Counter-based random numbers: every sample's stream depends on its seed alone.

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) in int64
tensor operations, so that CPU and CUDA give the same bits, whatever stands beside a sample in the
batch. Numbers are asked for by (seed, stream, position); there is no state.
"""

import functools
import math

import torch

__all__ = ["normal", "philox", "randint", "spawn", "uniform"]

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(counter, key):
    """Philox4x32 with 10 rounds.

    Parameters
    ----------
    counter : sequence of 4 int64 tensors
        The words of the counter, each in 0..2**32-1, of shapes that broadcast.
    key : sequence of 2 int64 tensors
        The words of the key, likewise.

    Returns
    -------
    list of 4 int64 tensors
        Random words in 0..2**32-1.
    """
    # Words live in the low half of int64. A 32 x 32 bit product fits 64 bits (its sign does not
    # matter); only words that will be multiplied must have their high half cleared. All in
    # place in five buffers: fresh memory would cost more than the arithmetic.
    k0, k1 = key
    c0, c1, c2, c3 = (word.clone() for word in torch.broadcast_tensors(*counter, k0)[:4])
    product = torch.empty_like(c0)
    for _ in range(10):
        torch.mul(c0, _MULTIPLIERS[0], out=product)
        torch.mul(c2, _MULTIPLIERS[1], out=c0)
        c1 ^= k0
        c1 ^= c0 >> 32
        c1 &= _MASK
        c3 ^= k1
        torch.bitwise_right_shift(product, 32, out=c2)
        c3 ^= c2
        c3 &= _MASK
        c0, c1, c2, c3, product = c1, c0, c3, product, c2
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return [c0, c1 & _MASK, c2, c3 & _MASK]


def _draw(seeds, shape, stream, per_block, dtype, convert):
    """Numbers (N, *shape), of which each Philox block yields `per_block`.

    ``convert(words, out)`` turns four words of shape (N, blocks) into numbers
    ``out[:, i]``, i < per_block. Number i of block b stands at position i * n_blocks + b.
    """
    n, size = len(seeds), math.prod(shape)
    n_blocks = -(-size // per_block)
    result = torch.empty(n, per_block, n_blocks, dtype=dtype, device=seeds.device)
    key = ((seeds & _MASK)[:, None], ((seeds >> 32) & _MASK)[:, None])
    # On the CPU, pieces whose buffers stay in the second-level cache.
    budget = 1 << 14 if seeds.device.type == "cpu" else 1 << 22
    step = max(1, budget // max(n, 1))
    zero = torch.zeros(1, 1, dtype=torch.int64, device=seeds.device)
    for start in range(0, n_blocks, step):
        stop = min(start + step, n_blocks)
        block = torch.arange(start, stop, device=seeds.device)[None]
        words = philox((block & _MASK, block >> 32, zero + stream, zero), key)
        convert(words, result[:, :, start:stop])
    return result.view(n, per_block * n_blocks)[:, :size].reshape(n, *shape)


def uniform(seeds, shape, stream=0):
    """Uniform numbers in [0, 1), multiples of 2**-24.

    Parameters
    ----------
    seeds : int64 tensor of shape (N,)
        Any 64-bit seeds.
    shape : tuple of int
        Shape for one sample.
    stream : int, default=0
        Numbers of different streams are independent.

    Returns
    -------
    float32 tensor of shape (N, *shape)
        The same bits on CPU and CUDA.
    """

    def convert(words, out):
        for i, word in enumerate(words):
            torch.mul(word >> 8, 2.0**-24, out=out[:, i])

    return _draw(seeds, shape, stream, 4, torch.float32, convert)


def randint(seeds, low, high, shape, stream=0):
    """Integers from low to high, both included; `shape`, `stream` as in :func:`uniform`.

    The span must be below 2**24; its bias is then below span / 2**32.
    """
    span = high - low + 1

    def convert(words, out):
        for i, word in enumerate(words):
            torch.add((word * span) >> 32, low, out=out[:, i])

    return _draw(seeds, shape, stream, 4, torch.int64, convert)


@functools.lru_cache(maxsize=4)
def _quantiles(device):
    """65,536 equally likely values that stand for a normal distribution of variance 1/2."""
    middle = (torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)
    values = torch.special.ndtri(middle)
    # the factor 1 / sqrt(2) of `normal` is taken here
    return (values / (2 * values.square().mean()).sqrt()).to(torch.float32).to(device)


def normal(seeds, shape, stream=0):
    """Standard normal numbers; parameters as in :func:`uniform`.

    Each random word gives two 16-bit quantiles a, b of the normal distribution by table, and
    these two numbers, (a + b) / sqrt(2) and (a - b) / sqrt(2): again independent and normal, and
    no longer confined to the table. Unlike Box and Muller's sines and logarithms, sums and
    products are the same on every device, and a Philox block yields eight numbers. The largest
    magnitude is 6.1.

    Returns
    -------
    float32 tensor of shape (N, *shape)
    """
    table = _quantiles(seeds.device)

    def convert(words, out):
        for i, word in enumerate(words):
            a = table.index_select(0, (word >> 16).flatten()).view(word.shape)
            b = table.index_select(0, (word & 0xFFFF).flatten()).view(word.shape)
            torch.add(a, b, out=out[:, 2 * i])
            torch.sub(a, b, out=out[:, 2 * i + 1])

    return _draw(seeds, shape, stream, 8, torch.float32, convert)


def spawn(seeds, index):
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
    words = philox((zero + index, zero, zero, zero + 1), (seeds & _MASK, (seeds >> 32) & _MASK))
    return (words[0] << 32) | words[1]
