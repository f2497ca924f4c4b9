"""What runs a network over images: ONNX Runtime, or PyTorch where that cannot."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Protocol

from skiqa._network.engine import TILED_ABOVE, Engine
from skiqa._network.live_engines import live_engines
from skiqa._network.state import EncoderState
from skiqa._types import Floats, Pixels


class Runner(Protocol):
    """From uint8 images of one size to their pooled features."""

    stride: int

    def in_tiles(self, size: tuple[int, int]) -> bool:
        """Whether a photo of (height, width) runs in tiles; ImageError if it must but cannot."""

    def __call__(self, images: Pixels) -> Floats:
        """Return the pooled features: (n, h, w, 3) -> (n, d) float32; sides fit the stride."""


class EngineRunner:
    """An engine, and PyTorch for the photos that it cannot run whole.

    Parameters
    ----------
    engine : Engine
    in_torch : callable
        Returns the network's `TorchRunner`. Called when there is such a photo, as it imports
        PyTorch.
    """

    def __init__(self, engine: Engine, in_torch: Callable[[], Runner]) -> None:
        self._engine, self._in_torch = engine, cache(in_torch)
        self.stride = engine.stride

    def in_tiles(self, size: tuple[int, int]) -> bool:
        """Whether a photo of (height, width) runs in tiles; ImageError if it must but cannot."""
        return size[0] * size[1] > TILED_ABOVE and self._in_torch().in_tiles(size)

    def __call__(self, images: Pixels) -> Floats:
        """Return the pooled features: (n, h, w, 3) -> (n, d) float32."""
        height, width = images.shape[1:3]
        return (self._in_torch() if self.in_tiles((height, width)) else self._engine)(images)


def make_runners(state: EncoderState, pooling: str, device: str, precision: str) -> list[Runner]:
    """Return what runs each network of a state, the content beside it last.

    Parameters
    ----------
    state : EncoderState
    pooling : {"stages", "avg"}
    device : str
    precision : {"auto", "float32", "bfloat16"}
    """
    in_torch = partial(_torch_runner, state, pooling, device, precision)
    n_networks = sum(len(part.networks) for part in state.parts())
    engines: list[Engine | None] = [None] * n_networks
    if device == "cpu" and precision != "bfloat16":
        engines = live_engines(state, pooling)
    return [
        in_torch(index) if engine is None else EngineRunner(engine, partial(in_torch, index))
        for index, engine in enumerate(engines)
    ]


def _torch_runner(
    state: EncoderState, pooling: str, device: str, precision: str, index: int
) -> Runner:
    import torch

    from skiqa._features.pool import TorchRunner
    from skiqa._network.device import transform_dtype
    from skiqa._network.live import live_networks

    where, dtype = torch.device(device), transform_dtype(precision)
    return TorchRunner(live_networks(state, where, dtype)[index], pooling, where, dtype)
