"""Large photos in flat memory: the network runs in overlapping tiles, a few stages at a time.

Cutting the whole network into tiles would need a halo of its receptive field, hundreds of pixels
on each side, and most of the arithmetic would be spent on halos. So the chain of stages is cut into
segments, each with a halo of its own reach (a few cells of its input), and the map between two
segments, small by then, is kept whole. Equal to the whole photo up to the rounding of the
convolutions.
"""

import copy
import os

import numpy as np
import torch
from torch import nn

from skiqa._network.live import to_input
from skiqa.exceptions import ImageError

TILED_ABOVE = 4_000_000  # pixels; up to here a photo runs whole
TILE_PIXELS = 800_000  # of the photo, for a tile that starts at full resolution
MAP_BYTES = 600_000_000  # largest map that is kept whole between two segments


def needs_tiles(network, size):
    """Whether a photo of (height, width) runs in tiles; ImageError if it must not but cannot."""
    height, width = size
    if height * width <= TILED_ABOVE:
        return False
    if tiling(network):
        return True
    refuse_beyond_memory(
        network,
        size,
        "Use a convolutional backbone, smaller photos, or a machine with more memory.",
    )
    return False


def refuse_beyond_memory(network, size, remedy):
    """Raise ImageError if memory does not hold a photo of (height, width) that runs whole."""
    height, width = size
    if height * width <= TILED_ABOVE:
        return
    needed = height * width * bytes_per_pixel(network)
    if (available := available_memory()) is not None and needed > available:
        raise ImageError(
            f"A photo of {width} x {height} pixels needs about {needed / 2**30:.1f} GiB where this "
            f"network looks at the whole photo at once, and {available / 2**30:.1f} GiB are free. "
            f"{remedy}"
        )


class Stage:
    """One stage of a chain: its layers, stride and reach.

    Parameters
    ----------
    layers : list of nn.Module
        Run one after the other.
    reported : bool
        Whether its map is a feature map (a stem's is not).
    """

    def __init__(self, layers, reported):
        self.layers, self.reported = layers, reported
        reach, jump, widest = 0.0, 1, 1
        for module in nn.ModuleList(layers).modules():
            if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
                kernel, stride = _side(module.kernel_size), _side(module.stride)
                reach += (kernel - 1) * _side(getattr(module, "dilation", 1)) / 2 * jump
                # parallel branches repeat the stride of the main one: never count it twice
                widest = max(widest, stride)
                jump = widest if len(layers) == 1 else jump * stride
        self.reach = int(np.ceil(reach)) + 1

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def _side(value):
    return max(value) if isinstance(value, (tuple, list)) else value


def tiling(network):
    """Return the measured chain [(stage, stride, channels), ...] of a network, or None.

    None if the network is no chain, or if a stage looks further than its kernels say (attention,
    squeeze and excitation, any global mean): found out by running each stage whole and in tiles.
    """
    if "chain" not in network.__dict__:
        network.__dict__["chain"] = _measure(network)
    return network.__dict__["chain"]


def _measure(network):
    stem, stages = network.split()
    if stages is None:
        return None
    groups = ([Stage(stem, False)] if stem else []) + [Stage(layers, True) for layers in stages]
    parameter = next(network.parameters())
    generator = torch.Generator().manual_seed(0)
    chain, channels = [], 3
    with torch.inference_mode():
        for stage in groups:
            probe = torch.zeros(1, channels, 64, 64).to(parameter)
            out = stage(probe)
            entry = (stage, 64 // out.shape[2], out.shape[1])
            # two tiles each way, each out of the other's reach; odd: the harder case for padding
            side = 2 * (stage.reach + 2 * entry[1]) + 1
            x = torch.randn(1, channels, side, side, generator=generator).to(parameter)
            x = x.contiguous(memory_format=torch.channels_last)
            whole, tiled = stage(x), _run_segment([entry], x, side // 2)[0]
            tolerance = 1e-4 if parameter.dtype == torch.float32 else 5e-2
            if not torch.allclose(whole, tiled, rtol=tolerance, atol=tolerance * whole.abs().max()):
                return None
            chain.append(entry)
            channels = out.shape[1]
    return chain


def tiled_features(image, network, pooling, device, dtype):
    """Return the pooled features of one large uint8 photo (h, w, 3): (d,) float32."""
    return pool_moments(tiled_moments(image, network, device, dtype), pooling)


def pool_moments(moments, pooling):
    """Pool the moments of every stage, [(sums, sums of squares, count), ...]: (d,) float32."""
    means = [total / count for total, _, count in moments]
    if pooling == "avg":
        return means[-1].float()
    spreads = [
        (square / count - mean**2).clamp(min=0).sqrt()
        for (_, square, count), mean in zip(moments, means, strict=True)
    ]
    return torch.cat([part for pair in zip(means, spreads, strict=True) for part in pair]).float()


def tiled_moments(image, network, device, dtype, measure=None):
    """Return the moments of every stage's map of one large uint8 photo (h, w, 3).

    Parameters
    ----------
    image, network, device, dtype
        The photo, and what runs it.
    measure : callable or None, default=None
        What is added up: ``measure(x, place, size)`` returns three things that can be added, of the
        part x (1, c, h', w') of a map that is `size` large and begins at `place`. None: sum, sum of
        squares and count.

    Returns
    -------
    list of (sum, sum of squares, count)
        By channel, float64 of shape (c_s,); or what `measure` returns.
    """
    height, width, _ = image.shape
    chain, moments, x, stride = tiling(network), [], None, 1

    def photo(rows, columns):
        return to_input(image[None, rows, columns], network, device, dtype)

    for segment in _segments(chain, height, width):
        tile = int(np.sqrt(TILE_PIXELS * stride)) // stride
        source = photo if x is None else x
        size = (height, width) if x is None else None
        x, found = _run_segment(segment, source, tile, size, measure or _moments)
        moments += [m for m, (stage, _, _) in zip(found, segment, strict=True) if stage.reported]
        stride *= int(np.prod([s for _, s, _ in segment]))
    return moments


def _segments(chain, height, width):
    """Cut the chain so that every map kept between two segments is small."""
    segment, stride = [], 1
    for entry in chain:
        segment.append(entry)
        stride *= entry[1]
        if entry[0].reported and 4 * entry[2] * height * width / stride**2 <= MAP_BYTES:
            yield segment
            segment = []
    if segment:
        yield segment


def _run_segment(segment, source, tile, size=None, measure=None):
    """Run some stages over a map in tiles.

    Parameters
    ----------
    segment : list of (Stage, stride, channels)
    source : tensor of shape (1, c, h, w), or callable (rows, columns) -> such a tensor
    tile : int
        Side of a tile in cells of the source, halo not counted.
    size : tuple of 2 int or None
        (h, w) of a callable source.
    measure : callable or None
        As for :func:`tiled_moments`; None: nothing is measured.

    Returns
    -------
    out : tensor of shape (1, c', h', w')
        The last stage's map.
    moments : list of 3 things each
        Of every reported stage's map.
    """
    height, width = source.shape[2:] if size is None else size
    total = int(np.prod([stride for _, stride, _ in segment]))
    reach, jump = 0, 1
    for stage, stride, _ in segment:
        reach, jump = reach + stage.reach * jump, jump * stride
    halo = -(-reach // total) * total
    tile = max(1, tile // total) * total
    out, moments = None, [[0.0, 0.0, 0] for _ in segment]
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            (y0, y1, ya), (x0, x1, xa) = (
                _extent(start, tile, halo, total, side)
                for start, side in ((top, height), (left, width))
            )
            rows, columns = slice(y0, y1), slice(x0, x1)
            x = source(rows, columns) if callable(source) else source[:, :, rows, columns]
            jump = 1
            for moment, (stage, stride, _) in zip(moments, segment, strict=True):
                x = stage(x)
                jump *= stride
                own_y = _own(ya - y0, tile, jump, ya + tile < height)
                own_x = _own(xa - x0, tile, jump, xa + tile < width)
                own = x[:, :, own_y, own_x]
                # a tile leaves the whole map's remainder, so it rounds as the whole map does
                whole = (
                    height // jump + x.shape[2] - (y1 - y0) // jump,
                    width // jump + x.shape[3] - (x1 - x0) // jump,
                )
                if stage.reported and measure is not None:
                    found = measure(own, (ya // jump, xa // jump), whole)
                    moment[:] = [a + b for a, b in zip(moment, found, strict=True)]
            if out is None:
                shape = [1, x.shape[1], *whole]
                out = torch.empty(
                    shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last
                )
            place = out[:, :, ya // jump : ya // jump + own.shape[2], xa // jump :]
            place[:, :, :, : own.shape[3]] = own
    return out, moments


def _extent(start, tile, halo, stride, side):
    """Return (first, end, start): a tile with its halo, congruent to the whole side.

    "Same" padding of a strided convolution depends on its input's size modulo the stride, so a
    tile must leave the same remainder as the whole map.
    """
    first = max(0, start - halo)
    end = min(side, start + tile + halo + side % stride)
    return first, end, start


def _own(offset, tile, jump, inner):
    """Return the slice of a stage's map that belongs to the tile itself."""
    return slice(offset // jump, (offset + tile) // jump if inner else None)


def _moments(x, place, size):
    """Return the sum, the sum of squares (float64, by channel) and the count of a (1, c, h, w)."""
    flat = x[0].flatten(1)
    doubles = [channel.double() for channel in flat]
    return (
        torch.stack([d.sum() for d in doubles]),
        torch.stack([d.square().sum() for d in doubles]),
        flat.shape[1],
    )


def bytes_per_pixel(network):
    """Return the memory a forward pass takes for each pixel, measured on a small image."""
    sizes = []

    def note(module, inputs, output):
        tensors = [t for t in (*inputs, output) if isinstance(t, torch.Tensor)]
        sizes.append(sum(t.numel() * t.element_size() for t in tensors))

    network = copy.deepcopy(network)  # the live one is shared between threads: no hooks on it
    for module in network.modules():
        module.register_forward_hook(note)
    side = 4 * network.stride
    with torch.inference_mode():
        network(torch.zeros(1, 3, side, side).to(next(network.parameters())))
    return 1.5 * max(sizes) / side**2


def available_memory():
    """Return the bytes of memory that are free for use, or None where that is not known."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None
