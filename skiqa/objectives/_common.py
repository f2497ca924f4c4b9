"""What several objectives share: precision, crops, pooled features, the projector without norm."""

import torch
from torch import nn
from torch.nn import functional as F


def at_least_float32(x):
    """Return a tensor in float32, or as it is if it is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def crop(images, offsets, size):
    """Cut one square from each image at a relative offset.

    Parameters
    ----------
    images : tensor of shape (n, c, h, w)
    offsets : tensor of shape (n, 2) in [0, 1)
        Where in the free room above and left of the square, 0 = flush.
    size : int

    Returns
    -------
    tensor of shape (n, c, size, size)
    """
    free = torch.tensor(images.shape[2:], device=offsets.device) - size + 1
    # in float32 an offset just below 1 can round up to all the room there is
    return cut(images, torch.minimum((offsets * free).long(), free - 1), size)


def cut(images, corners, size):
    """Cut one square from each image at its own corner, an int tensor (n, 2) of rows, columns."""
    corners = corners.tolist()
    return torch.stack(
        [x[:, y : y + size, z : z + size] for x, (y, z) in zip(images, corners, strict=True)]
    )


def halved(images, mode="bilinear"):
    """Return images (n, c, h, w) at half their size, averaged over what is removed."""
    return F.interpolate(images, scale_factor=0.5, mode=mode, antialias=True)


def average(maps):
    """Average each map over its area: (n, c, h, w) -> (n, c)."""
    return at_least_float32(maps).mean(dim=(2, 3))


class PlainProjector(nn.Sequential):
    """Linear - ReLU - Linear with biases: the projector of MoCo v2, ARNIQA and Re-IQA."""

    def __init__(self, n_features, n_outputs):
        super().__init__(
            nn.Linear(n_features, n_features), nn.ReLU(), nn.Linear(n_features, n_outputs)
        )
