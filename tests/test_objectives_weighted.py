import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

from skiqa.objectives import Contrique, Weighted, weighted_nt_xent
from skiqa.objectives.weighted import quality_weights, structural_similarity


def random(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def windows():
    china, flower = load_sample_images().images
    cuts = [image[y : y + 32, y : y + 32] for image in (china, flower) for y in (50, 150)]
    return torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2).float() / 255


# The weights -------------------------------------------------------------------------------------


def test_the_same_fault_attracts_across_photos():
    photos = torch.tensor([0, 1, 2, 3, 4])
    types, levels = torch.tensor([6, 6, 6, 2, 6]), torch.tensor([3, 3, 4, 3, 3])
    quality = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.8])
    w = quality_weights(photos, types, levels, quality, bandwidth=0.1, other=0.2)
    assert w[0].tolist() == pytest.approx([1.0, 1.0, 0.5, 0.2, np.exp(-4.5)])
    assert torch.equal(w, w.T)
    z = torch.eye(5).requires_grad_()
    weighted_nt_xent(z, w, 1.0).backward()
    assert z.grad[0, 1] < 0  # descent brings the two photos together
    assert z.grad[0, 4] > 0  # and moves one away that the same fault harmed less


def test_unknown_degradations_attract_within_their_photo_only():
    photos, types = torch.tensor([0, 0, 1, 2]), torch.tensor([-1, -1, -1, 5])
    quality = torch.tensor([1.0, 0.2, 1.0, 1.0])
    w = quality_weights(photos, types, torch.zeros(4), quality)
    assert w.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


# The similarity ----------------------------------------------------------------------------------


def test_similarity_closed_forms():
    x = random(8, 2, 3, 9, 9)
    torch.testing.assert_close(structural_similarity(x, x), torch.ones(2, 3, 3).double())
    flat = [torch.full((1, 3, 7, 7), value) for value in (0.25, 0.75)]
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)  # variances are zero
    assert float(structural_similarity(*flat)) == pytest.approx(expected, rel=1e-4)


def test_similarity_by_loops():
    x, y = random(9, 1, 1, 8, 8), random(10, 1, 1, 8, 8)
    a, b = x[0, 0, 1:8, :7], y[0, 0, 1:8, :7]
    cov = ((a - a.mean()) * (b - b.mean())).mean()
    light = (2 * a.mean() * b.mean() + 1e-4) / (a.mean() ** 2 + b.mean() ** 2 + 1e-4)
    shape = (2 * cov + 9e-4) / (a.var(correction=0) + b.var(correction=0) + 9e-4)
    assert float(structural_similarity(x, y)[0, 1, 0]) == pytest.approx(float(light * shape))


# Views -------------------------------------------------------------------------------------------


def call(objective, windows, mark, view_size=16):
    n = len(windows)
    return objective.views(
        windows, torch.arange(n), torch.full((n,), mark), torch.arange(n), view_size
    )


def test_labels_say_what_was_done(windows):
    many = windows[:1].expand(60, -1, -1, -1)
    objective = Weighted(bank=("white_noise", "jpeg"))
    views, labels = call(objective, many, 0)
    assert views.shape == (120, 3, 16, 16)
    assert labels.shape == (60, 10)
    assert set(labels[:, 0].tolist()) == {0, 1, 2}  # 2: pristine, one in eleven
    assert set(labels[:, 1].tolist()) == {0, 1, 2, 3, 4, 5}
    pristine = labels[:, 0] == 2
    assert (labels[pristine, 2:] > 0.999999).all()
    assert (labels[pristine, 1] == 0).all()
    jpeg = labels[labels[:, 0] == 1]
    by_level = [float(jpeg[jpeg[:, 1] == level, 2:6].mean()) for level in (1, 3, 5)]
    assert 1 > by_level[0] > by_level[1] > by_level[2] > 0


def test_photos_left_alone(windows):
    _, labels = call(Weighted(), windows, 1)
    assert (labels[:, 0] == -1).all()
    assert (labels[:, 2:] > 0.999999).all()


def test_patches_meet_their_quality(windows):
    """The loss by its parts, from labels in which every patch differs."""
    objective = Weighted(bandwidth=0.3, other=0.2)
    labels = torch.cat([torch.tensor([[4.0, 1], [4, 3], [-1, 0]]), random(11, 3, 8).float()], dim=1)
    z = random(12, 24, 5).float()  # view, photo, patch
    photos = torch.tensor([0] * 4 + [1] * 4 + [2] * 4).repeat(2)
    quality = torch.cat([labels[:, 2:6].flatten(), labels[:, 6:].flatten()])
    w = quality_weights(photos, labels[photos, 0], labels[photos, 1], quality, 0.3, 0.2)
    assert float(objective.loss(z, labels)) == pytest.approx(float(weighted_nt_xent(z, w, 0.1)))


def test_of_hard_weights_it_is_contrique():
    z, labels = random(13, 16, 4), torch.tensor([[3.0, 2.0], [3.0, 2.0]])
    labels = torch.cat([labels, torch.full((2, 8), 0.7)], dim=1)
    expected = Contrique().loss(z, torch.tensor([16, 16]))
    assert float(Weighted().loss(z, labels)) == pytest.approx(float(expected), rel=1e-6)
