import math

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms.functional import center_crop

from skiqa.degradations import KADIS, Bank
from skiqa.objectives import Contrique

PRISTINE = 125  # classes 0..124 are (type, level), authentic images follow


@pytest.fixture(scope="module")
def windows():
    """Six windows of real photographs, (6, 3, 32, 32)."""
    china, flower = load_sample_images().images
    cuts = [image[y : y + 32, y : y + 32] for image in (china, flower) for y in (50, 150, 300)]
    return torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2).float() / 255


def call(windows, marks, seeds, objective=None, indices=None):
    indices = torch.arange(len(windows)) if indices is None else indices
    return (objective or Contrique()).views(windows, indices, marks, seeds, 16)


@pytest.fixture
def applied(monkeypatch):
    """A list of the types and levels that are applied; images stay as they are, which is fast."""
    calls = []

    def untouched(bank, images, types, levels, seeds, normalize=None):
        assert bank is KADIS
        calls.append((types, levels))
        return images

    monkeypatch.setattr(Bank, "apply", untouched)
    return calls


def test_views_come_in_two_scales(windows):
    marks, seeds = torch.ones(6, dtype=torch.long), torch.arange(6)
    plain = Contrique(color_spaces=("rgb",), normalize=None)
    views, labels = call(windows, marks, seeds, plain)
    assert views.shape == (12, 3, 16, 16)
    assert views.dtype == torch.float32
    assert labels.tolist() == list(range(126, 132))  # each authentic image is a class of its own
    half = torch.nn.functional.interpolate(
        windows, scale_factor=0.5, mode="bilinear", antialias=True
    )
    halves_first = 0
    for i in range(6):
        whole = [
            torch.isclose(half[i], v).all() or torch.isclose(half[i].flip(2), v).all()
            for v in (views[i], views[6 + i])
        ]
        assert sum(map(bool, whole)) == 1  # one view is the whole window at half scale
        halves_first += bool(whole[0])
        full = views[6 + i] if whole[0] else views[i]
        corners = [(y, x) for y in range(17) for x in range(17)]
        assert any(
            torch.equal(windows[i, :, y : y + 16, x : x + 16], full)
            or torch.equal(windows[i, :, y : y + 16, x : x + 16].flip(2), full)
            for y, x in corners
        )  # the other a square of it at full scale
    assert 0 < halves_first < 6


def cuts_of(image, view, size):
    """Where in an image a view was cut from, mirrored or not."""
    return [
        (y, x)
        for y in range(image.shape[1] - size + 1)
        for x in range(image.shape[2] - size + 1)
        for cut in [image[:, y : y + size, x : x + size]]
        if torch.equal(cut, view) or torch.equal(cut.flip(2), view)
    ]


def test_two_places_of_one_photo_are_shown(windows):
    """At full and at half scale, each drawn by itself: the half view need not hold the full."""
    objective = Contrique(color_spaces=("rgb",), window_scale=None)
    assert objective.window_size(8) > 10**9
    photo, n = windows[:1], 16
    views, _ = objective.views(
        photo.expand(n, -1, -1, -1), torch.arange(n), torch.ones(n), torch.arange(n), 8
    )
    half = torch.nn.functional.interpolate(photo, size=(16, 16), mode="bilinear", antialias=True)[0]
    apart, corners = 0, set()
    for pair in zip(views[:n], views[n:], strict=True):
        full_at, half_at = [], []
        for view in pair:
            full_at += cuts_of(photo[0], view, 8)
            half_at += cuts_of(half, view, 8)
        ((y, x), *_), ((v, u), *_) = full_at, half_at
        apart += not (2 * v <= y <= 2 * v + 8 and 2 * u <= x <= 2 * u + 8)
        corners.add((v, u))
    assert apart > n / 2
    assert len(corners) > n / 3


def test_small_photos_are_padded_with_zeros_as_in_the_reference():
    """Random crops where both sides suffice, else torchvision's center crop; half by Pillow."""
    china = load_sample_images().images[0]
    photos = [china[100 : 100 + h, 200 : 200 + w].copy() for h, w in [(24, 21), (41, 12), (16, 16)]]
    windows = [torch.from_numpy(p).permute(2, 0, 1) / np.float32(255) for p in photos]
    assert not Contrique.fills_windows
    views, labels = Contrique(color_spaces=("rgb",)).views(
        windows, torch.arange(3), torch.ones(3), torch.arange(3), 16
    )
    assert labels.tolist() == [126, 127, 128]
    for i, (photo, window) in enumerate(zip(photos, windows, strict=True)):
        pair = [views[i], views[3 + i]]
        small = Image.fromarray(photo)
        small = small.resize((photo.shape[1] // 2, photo.shape[0] // 2), Image.Resampling.BILINEAR)
        small = torch.from_numpy(np.array(small)).permute(2, 0, 1) / np.float32(255)
        half = center_crop(small, [16, 16])
        near = [min(float((half - x).abs().max()) for x in (v, v.flip(2))) for v in pair]
        assert min(near) < 1.01 / 255
        full = pair[near[0] < near[1]]
        expected = center_crop(window, [16, 16]) if photo.shape[1] < 16 else window
        assert cuts_of(expected, full, 16)


def test_the_whole_of_a_photo_is_degraded(windows, applied):
    """Nothing mirrored, nothing cut away: min-max and operators see what the reference's see."""
    seen = []
    watched = Bank.apply
    sizes = [(32, 24), (20, 32), (32, 24)]
    photos = [w[:, :h, :s] for w, (h, s) in zip(windows, sizes, strict=False)]

    def noted(bank, images, *rest, **options):
        seen.extend(images)
        return watched(bank, images, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bank, "apply", noted)
        Contrique().views(photos, torch.arange(3), torch.zeros(3), torch.arange(3), 16)
    assert len(seen) == 3
    for photo in photos:
        assert any(x.shape == photo.shape and torch.equal(x, photo) for x in seen)
    assert len(applied) == 2  # those of one shape together


@pytest.mark.usefixtures("applied")
def test_labels_of_pristine_and_unknown_images():
    n = 4000
    windows, seeds = torch.rand(1, 3, 2, 2).expand(n, -1, -1, -1), torch.arange(n)
    objective = Contrique(color_spaces=("rgb",))

    def labels_of(mark):
        return objective.views(windows, torch.arange(n), torch.full((n,), mark), seeds, 1)[1]

    pristine, unknown, authentic = labels_of(0), labels_of(-1), labels_of(1)
    assert pristine.max() == PRISTINE
    share = float((pristine == PRISTINE).float().mean())
    assert abs(share - 1 / 126) < 4 * math.sqrt(1 / 126 / n)
    counts = torch.bincount(pristine, minlength=126)[:125].float()
    assert counts.min() > 5  # 31.5 expected for each type and level
    assert counts.max() < 65
    alone = unknown > PRISTINE
    assert abs(float(alone.float().mean()) - 0.5) < 4 * 0.5 / math.sqrt(n)
    assert (unknown[alone] == 126 + torch.arange(n)[alone]).all()
    assert not (unknown == PRISTINE).any()
    assert (authentic == 126 + torch.arange(n)).all()


def test_the_label_is_the_degradation(windows, applied):
    _, labels = call(windows, torch.full((6,), -1), torch.arange(6))
    ((types, levels),) = applied
    for label, kind, level in zip(labels, types, levels, strict=True):
        if label > PRISTINE:
            assert kind == -1
        else:
            assert label == kind * 5 + level - 1


def test_views_depend_on_the_seed_alone(windows):
    marks = torch.tensor([-1, 0, 1, -1, 0, -1])
    seeds = torch.tensor([5, 2**62, -3, 17, 0, 99])
    views, labels = call(windows, marks, seeds)
    again, same = call(windows, marks, seeds)
    assert torch.equal(views, again)
    assert torch.equal(labels, same)
    other, _ = call(windows, marks, seeds + 1)
    assert not torch.equal(views, other)
    for i in range(6):
        part = slice(i, i + 1)
        alone, label = call(windows[part], marks[part], seeds[part], indices=torch.tensor([i]))
        assert label == labels[i]
        assert torch.equal(alone[0], views[i])
        assert torch.equal(alone[1], views[6 + i])
    assert views.min() >= 0
    assert views.max() <= 1


def test_loss_gives_every_patch_the_label_of_its_image():
    """With maps that show the label, all patches cluster perfectly."""
    labels = torch.tensor([3, 9, 3])
    maps = torch.eye(2)[(labels.repeat(2) > 5).long()][:, :, None, None].expand(-1, -1, 4, 4)
    objective = Contrique()
    loss = objective.loss(objective.pool(maps), labels)
    partners = torch.tensor([15.0, 7.0, 15.0])
    expected = (partners + (23 - partners) * math.exp(-10)).log().mean()
    assert float(loss) == pytest.approx(float(expected), abs=1e-5)
