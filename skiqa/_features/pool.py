"""Images of one size to pooled features by PyTorch: whole, or in tiles where they are large."""

from __future__ import annotations

import torch

from skiqa._network.live import to_input
from skiqa._network.pooling import POOLINGS
from skiqa._network.stages import Stages
from skiqa._network.tiles import needs_tiles, tiled_features
from skiqa._types import Floats, Pixels


def pool(
    images: Pixels, network: Stages, pooling: str, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Return the pooled features of uint8 images of one size: (n, h, w, 3) -> (n, d) float32."""
    if needs_tiles(network, images.shape[1:3]):
        return torch.stack(
            [tiled_features(image, network, pooling, device, dtype) for image in images]
        )
    return POOLINGS[pooling](network.maps(to_input(images, network, device, dtype)))


class TorchRunner:
    """A network and its pooling, run by PyTorch.

    Parameters
    ----------
    network : Stages
        As `skiqa._network.live.live_networks` returns it, for the same device and dtype.
    pooling : {"stages", "avg"}
    device : torch.device
    dtype : torch.dtype
    """

    def __init__(
        self, network: Stages, pooling: str, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._network, self._how = network, (pooling, device, dtype)
        self.stride = network.stride

    def in_tiles(self, size: tuple[int, int]) -> bool:
        """Whether a photo of (height, width) runs in tiles; ImageError if it must but cannot."""
        return needs_tiles(self._network, size)

    def __call__(self, images: Pixels) -> Floats:
        """Return the pooled features of uint8 images of one size: (n, h, w, 3) -> (n, d)."""
        with torch.inference_mode():  # is per thread: eight threads may transform at once
            return pool(images, self._network, *self._how).cpu().numpy()
