"""Perspective views of equirectangular panoramas."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Literal

import numpy as np

from skiqa._inputs.decode import to_rgb
from skiqa._types import Floats, Image, Pixels
from skiqa.views._view import View

__all__ = ["look_at", "sample_sphere", "viewports"]

# name: (longitude, latitude) in degrees of where one looks
CUBE = {
    "front": (0.0, 0.0),
    "right": (90.0, 0.0),
    "back": (180.0, 0.0),
    "left": (-90.0, 0.0),
    "up": (0.0, 90.0),
    "down": (0.0, -90.0),
}
STRIP = 2**18  # pixels that are sampled at a time


def viewports(
    panorama: Image,
    *,
    layout: Literal["cube", "equator"] = "cube",
    count: int = 8,
    latitudes: Sequence[float] = (0.0,),
    field_of_view: float = 90.0,
) -> Generator[View, None, None]:
    """Yield perspective views of an equirectangular panorama, as a headset shows them.

    Parameters
    ----------
    panorama : str, path, bytes, PIL image, array or tensor
        Twice as wide as high: 360 by 180 degrees.
    layout : {"cube", "equator"}, default="cube"
        "cube": the six faces of a cube. "equator": `count` views around, at each of `latitudes`.
    count : int, default=8
        Views around, for "equator".
    latitudes : sequence of float in [-90, 90], default=(0.0,)
        Degrees above the horizon, for "equator".
        A view counts by their cosine, as its circle is long.
    field_of_view : float in (0, 180), default=90.0
        Degrees from side to side of a view, for "equator".

    Yields
    ------
    View
        Square. In its middle a pixel is as large as one of the panorama at the horizon, so that
        nothing is left out and nothing blurred.

    Raises
    ------
    ImageError
        If the panorama cannot be read.
    ValueError
        If it is not twice as wide as high, or a parameter is of no use.

    Notes
    -----
    Sampled by Catmull and Rom's cubic, across the seam and over the poles. The panorama is held
    once, in memory.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa.views import viewports
    >>> panorama = np.zeros((64, 128, 3), np.uint8)
    >>> [(view.name, view.image.shape) for view in viewports(panorama)][0]
    ('front', (41, 41, 3))
    >>> ring = viewports(panorama, layout="equator", count=2, latitudes=(0, 60))
    >>> [(view.name, round(view.weight, 3)) for view in ring]
    [('0,0', 1.0), ('180,0', 1.0), ('0,60', 0.5), ('180,60', 0.5)]
    """
    if layout == "cube":
        field_of_view = 90.0
        places = [(name, *place, 1.0) for name, place in CUBE.items()]
    elif layout == "equator":
        if count < 1 or not 0 < field_of_view < 180 or any(abs(lat) > 90 for lat in latitudes):
            raise ValueError(
                f"count={count} must be 1 or more, field_of_view={field_of_view} between 0 and 180 "
                f"degrees, and latitudes={tuple(latitudes)} from -90 to 90"
            )
        around = [360 * k / count for k in range(count)]
        places = [
            (f"{lon:g},{lat:g}", lon, lat, float(np.cos(np.radians(lat))))
            for lat in latitudes
            for lon in around
        ]
    else:
        raise ValueError(f"layout={layout!r} must be 'cube' or 'equator'")
    pixels = to_rgb(panorama)
    height, width = pixels.shape[:2]
    if abs(width - 2 * height) > 2:
        raise ValueError(
            f"an equirectangular panorama is twice as wide as high, not {width} x {height}: give "
            "the whole sphere, 360 by 180 degrees"
        )
    return _viewports(pixels, places, field_of_view)


def _viewports(
    pixels: Pixels, places: list[tuple[str, float, float, float]], field_of_view: float
) -> Generator[View, None, None]:
    side = max(1, round(np.tan(np.radians(field_of_view) / 2) * pixels.shape[1] / np.pi))
    for name, longitude, latitude, weight in places:
        image = np.empty((side, side, 3), np.uint8)
        for rows in _strips(side):
            directions = look_at(longitude, latitude, field_of_view, side, rows)
            values = sample_sphere(pixels, directions)
            image[rows] = np.rint(values).clip(0, 255).astype(np.uint8)
        yield View(image, name, weight)


def _strips(side: int) -> Iterator[slice]:
    rows = max(1, STRIP // side)
    return (slice(top, min(side, top + rows)) for top in range(0, side, rows))


def look_at(
    longitude: float, latitude: float, field_of_view: float, side: int, rows: slice
) -> Floats:
    """Return the unit vectors (h, side, 3) of some rows of a square view.

    x points to longitude 0 on the horizon, y to longitude 90, which is right of it, z up.
    """
    half = np.tan(np.radians(field_of_view) / 2)
    steps = ((np.arange(side) + 0.5) / side * 2 - 1) * half
    lon, lat = np.radians(longitude), np.radians(latitude)
    forward = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    right = np.array([-np.sin(lon), np.cos(lon), 0.0])
    down = np.array([np.sin(lat) * np.cos(lon), np.sin(lat) * np.sin(lon), -np.cos(lat)])
    vectors = forward + steps[rows][:, None, None] * down + steps[None, :, None] * right
    return vectors / np.linalg.norm(vectors, axis=2, keepdims=True)


def sample_sphere(panorama: Pixels | Floats, directions: Floats) -> Floats:
    """Return the values (..., c) of an equirectangular panorama (h, w, c) in some directions.

    Longitude -180 is its left border and latitude 90 its upper one; pixels have their values in
    their middles.
    """
    height, width = panorama.shape[:2]
    x, y, z = np.moveaxis(directions, -1, 0)
    column = (np.arctan2(y, x) / (2 * np.pi) + 0.5) * width - 0.5
    row = (0.5 - np.arcsin(z.clip(-1, 1)) / np.pi) * height - 0.5
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    across, down = _catmull_rom(column - left), _catmull_rom(row - top)
    values = np.zeros((*column.shape, panorama.shape[2]), np.float32)
    for i, weight in enumerate(down):
        line = top + i - 1
        over = (line < 0) | (line >= height)  # over a pole: down the meridian across from this one
        line = np.where(line < 0, -1 - line, np.where(line >= height, 2 * height - 1 - line, line))
        for j, other in enumerate(across):
            place = (left + j - 1 + np.where(over, width // 2, 0)) % width
            values += (weight * other).astype(np.float32)[..., None] * panorama[line, place]
    return values


def _catmull_rom(t: Floats) -> list[Floats]:
    """Return the weights of four samples at -1, 0, 1 and 2 for a place t in [0, 1)."""
    return [
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    ]
