"""Images in another size, by the definitions of Pillow, in tensor operations."""

import functools

import torch
import torch.nn.functional as F

__all__ = ["nearest", "resample"]


def nearest(images, size):
    """Images (N, C, H, W) in another size, each pixel the nearest one."""
    for axis, new in ((2, size[0]), (3, size[1])):
        old = images.shape[axis]
        index = ((torch.arange(new, dtype=torch.float64) + 0.5) * old / new).floor().long()
        shape = [-1 if i == axis else 1 for i in range(4)]
        expanded = [new if i == axis else side for i, side in enumerate(images.shape)]
        index = index.to(images.device).view(shape).expand(expanded)
        images = images.gather(axis, index)  # index_select takes ten times as long along rows
    return images


def resample(images, size, kernel):
    """Images (N, C, H, W) in another size by "bilinear", "bicubic" or "lanczos".

    As Pillow's ``resize`` but for its rounding: where the image shrinks, the kernel is widened,
    so that nothing is skipped.
    """
    size = list(size)
    if kernel != "lanczos":
        return F.interpolate(images, size=size, mode=kernel, antialias=True)
    rows, columns = (
        # those of photos, up to 100 MB, are not kept
        (_lanczos if old * new <= 1 << 20 else _lanczos.__wrapped__)(old, new).to(images)
        for old, new in zip(images.shape[2:], size, strict=True)
    )
    if rows.shape[0] < rows.shape[1]:  # the smaller product first
        return (rows @ images) @ columns.T
    return rows @ (images @ columns.T)


@functools.lru_cache(maxsize=64)
def _lanczos(old, new):
    """Weights (new, old) by which `old` samples make `new` ones, which PyTorch 2.6 has not."""
    step = old / new
    width = max(step, 1.0)
    centers = ((torch.arange(new, dtype=torch.float64) + 0.5) * step)[:, None]
    places = torch.arange(old, dtype=torch.float64)
    first, last = ((centers + side * width + 0.5).floor() for side in (-3, 3))
    x = (places + 0.5 - centers) / width
    weights = torch.sinc(x) * torch.sinc(x / 3)
    weights[(x.abs() >= 3) | (places < first) | (places >= last)] = 0
    return (weights / weights.sum(1, keepdim=True)).to(torch.float32)
