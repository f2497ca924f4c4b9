"""Linear filters with replicated borders, on batches that share one kernel.

A filter is a sum of shifted copies: on CPUs that beats grouped convolutions several times over
for the small kernels that are needed here, and adds up in the same order for every sample.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len

__all__ = [
    "anisotropic_kernel",
    "defocus_kernel",
    "disk_kernel",
    "enlarge",
    "filter2d",
    "filter_axes",
    "gaussian_filter",
    "gaussian_kernel",
    "gradient_magnitude",
    "median_filter",
    "motion_kernel",
    "sinc_kernel",
]

# From this many taps on, the FFT is faster than adding shifted copies (512 x 512, one thread).
_FFT_TAPS = 90


def gaussian_kernel(sigma: float) -> list[float]:
    """Weights of a Gaussian of 2 * ceil(2 sigma) + 1 taps, as MATLAB's imgaussfilt has them."""
    radius = math.ceil(2 * sigma)
    if radius == 0:
        return [1.0]
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def gaussian_filter(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian filter of (N, C, H, W), rows and columns in turn."""
    return filter_axes(images, gaussian_kernel(sigma))


def filter_axes(images: torch.Tensor, kernel: list[float]) -> torch.Tensor:
    """Filter of (N, C, H, W) with an odd, symmetric 1-D kernel along rows and columns."""
    return _filter_axis(_filter_axis(images, kernel, 3), kernel, 2)


def _filter_axis(images: torch.Tensor, kernel: list[float], axis: int) -> torch.Tensor:
    """Filter of (N, C, H, W) with an odd, symmetric 1-D kernel along one axis."""
    radius, size = len(kernel) // 2, images.shape[axis]
    padded = replicate(images, *((radius, 0) if axis == 2 else (0, radius)))
    result = padded.narrow(axis, radius, size) * kernel[radius]
    for i, weight in enumerate(kernel):
        if i != radius and weight > 1e-9:  # what float32 sums of numbers up to 1 can see
            result.add_(padded.narrow(axis, i, size), alpha=weight)
    return result


def replicate(images: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Images with `rows` and `columns` copies of the border pixels on each side."""
    if rows == columns == 0:
        return images
    return F.pad(images, (columns, columns, rows, rows), mode="replicate")


def filter2d(images: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Correlation of (N, C, H, W) with an odd-sized 2-D kernel, a float64 CPU tensor."""
    height, width = images.shape[2:]
    rows, columns = kernel.shape
    padded = replicate(images, rows // 2, columns // 2)
    taps = [(i, j, w) for i, row in enumerate(kernel.tolist()) for j, w in enumerate(row) if w]
    if len(taps) < _FFT_TAPS:
        result = torch.zeros_like(images, memory_format=torch.contiguous_format)
        for i, j, weight in taps:
            result.add_(padded[:, :, i : i + height, j : j + width], alpha=weight)
        return result
    size = [next_fast_len(side, real=True) for side in padded.shape[2:]]
    response = torch.fft.rfft2(kernel.to(images), s=size).conj()
    spectrum = torch.fft.rfft2(padded, s=size).mul_(response)
    return torch.fft.irfft2(spectrum, s=size)[:, :, :height, :width]


def enlarge(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Images enlarged about their centre by a factor and cut to their size; bilinear."""
    theta = torch.tensor([[1 / factor, 0, 0], [0, 1 / factor, 0]], device=images.device)
    grid = F.affine_grid(theta.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


@functools.lru_cache(maxsize=32)
def disk_kernel(radius: float) -> torch.Tensor:
    """Areas of a disk that lie in the pixels, as MATLAB's ``fspecial('disk', radius)`` has them.

    Parameters
    ----------
    radius : float, above 0

    Returns
    -------
    float64 tensor of shape (size, size), size = 2 * ceil(radius - 0.5) + 1, with sum 1
    """
    half = max(math.ceil(radius - 0.5), 0)
    edges = [i - 0.5 for i in range(-half, half + 2)]
    areas = [[_quadrant(x, y, radius) for x in edges] for y in edges]
    corner = torch.tensor(areas, dtype=torch.float64)
    kernel = corner.diff(dim=0).diff(dim=1)
    kernel[kernel < 1e-12] = 0
    return kernel / kernel.sum()


def _quadrant(x: float, y: float, radius: float) -> float:
    """Signed area of the disk between the axes and the lines through x and y."""
    sign = math.copysign(1, x) * math.copysign(1, y)
    x, y = min(abs(x), radius), min(abs(y), radius)

    def under_arc(u: float) -> float:  # integral of sqrt(radius^2 - t^2) from 0 to u
        return (u * math.sqrt(radius**2 - u**2) + radius**2 * math.asin(u / radius)) / 2

    reach = min(x, math.sqrt(radius**2 - y**2))  # up to here the line y lies below the arc
    return sign * (reach * y + under_arc(x) - under_arc(reach))


@functools.lru_cache(maxsize=32)
def defocus_kernel(radius: float) -> torch.Tensor:
    """A disk whose rim is smoothed by a Gaussian of sigma ``radius / 10``; sums to 1."""
    kernel = disk_kernel(radius)[None, None]
    margin = math.ceil(radius / 5)
    return gaussian_filter(F.pad(kernel, (margin,) * 4), radius / 10)[0, 0]


def anisotropic_kernel(along: float, across: float, angle: float) -> torch.Tensor:
    """A Gaussian of two standard deviations, cut off at three times these.

    Parameters
    ----------
    along, across : float, above 0
        Standard deviations in pixels, `along` the larger.
    angle : float
        Of the longer axis, in degrees, counter-clockwise from the horizontal.

    Returns
    -------
    float64 tensor of shape (size, size), size = 2 * ceil(2 * along) + 1, with sum 1
    """
    reach = math.ceil(2 * along)
    x = torch.arange(-reach, reach + 1, dtype=torch.float64)[None, :]
    y = -x.T  # rows count downwards
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    square = ((x * cosine + y * sine) / along).square()
    square = square + ((y * cosine - x * sine) / across).square()
    kernel = torch.where(square <= 9, torch.exp(-square / 2), 0)
    return kernel / kernel.sum()


@functools.lru_cache(maxsize=32)
def sinc_kernel(cutoff: float) -> torch.Tensor:
    """An ideal low-pass: what lies within `cutoff` of the origin of the spectrum.

    Parameters
    ----------
    cutoff : float
        In radians per pixel, above 0, up to pi.

    Returns
    -------
    float64 tensor of shape (size, size), size = 2 * ceil(10 / cutoff) + 1, with sum 1
        Room for three ripples on each side.
    """
    reach = math.ceil(10 / cutoff)
    x = torch.arange(-reach, reach + 1, dtype=torch.float64)
    distance = torch.hypot(x[None], x[:, None])
    distance[reach, reach] = 1
    kernel = torch.special.bessel_j1(cutoff * distance) * cutoff / (2 * math.pi * distance)
    kernel[reach, reach] = cutoff**2 / (4 * math.pi)
    return kernel / kernel.sum()


def median_filter(images: torch.Tensor, size: int) -> torch.Tensor:
    """Median over size x size pixels of (N, C, H, W) in [0, 1], rounded to 8 bits.

    The eight bits of each median are found from the highest down: a bit stays set if at least
    half of the pixels around are as large as the number so far. That takes comparisons of
    bytes only, 32 at a time on most CPUs, and no sorting.
    """
    height, width = images.shape[2:]
    values = images.mul(255).add_(0.5).clamp_(0, 255)
    padded = replicate(values, size // 2, size // 2).to(torch.uint8)
    columns = [padded[..., j : j + width].contiguous() for j in range(size)]
    neighbors = [column[:, :, i : i + height] for column in columns for i in range(size)]
    median = torch.zeros(images.shape, dtype=torch.uint8, device=images.device)
    larger = torch.empty_like(median, dtype=torch.bool)
    for bit in (128, 64, 32, 16, 8, 4, 2, 1):
        candidate = median + bit
        count = torch.zeros_like(median)
        for neighbor in neighbors:
            torch.ge(neighbor, candidate, out=larger)
            count += larger.view(torch.uint8)  # adding bytes to bytes is the fast case
        median += torch.gt(count, size**2 // 2, out=larger).view(torch.uint8) * bit
    return median.to(torch.float32).div_(255)


@functools.lru_cache(maxsize=1024)  # whole degrees, five levels
def motion_kernel(length: float, angle: float) -> torch.Tensor:
    """A line of that length and angle, as MATLAB's ``fspecial('motion', length, angle)`` has it.

    A pixel weighs 1 minus its distance to the line, the length of which is counted from the
    centres of its end pixels.

    Parameters
    ----------
    length : float
        In pixels; up to 1 the kernel is a single pixel.
    angle : float
        In degrees, counter-clockwise from the horizontal.

    Returns
    -------
    float64 tensor of shape (odd, odd) with sum 1
    """
    half = (max(length, 1) - 1) / 2
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    reach = math.ceil(half) + 1
    x = torch.arange(-reach, reach + 1, dtype=torch.float64)[None, :]
    y = -x.T  # rows count downwards
    along, across = x * cosine + y * sine, y * cosine - x * sine
    beyond = torch.where(torch.hypot(x, y) >= half, half - along.abs(), 0)
    kernel = 1 - torch.hypot(across, beyond)
    kernel[kernel < 1e-9] = 0
    rows, columns = kernel.any(1).nonzero()[:, 0], kernel.any(0).nonzero()[:, 0]
    kernel = kernel[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return kernel / kernel.sum()


def gradient_magnitude(gray: torch.Tensor) -> torch.Tensor:
    """Length of Sobel's gradient of (N, 1, H, W)."""
    height, width = gray.shape[2:]
    padded = replicate(gray, 1, 1)
    dx = padded[..., 2:] - padded[..., :width]
    dx = dx[:, :, :height] + 2 * dx[:, :, 1:-1] + dx[:, :, 2:]
    dy = padded[:, :, 2:] - padded[:, :, :height]
    dy = dy[..., :width] + 2 * dy[..., 1:-1] + dy[..., 2:]
    return torch.hypot(dx, dy)
