"""Large photos in flat memory: the network runs in overlapping tiles, a few stages at a time.

Cutting the whole network into tiles would need a halo of its receptive field, hundreds of pixels
on each side, and most of the arithmetic would be spent on halos. So the chain of stages is cut into
segments, each with a halo of its own reach (a few cells of its input), and the map between two
segments, small by then, is kept whole. Equal to the whole photo up to the rounding of the
convolutions.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from skiqa._network.engine import TILED_ABOVE
from skiqa._network.live import to_input
from skiqa._network.stages import Stages
from skiqa._types import Pixels
from skiqa.exceptions import ImageError

# Of one stage's map, or of a part of it: three things that can be added.
Moments: TypeAlias = "tuple[Any, Any, Any]"

# measure(x, place, size): the moments of the part x of a map, see `tiled_moments`.
Measure: TypeAlias = "Callable[[torch.Tensor, tuple[int, int], tuple[int, int]], Moments]"

# source(rows, columns): that part of a photo or map, (1, c, h, w).
_Source: TypeAlias = "Callable[[slice, slice], torch.Tensor]"

TILE_PIXELS = 800_000  # of the photo, for a tile that starts at full resolution
MAP_BYTES = 600_000_000  # largest map that is kept whole between two segments


def needs_tiles(network: Stages, size: tuple[int, int]) -> bool:
    """Whether a photo of (height, width) runs in tiles; ImageError if it must not but cannot."""
    height, width = size
    if height * width <= TILED_ABOVE:
        return False
    if tiling(network):
        return True
    remedy = "Use a convolutional backbone, smaller photos, or a machine with more memory."
    refuse_beyond_memory(network, size, remedy)
    return False


def refuse_beyond_memory(network: Stages, size: tuple[int, int], remedy: str) -> None:
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
    """One stage of a chain: its layers, and how far it looks.

    Parameters
    ----------
    layers : list of nn.Module
        Run one after the other.
    reported : bool
        Whether its map is a feature map (a stem's is not).

    Attributes
    ----------
    reach : int
        How many cells of its input, on each side, a cell of its map may depend on.
    """

    def __init__(self, layers: Sequence[nn.Module], reported: bool) -> None:
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

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Link(NamedTuple):
    """A stage of a chain, with what was measured of it."""

    stage: Stage
    stride: int
    channels: int


def _side(value: int | Sequence[int]) -> int:
    return value if isinstance(value, int) else max(value)


_CHAINS: WeakKeyDictionary[Stages, list[Link] | None] = WeakKeyDictionary()


def tiling(network: Stages) -> list[Link] | None:
    """Return the measured chain of a network, or None; it is measured once.

    None if the network is no chain, or if a stage looks further than its kernels say (attention,
    squeeze and excitation, any global mean): found out by running each stage whole and in tiles.
    """
    if network not in _CHAINS:
        _CHAINS[network] = _measured_chain(network)
    return _CHAINS[network]


def _measured_chain(network: Stages) -> list[Link] | None:
    stem, stages = network.split()
    if stages is None:
        return None
    groups = ([Stage(stem, False)] if stem else []) + [Stage(layers, True) for layers in stages]
    parameter = next(network.parameters())
    generator = torch.Generator().manual_seed(0)
    chain: list[Link] = []
    channels = 3
    with torch.inference_mode():
        for stage in groups:
            probe = torch.zeros(1, channels, 64, 64).to(parameter)
            out = stage(probe)
            link = Link(stage, 64 // out.shape[2], out.shape[1])
            # two tiles each way, each out of the other's reach; odd: the harder case for padding
            side = 2 * (stage.reach + 2 * link.stride) + 1
            x = torch.randn(1, channels, side, side, generator=generator).to(parameter)
            x = x.contiguous(memory_format=torch.channels_last)
            whole, (tiled, _) = (
                stage(x),
                _run_in_tiles([link], _parts_of(x), (side, side), side // 2),
            )
            tolerance = 1e-4 if parameter.dtype == torch.float32 else 5e-2
            if not torch.allclose(
                whole, tiled, rtol=tolerance, atol=tolerance * float(whole.abs().max())
            ):
                return None
            chain.append(link)
            channels = link.channels
    return chain


def tiled_features(
    image: Pixels, network: Stages, pooling: str, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Return the pooled features of one large uint8 photo (h, w, 3): (d,) float32."""
    return pool_moments(tiled_moments(image, network, device, dtype), pooling)


def pool_moments(moments: Sequence[Moments], pooling: str) -> torch.Tensor:
    """Pool the moments of every stage, [(sums, sums of squares, count), ...]: (d,) float32."""
    means = [total / count for total, _, count in moments]
    if pooling == "avg":
        last: torch.Tensor = means[-1].float()
        return last
    spreads = [
        (square / count - mean**2).clamp(min=0).sqrt()
        for (_, square, count), mean in zip(moments, means, strict=True)
    ]
    return torch.cat([part for pair in zip(means, spreads, strict=True) for part in pair]).float()


def tiled_moments(
    image: Pixels,
    network: Stages,
    device: torch.device,
    dtype: torch.dtype,
    measure: Measure | None = None,
) -> list[Moments]:
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
    chain = tiling(network)
    if chain is None:
        raise ValueError("A network that looks at the whole photo at once cannot run in tiles.")
    height, width, _ = image.shape

    def photo(rows: slice, columns: slice) -> torch.Tensor:
        return to_input(image[None, rows, columns], network, device, dtype)

    moments: list[Moments] = []
    source: _Source = photo
    size, stride = (height, width), 1
    for segment in segments(chain, height, width):
        tile = int(np.sqrt(TILE_PIXELS * stride)) // stride
        x, found = _run_in_tiles(segment, source, size, tile, measure or _sums)
        moments += [m for m, (stage, _, _) in zip(found, segment, strict=True) if stage.reported]
        source, size = _parts_of(x), (x.shape[2], x.shape[3])
        stride *= _stride_of(segment)
    return moments


def segments(chain: Iterable[Link], height: int, width: int) -> Iterator[list[Link]]:
    """Cut a chain so that every map kept between two segments is small."""
    segment, stride = [], 1
    for link in chain:
        segment.append(link)
        stride *= link.stride
        size = 4 * link.channels * height * width / stride**2
        if link.stage.reported and size <= MAP_BYTES:
            yield segment
            segment = []
    if segment:
        yield segment


def _stride_of(segment: Iterable[Link]) -> int:
    return int(np.prod([link.stride for link in segment]))


def _parts_of(x: torch.Tensor) -> _Source:
    return lambda rows, columns: x[:, :, rows, columns]


def _run_in_tiles(
    segment: Sequence[Link],
    source: _Source,
    size: tuple[int, int],
    tile: int,
    measure: Measure | None = None,
) -> tuple[torch.Tensor, list[Moments]]:
    """Run some stages over a photo or map in tiles.

    Parameters
    ----------
    segment : list of Link
    source : callable (rows, columns) -> tensor of shape (1, c, h, w)
    size : tuple of 2 int
        (h, w) of the whole source.
    tile : int
        Side of a tile in cells of the source, halo not counted.
    measure : callable or None
        As for :func:`tiled_moments`; None: nothing is measured.

    Returns
    -------
    out : tensor of shape (1, c', h', w')
        The last stage's map.
    moments : list of 3 things each
        Of every reported stage's map.
    """
    height, width = size
    total = _stride_of(segment)
    reach, jump = 0, 1
    for stage, stride, _ in segment:
        reach, jump = reach + stage.reach * jump, jump * stride
    halo = -(-reach // total) * total
    tile = max(1, tile // total) * total
    out: torch.Tensor | None = None
    moments: list[Moments] = [(0.0, 0.0, 0) for _ in segment]
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            y = _Extent.of_tile(top, tile, halo, total, height)
            x = _Extent.of_tile(left, tile, halo, total, width)
            part, jump = source(y.with_halo, x.with_halo), 1
            for i, (stage, stride, _) in enumerate(segment):
                part, jump = stage(part), jump * stride
                own = part[:, :, y.own(jump), x.own(jump)]
                whole = y.whole(part.shape[2], jump), x.whole(part.shape[3], jump)
                place = y.start // jump, x.start // jump
                if stage.reported and measure is not None:
                    found = measure(own, place, whole)
                    a, b, c = (m + n for m, n in zip(moments[i], found, strict=True))
                    moments[i] = a, b, c
            if out is None:
                shape, last = (1, own.shape[1], *whole), torch.channels_last
                out = torch.empty(shape, dtype=own.dtype, device=own.device, memory_format=last)
            rows = slice(place[0], place[0] + own.shape[2])
            out[:, :, rows, place[1] : place[1] + own.shape[3]] = own
    return cast("torch.Tensor", out), moments


@dataclass(frozen=True)
class _Extent:
    """Where a tile lies along one axis of the source, in cells of it.

    "Same" padding of a strided convolution depends on its input's size modulo the stride, so a
    tile with its halo is congruent to the whole side.

    Parameters
    ----------
    first, last : int
        Of the tile with its halo, `last` not included.
    start, end : int
        Of the tile alone; `end` may lie beyond the side.
    side : int
        Of the whole source.
    """

    first: int
    last: int
    start: int
    end: int
    side: int

    @classmethod
    def of_tile(cls, start: int, tile: int, halo: int, stride: int, side: int) -> _Extent:
        last = min(side, start + tile + halo + side % stride)
        return cls(max(0, start - halo), last, start, start + tile, side)

    @property
    def with_halo(self) -> slice:
        return slice(self.first, self.last)

    def own(self, jump: int) -> slice:
        """Return the part of the tile's map, each cell `jump` cells, that is not halo."""
        inner = self.end < self.side
        return slice(
            (self.start - self.first) // jump, (self.end - self.first) // jump if inner else None
        )

    def whole(self, length: int, jump: int) -> int:
        """Return the length of the whole map, of which the tile's is `length` long."""
        # a tile leaves the whole map's remainder, so it rounds as the whole map does
        return self.side // jump + length - (self.last - self.first) // jump


def _sums(x: torch.Tensor, place: tuple[int, int], size: tuple[int, int]) -> Moments:
    """Return the sum, the sum of squares (float64, by channel) and the count of a (1, c, h, w)."""
    flat = x[0].flatten(1)
    doubles = [channel.double() for channel in flat]
    return (
        torch.stack([d.sum() for d in doubles]),
        torch.stack([d.square().sum() for d in doubles]),
        flat.shape[1],
    )


def bytes_per_pixel(network: Stages) -> float:
    """Return the memory a forward pass takes for each pixel, measured on a small image."""
    sizes: list[int] = []

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        tensors = [t for t in (*inputs, output) if isinstance(t, torch.Tensor)]
        sizes.append(sum(t.numel() * t.element_size() for t in tensors))

    network = copy.deepcopy(network)  # the live one is shared between threads: no hooks on it
    for module in network.modules():
        module.register_forward_hook(note)
    side = 4 * network.stride
    with torch.inference_mode():
        network(torch.zeros(1, 3, side, side).to(next(network.parameters())))
    return 1.5 * max(sizes) / side**2


def available_memory() -> int | None:
    """Return the bytes of memory that are free for use, or None where that is not known."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None
