"""Point clouds from six sides."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import numpy as np
import numpy.typing as npt

from skiqa._types import Floats, Path, Pixels
from skiqa.views._view import View, missing_extra, reading

__all__ = ["point_cloud_projections"]

# name: what of (x, y, z) points right, up and to the eye; -1 - axis is against that axis
SIDES = {
    "front": (0, 1, 2),
    "back": (~0, 1, ~2),
    "right": (~2, 1, 0),
    "left": (2, 1, ~0),
    "top": (0, ~2, 1),
    "bottom": (0, 2, ~1),
}


def point_cloud_projections(
    cloud: Path | tuple[npt.ArrayLike, npt.ArrayLike],
    *,
    size: int = 512,
    point_size: int = 2,
    background: int = 255,
) -> Generator[View, None, None]:
    """Yield a colored point cloud as seen from six sides, in parallel projection.

    Parameters
    ----------
    cloud : str, path or tuple (points, colors)
        A path leads to a PLY file with x, y, z, red, green and blue of each vertex. Else points of
        shape (n, 3) and colors of shape (n, 3), uint8.
    size : int, default=512
        Pixels along the longest side of the cloud; all views have one scale.
    point_size : int, default=2
        Side of the square that a point covers, in pixels. Where squares leave gaps the back shines
        through, and that is judged as noise: take more, or a smaller `size`.
    background : int in [0, 255], default=255
        Gray where there is nothing.

    Yields
    ------
    View
        "front", "back", "right", "left", "top", "bottom", for a cloud with y up and z to the front.
        The nearest of the points in a pixel is seen.

    Raises
    ------
    ImageError
        If the file cannot be read, or plyfile is missing. The message names it.
    ValueError
        If it has no points or no colors, or a parameter is of no use.

    Notes
    -----
    Points are held in memory, about 60 bytes each.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa.views import point_cloud_projections
    >>> points = [(0, 0, 0), (1, 0, 0), (0, 0, 1)]  # the last lies before the first
    >>> colors = np.eye(3, dtype=np.uint8) * 255
    >>> views = point_cloud_projections((points, colors), size=2, point_size=1)
    >>> next(views).image[0].tolist()
    [[0, 0, 255], [0, 255, 0]]
    """
    if size < 1 or point_size < 1 or not 0 <= background <= 255:
        raise ValueError(
            f"size={size} and point_size={point_size} must be 1 or more, background={background} "
            "from 0 to 255"
        )
    named = isinstance(cloud, str | os.PathLike)
    what = repr(os.fspath(cloud)) if named else "the cloud"  # type: ignore[arg-type]
    found = _read_ply(cloud) if isinstance(cloud, str | os.PathLike) else cloud
    points, colors = np.asarray(found[0], np.float64), np.asarray(found[1])
    if points.ndim != 2 or points.shape[1] != 3 or colors.shape != points.shape or not len(points):
        raise ValueError(
            f"{what} must have points (n, 3) and colors (n, 3) with n of 1 or more, not "
            f"{points.shape} and {colors.shape}"
        )
    if colors.dtype != np.uint8:
        raise ValueError(f"colors of {what} must be uint8, 0 to 255, not {colors.dtype}")
    if not np.isfinite(points).all():
        raise ValueError(f"points of {what} contain NaN or infinity: leave these out")
    return _projections(points, colors, size, point_size, background)


def _read_ply(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    try:
        import plyfile
    except ImportError:
        raise missing_extra(path, "PLY files", "views") from None
    with reading(path, "a PLY file", kind="damaged"):
        vertices = plyfile.PlyData.read(os.fspath(path))["vertex"].data
    names = ("x", "y", "z", "red", "green", "blue")
    if missing := [name for name in names if name not in (vertices.dtype.names or ())]:
        raise ValueError(
            f"vertices of {os.fspath(path)!r} have no {', '.join(missing)}: give a colored cloud"
        )
    columns = [vertices[name] for name in names]
    return np.stack(columns[:3], axis=1), np.stack(columns[3:], axis=1)


def _projections(
    points: Floats, colors: Pixels, size: int, point_size: int, background: int
) -> Generator[View, None, None]:
    low, high = points.min(axis=0), points.max(axis=0)
    cells = (points - low) * ((size - 1) / max(float((high - low).max()), 1e-300))
    shape = np.rint(cells.max(axis=0)).astype(int) + 1  # pixels along x, y, z
    for name, (right, up, near) in SIDES.items():
        column = np.rint(_along(cells, right)).astype(int)
        row = shape[max(up, ~up)] - 1 - np.rint(_along(cells, up)).astype(int)
        # of points in one pixel the last one written stays: the nearest
        order = np.argsort(_along(cells, near), kind="stable")
        column, row, seen = column[order], row[order], colors[order]
        height, width = shape[max(up, ~up)], shape[max(right, ~right)]
        image = _drawn(row, column, seen, (height, width), point_size, background)
        yield View(image, name)


def _along(cells: Floats, axis: int) -> Floats:
    """Return how far points lie along an axis, or against it, from the first of them."""
    return cells[:, axis] if axis >= 0 else cells[:, ~axis].max() - cells[:, ~axis]


def _drawn(
    row: npt.NDArray[Any],
    column: npt.NDArray[Any],
    colors: Pixels,
    shape: tuple[int, int],
    point_size: int,
    background: int,
) -> Pixels:
    """Draw points, sorted from far to near, as squares; the nearest square is seen."""
    height, width = shape
    nearest = np.full(height * width, -1)  # number of the point, which counts up to the eye
    numbers = np.arange(len(row))
    for down in range(point_size):
        for across in range(point_size):
            y, x = row + down - (point_size - 1) // 2, column + across - (point_size - 1) // 2
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            np.maximum.at(nearest, (y * width + x)[inside], numbers[inside])
    image = np.full((height * width, 3), background, np.uint8)
    image[nearest >= 0] = colors[nearest[nearest >= 0]]
    return image.reshape(height, width, 3)
