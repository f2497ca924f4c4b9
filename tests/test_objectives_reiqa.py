import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skiqa.degradations._random import uniform
from skiqa.objectives import Reiqa, info_nce
from skiqa.objectives.reiqa import halved_by_corners, overlapping_corners


def corners(n, side, size):
    return overlapping_corners(uniform(torch.arange(n), (4,)), side, size)


def test_offsets_are_those_of_the_paper():
    """Crops of 160: y in 112..143; at 112, x in 0..106; at 143, x in 0..9."""
    first, second = corners(200_000, 640, 160)
    y, x = (second - first).unbind(1)
    assert sorted(set(y.tolist())) == list(range(112, 144))
    assert sorted(set(x[y == 112].tolist())) == list(range(107))
    assert sorted(set(x[y == 143].tolist())) == list(range(10))
    overlap = (160 - x) * (160 - y) / 160**2
    assert overlap.min() >= 0.1
    assert overlap.max() <= 0.3
    assert overlap[y == 143].max() == pytest.approx(17 / 160)  # .106: the share is not uniform


@settings(max_examples=20)
@given(st.integers(8, 300), st.integers(0, 300))
def test_crops_lie_in_the_image_and_overlap(size, room):
    side = 2 * size + room
    first, second = corners(200, side, size)
    assert first.min() >= 0
    assert (torch.maximum(first, second) + size).max() <= side
    y, x = (second - first).unbind(1)
    overlap = (size - x) * (size - y) / size**2
    assert overlap.min() >= 0.1 - 1e-6
    assert overlap.max() <= 0.3 + 1e-6


@pytest.fixture
def windows():
    """Photos whose pixels are all different: a crop says where it comes from."""
    grid = torch.arange(32 * 32.0).view(1, 1, 32, 32) / 1024
    return grid.expand(2, 3, -1, -1).contiguous()


def call(objective, windows, view_size):
    n = len(windows)
    return objective.views(
        windows, torch.arange(n), torch.full((n,), -1), torch.arange(n), view_size
    )


def test_roles_are_swapped_in_half_of_the_images(windows, monkeypatch):
    applied = []

    def untouched(images, sequences, seeds):
        applied.append(sequences)
        return images

    monkeypatch.setattr("skiqa.objectives.reiqa.apply_sequences", untouched)
    (queries, keys), labels = call(Reiqa(n_degradations=3), windows, 8)
    assert queries.shape == keys.shape == (16, 3, 8, 8)  # 2 photos, 4 images, 2 scales
    assert labels.tolist() == [0, 1]
    assert len(applied) == 3
    for i in range(2):
        (operators,) = {len({steps[i][0][0] for steps in applied})}
        assert operators == 3  # no operator twice
    for views in (queries, keys):
        full = views.unflatten(0, (4, 2, 2))[:, 0]  # image, scale, photo
        half = views.unflatten(0, (4, 2, 2))[:, 1]
        assert torch.equal(full[0], full[1])
        assert torch.equal(full[2], full[3])
        assert torch.equal(half[0], half[1])
        assert torch.equal(half[2], half[3])
        assert not torch.equal(full[0], full[2])
        assert not torch.equal(half[0], half[2])
    pairs = [x.unflatten(0, (4, 2, 2)) for x in (queries, keys)]
    assert torch.equal(pairs[0][0, 0], pairs[1][2, 0])  # swapped: the query here is the key there
    assert torch.equal(pairs[0][2, 1], pairs[1][0, 1])
    upper = [x[..., 0, 0].amax(-1) for x in pairs]  # of the first channels: where rows begin
    assert (upper[0][:2, 0] > upper[1][:2, 0]).all()  # first half swapped at full scale
    assert (upper[0][2:, 0] < upper[1][2:, 0]).all()
    assert (upper[0][:2, 1] < upper[1][:2, 1]).all()  # second half at half scale
    assert (upper[0][2:, 1] > upper[1][2:, 1]).all()


def half_of_a_line(line):
    """Keys' cubic convolution with a = -0.75, ends at ends, the border repeated."""

    def weight(t):
        t, a = abs(t), -0.75
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0

    n, half = len(line), len(line) // 2
    places = np.arange(half) * (n - 1) / (half - 1)
    near = [np.arange(int(np.floor(x)) - 1, int(np.floor(x)) + 3) for x in places]
    return [
        sum(weight(x - k) * line[min(max(k, 0), n - 1)] for k in ks)
        for x, ks in zip(places, near, strict=True)
    ]


def test_half_scale_is_bicubic_without_antialiasing():
    image = np.random.default_rng(0).uniform(size=(21, 32))
    rows = np.array([half_of_a_line(row) for row in image])
    expected = np.array([half_of_a_line(column) for column in rows.T]).T.clip(0, 1)
    found = halved_by_corners(torch.from_numpy(image)[None, None].expand(1, 3, -1, -1))
    assert found.shape == (1, 3, 10, 16)
    np.testing.assert_allclose(found[0, 1], expected, atol=1e-6)
    assert found[0, 0, 0, 0] == image[0, 0]  # corners stay corners
    assert found[0, 0, -1, -1] == pytest.approx(image[-1, -1])


def test_one_scale(windows):
    objective = Reiqa(n_degradations=3, half_scale=False)
    (queries, keys), _ = call(objective, windows, 8)
    assert queries.shape == keys.shape == (8, 3, 8, 8)
    assert objective.window_size(8) == 16
    assert objective.learning_rate_batch == 64
    assert Reiqa().learning_rate_batch == pytest.approx(256 / 24)


def test_negatives_come_from_the_queue_alone():
    q, k, m = (torch.randn(6, 4, generator=torch.Generator().manual_seed(i)) for i in range(3))
    loss = Reiqa().loss(q, torch.zeros(3), k, m, torch.zeros(6))
    assert float(loss) == float(info_nce(q, k[:, None], k[:, None][:, :0], m, 0.2))
    assert float(Reiqa().loss(q, torch.zeros(3), k, m[:0], torch.zeros(0))) == 0
