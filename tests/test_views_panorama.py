"""Viewports of panoramas, against functions on the sphere that are known everywhere."""

import numpy as np
import pytest

from skiqa.views import viewports
from skiqa.views._panorama import CUBE, look_at, sample_sphere


def on_sphere(directions):
    """Three smooth functions of the direction, in [0, 1]."""
    x, y, z = np.moveaxis(directions, -1, 0)
    waves = [np.sin(3 * x + y), np.cos(4 * y - 2 * z), np.sin(2 * z + 3 * x * y)]
    return np.stack(waves, axis=-1) / 2 + 0.5


def panorama_of(height):
    latitude = np.pi * (0.5 - (np.arange(height) + 0.5) / height)[:, None]
    longitude = 2 * np.pi * ((np.arange(2 * height) + 0.5) / (2 * height) - 0.5)[None]
    x, y = np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude)
    return on_sphere(np.stack(np.broadcast_arrays(x, y, np.sin(latitude)), axis=-1))


@pytest.mark.parametrize("place", [*CUBE.values(), (180, 0), (37, -81), (-179.9, 45)])
def test_resampling_converges_as_a_cubic_does(place):
    """Also at the seam and the poles. Catmull and Rom's error is of the third order or better."""
    directions = look_at(*place, 90, 41, slice(None))  # one goes to the place itself
    errors = [
        np.abs(sample_sphere(panorama_of(height), directions) - on_sphere(directions)).max()
        for height in (64, 128)
    ]
    assert errors[1] < 5e-5
    assert errors[0] / errors[1] > 6


def test_views_are_perspective():
    """A pixel of a cube's face at (u, v) of [-1, 1] looks along forward + u right + v down."""
    panorama = np.rint(panorama_of(256) * 255).astype(np.uint8)
    views = {view.name: view for view in viewports(panorama)}
    side = len(views["front"].image)
    assert side == round(512 / np.pi)
    steps = (np.arange(side) + 0.5) / side * 2 - 1
    v, u = np.meshgrid(steps, steps, indexing="ij")
    one = np.ones_like(u)
    faces = {
        "front": (one, u, -v),
        "right": (-u, one, -v),
        "back": (-one, -u, -v),
        "left": (u, -one, -v),
        "up": (v, u, one),
        "down": (-v, u, -one),
    }
    assert list(views) == list(faces)
    for name, face in faces.items():
        expected = 255 * on_sphere(np.stack(face, -1) / np.sqrt(1 + u**2 + v**2)[..., None])
        assert np.abs(views[name].image - expected).max() < 2.5, name
        assert views[name].weight == 1


def test_ring_looks_around_and_counts_by_latitude():
    panorama = np.rint(panorama_of(64) * 255).astype(np.uint8)
    views = list(viewports(panorama, layout="equator", count=4, latitudes=(0, -60)))
    faces = {view.name: view.image for view in viewports(panorama)}
    for view, name in zip(views[:4], ("front", "right", "back", "left"), strict=True):
        np.testing.assert_allclose(view.image.astype(int), faces[name], atol=1)
    assert [view.weight for view in views] == pytest.approx([1] * 4 + [0.5] * 4)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"layout": "tetrahedron"}, "'cube' or 'equator'"),
        ({"layout": "equator", "count": 0}, "count=0"),
        ({"layout": "equator", "field_of_view": 180}, "field_of_view=180"),
        ({"layout": "equator", "latitudes": (91,)}, r"latitudes=\(91,\)"),
    ],
)
def test_what_is_refused(how, message):
    with pytest.raises(ValueError, match=message):
        viewports(np.zeros((8, 16, 3), np.uint8), **how)
    with pytest.raises(ValueError, match="twice as wide as high, not 20 x 8"):
        viewports(np.zeros((8, 20, 3), np.uint8))
