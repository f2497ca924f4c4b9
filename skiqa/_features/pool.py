"""Images of one size to pooled features: whole, or in tiles where they are large."""

from __future__ import annotations

import torch

from skiqa._network.live import to_input
from skiqa._network.pooling import POOLINGS
from skiqa._network.stages import Stages
from skiqa._network.tiles import needs_tiles, tiled_features
from skiqa._types import Pixels


def pool(
    images: Pixels, network: Stages, pooling: str, device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Return the pooled features of uint8 images of one size: (n, h, w, 3) -> (n, d) float32."""
    if needs_tiles(network, images.shape[1:3]):
        return torch.stack(
            [tiled_features(image, network, pooling, device, dtype) for image in images]
        )
    return POOLINGS[pooling](network.maps(to_input(images, network, device, dtype)))
