"""Between tensors and Pillow: 8-bit copies, and work on them in threads."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image

__all__ = ["from_bytes", "map_pillow", "to_bytes"]


def to_bytes(images):
    """(N, 3, H, W) floats in [0, 1] to a uint8 array (N, H, W, 3), rounded to the nearest."""
    scaled = images.detach().mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8)
    return scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def from_bytes(arrays):
    """A uint8 array (N, H, W, 3) to float32 (N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).to(torch.float32).div_(255).contiguous()


def map_pillow(function, images, values):
    """``function(pillow_image, value)`` for every sample, in at most 8 threads.

    Pillow's codecs let go of Python's lock. The pool lives for one call: a lasting one would
    not survive the fork of a data loader's workers.
    """

    def one(pair):
        array, value = pair
        result = np.array(function(Image.fromarray(array), value))
        if result.shape != array.shape:
            raise RuntimeError(f"{array.shape} became {result.shape}")
        return result

    pairs = list(zip(to_bytes(images), values, strict=True))
    if len(pairs) <= 1:
        arrays = [one(pair) for pair in pairs]
    else:
        threads = min(8, os.cpu_count() or 1, len(pairs))
        with ThreadPoolExecutor(threads) as pool:
            arrays = list(pool.map(one, pairs))
    if not arrays:
        return images.clone()
    return from_bytes(np.stack(arrays)).to(images.device)
