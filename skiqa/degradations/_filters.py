"""Linear filters with replicated borders, on batches that share one kernel.

A filter is a sum of shifted copies: on CPUs that beats grouped convolutions several times over
for the small kernels that are needed here, and adds up in the same order for every sample.
"""

import math

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len

__all__ = [
    "disk_kernel",
    "filter2d",
    "gaussian_filter",
    "gaussian_kernel",
    "gradient_magnitude",
    "motion_kernel",
]

# From this many taps on, the FFT is faster than adding shifted copies (512 x 512, one thread).
_FFT_TAPS = 90


def gaussian_kernel(sigma):
    """Weights of a Gaussian of 2 * ceil(2 sigma) + 1 taps, as MATLAB's imgaussfilt has them."""
    radius = math.ceil(2 * sigma)
    if radius == 0:
        return [1.0]
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def gaussian_filter(images, sigma):
    """Gaussian filter of (N, C, H, W), rows and columns in turn."""
    kernel = gaussian_kernel(sigma)
    return _filter_axis(_filter_axis(images, kernel, 3), kernel, 2)


def _filter_axis(images, kernel, axis):
    """Filter of (N, C, H, W) with an odd, symmetric 1-D kernel along one axis."""
    radius, size = len(kernel) // 2, images.shape[axis]
    padded = replicate(images, *((radius, 0) if axis == 2 else (0, radius)))
    result = padded.narrow(axis, radius, size) * kernel[radius]
    for i, weight in enumerate(kernel):
        if i != radius and weight > 1e-9:  # what float32 sums of numbers up to 1 can see
            result.add_(padded.narrow(axis, i, size), alpha=weight)
    return result


def replicate(images, rows, columns):
    """Images with `rows` and `columns` copies of the border pixels on each side."""
    if rows == columns == 0:
        return images
    return F.pad(images, (columns, columns, rows, rows), mode="replicate")


def filter2d(images, kernel):
    """Correlation of (N, C, H, W) with an odd-sized 2-D kernel, a float64 CPU tensor."""
    height, width = images.shape[2:]
    rows, columns = kernel.shape
    padded = replicate(images, rows // 2, columns // 2)
    taps = torch.nonzero(kernel).tolist()
    if len(taps) < _FFT_TAPS:
        result = torch.zeros_like(images, memory_format=torch.contiguous_format)
        for i, j in taps:
            shifted = padded[:, :, i : i + height, j : j + width]
            result.add_(shifted, alpha=float(kernel[i, j]))
        return result
    size = [next_fast_len(side, real=True) for side in padded.shape[2:]]
    response = torch.fft.rfft2(kernel.to(images), s=size).conj()
    spectrum = torch.fft.rfft2(padded, s=size).mul_(response)
    return torch.fft.irfft2(spectrum, s=size)[:, :, :height, :width]


def disk_kernel(radius):
    """Each pixel's exact share of a disk, as MATLAB's ``fspecial('disk', radius)`` has it.

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


def _quadrant(x, y, radius):
    """Signed area of the disk between the axes and the lines through x and y."""
    sign = math.copysign(1, x) * math.copysign(1, y)
    x, y = min(abs(x), radius), min(abs(y), radius)

    def under_arc(u):  # integral of sqrt(radius^2 - t^2) from 0 to u
        return (u * math.sqrt(radius**2 - u**2) + radius**2 * math.asin(u / radius)) / 2

    reach = min(x, math.sqrt(radius**2 - y**2))  # up to here the line y lies below the arc
    return sign * (reach * y + under_arc(x) - under_arc(reach))


def motion_kernel(length, angle):
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


def gradient_magnitude(gray):
    """Length of Sobel's gradient of (N, 1, H, W)."""
    height, width = gray.shape[2:]
    padded = replicate(gray, 1, 1)
    dx = padded[..., 2:] - padded[..., :width]
    dx = dx[:, :, :height] + 2 * dx[:, :, 1:-1] + dx[:, :, 2:]
    dy = padded[:, :, 2:] - padded[:, :, :height]
    dy = dy[..., :width] + 2 * dy[..., 1:-1] + dy[..., 2:]
    return torch.hypot(dx, dy)
