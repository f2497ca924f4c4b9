"""Point clouds from six sides, against cubes whose faces are known."""

import sys

import numpy as np
import pytest

from skiqa.exceptions import ImageError
from skiqa.views import point_cloud_projections

# What each side of a cube from -1 to 1 is painted: axis, end, color
FACES = {
    "front": (2, 1, (255, 0, 0)),
    "back": (2, -1, (0, 255, 0)),
    "right": (0, 1, (0, 0, 255)),
    "left": (0, -1, (255, 255, 0)),
    "top": (1, 1, (255, 0, 255)),
    "bottom": (1, -1, (0, 255, 255)),
}


@pytest.fixture
def cube():
    """A painted cube, its points in any order."""
    steps = np.linspace(-1, 1, 33)
    points, colors = [], []
    for axis, end, color in FACES.values():
        face = np.insert(
            np.stack(np.meshgrid(steps[1:-1], steps[1:-1]), -1).reshape(-1, 2), axis, end, 1
        )
        points.append(face)
        colors.append(np.full((len(face), 3), color, np.uint8))
    order = np.random.default_rng(0).permutation(6 * 31**2)
    return np.concatenate(points)[order], np.concatenate(colors)[order]


def write_ply(path, points, colors, text=False):
    plyfile = pytest.importorskip("plyfile")
    kinds = [(name, "f4") for name in "xyz"] + [(n, "u1") for n in ("red", "green", "blue")]
    vertices = np.empty(len(points), kinds)
    for n, name in enumerate(vertices.dtype.names):
        vertices[name] = (points if n < 3 else colors)[:, n % 3]
    plyfile.PlyData([plyfile.PlyElement.describe(vertices, "vertex")], text=text).write(str(path))
    return path


@pytest.mark.parametrize("text", [False, True])
def test_each_side_shows_its_face(cube, tmp_path, text):
    path = write_ply(tmp_path / "cube.ply", *cube, text)
    views = {view.name: view.image for view in point_cloud_projections(path, size=33, point_size=1)}
    assert list(views) == list(FACES)
    for name, image in views.items():
        assert image.shape == (33, 33, 3)
        assert (image[1:-1, 1:-1] == FACES[name][2]).all(), name


def test_sides_are_upright():
    """Three posts from the origin: x red, y green, z blue."""
    along = np.linspace(0, 1, 9)[:, None]
    points = np.concatenate([along * axis for axis in np.eye(3)])
    colors = np.repeat(np.eye(3, dtype=np.uint8) * 255, 9, axis=0)
    views = {
        v.name: v.image for v in point_cloud_projections((points, colors), size=9, point_size=1)
    }
    x, y, z = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    # (right, left, up, down) end of the cross that is seen
    ends = {
        "front": {(8, 8): x, (0, 0): y},
        "back": {(8, 0): x, (0, 8): y},
        "right": {(0, 8): y, (8, 0): z},
        "left": {(0, 0): y, (8, 8): z},
        "top": {(0, 8): x, (8, 0): z},
        "bottom": {(8, 8): x, (0, 0): z},
    }
    for name, places in ends.items():
        for place, color in places.items():
            assert tuple(views[name][place]) == color, (name, place)


def test_near_squares_cover_far_ones():
    points = np.array([(0, 0, 0), (10, 10, 0), (2, 0, 5)])
    colors = np.eye(3, dtype=np.uint8) * 255
    view = next(point_cloud_projections((points, colors), size=11, point_size=3, background=7))
    assert view.image[10, :5].tolist() == [[255, 0, 0], *[[0, 0, 255]] * 3, [7, 7, 7]]


def test_views_of_a_flat_cloud():
    """A wall has no depth: it is a line from the side."""
    points = np.array([(0, 0, 0), (4, 2, 0)])
    shapes = [
        v.image.shape[:2]
        for v in point_cloud_projections((points, points.astype(np.uint8)), size=5)
    ]
    assert shapes == [(3, 5)] * 2 + [(3, 1)] * 2 + [(1, 5)] * 2


@pytest.mark.parametrize(
    ("cloud", "message"),
    [
        ((np.zeros((0, 3)), np.zeros((0, 3), np.uint8)), "n of 1 or more"),
        ((np.zeros((2, 3)), np.zeros((2, 4), np.uint8)), r"\(2, 4\)"),
        ((np.zeros((2, 3)), np.zeros((2, 3))), "must be uint8"),
        ((np.full((2, 3), np.nan), np.zeros((2, 3), np.uint8)), "NaN"),
    ],
)
def test_what_is_refused(cloud, message):
    with pytest.raises(ValueError, match=message):
        point_cloud_projections(cloud)
    with pytest.raises(ValueError, match="size=0"):
        point_cloud_projections(cloud, size=0)


def test_what_is_wrong_with_a_file(tmp_path, monkeypatch):
    plyfile = pytest.importorskip("plyfile")
    (tmp_path / "a.ply").write_bytes(b"no cloud")
    with pytest.raises(ImageError, match=r"a.ply'?: this cannot be read as a PLY file"):
        point_cloud_projections(tmp_path / "a.ply")
    with pytest.raises(ImageError, match=r"none.ply'?: there is no such file"):
        point_cloud_projections(tmp_path / "none.ply")
    plain = np.zeros(2, [(name, "f4") for name in "xyz"])
    plyfile.PlyData([plyfile.PlyElement.describe(plain, "vertex")]).write(
        str(tmp_path / "gray.ply")
    )
    with pytest.raises(ValueError, match=r"gray.ply'? have no red, green, blue"):
        point_cloud_projections(tmp_path / "gray.ply")
    monkeypatch.setitem(sys.modules, "plyfile", None)
    with pytest.raises(ImageError, match=r"a.ply'?: PLY files .* pip install 'skiqa\[views\]'"):
        point_cloud_projections(tmp_path / "a.ply")
