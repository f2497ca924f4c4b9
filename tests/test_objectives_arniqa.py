import math

import pytest
import torch
from torch.nn import functional as F

from skiqa.degradations import SequenceSpace
from skiqa.objectives import Arniqa

PRISTINE = Arniqa(space=SequenceSpace(p_pristine=1.0))


@pytest.fixture
def windows():
    return torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def plain(n):
    return torch.arange(20, 20 + n), torch.full((n,), -1), torch.arange(n)


def test_full_scale_then_half_scale(windows):
    views, labels = PRISTINE.views(windows[:4], *plain(4), 8)
    assert views.shape == (8, 3, 8, 8)
    assert labels.tolist() == [20, 20, 22, 22]  # photos in pairs
    for i in range(4):
        patches = windows[i].unfold(1, 8, 1).unfold(2, 8, 1)
        assert (patches == views[i][:, None, None]).all(-1).all(-1).all(0).sum() == 1
    half = F.interpolate(windows[:4], size=(8, 8), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(views[4:], half)


def test_a_photo_without_partner_is_left_out(windows):
    views, labels = PRISTINE.views(windows, *plain(5), 8)
    even, same = PRISTINE.views(windows[:4], *plain(4), 8)
    assert torch.equal(views, even)
    assert torch.equal(labels, same)


class Told(SequenceSpace):
    """Notes what is applied to what."""

    def apply(self, images, sequences, seeds):
        CALLS.append((sequences, seeds.tolist()))
        return images


CALLS = []


def test_both_photos_and_scales_get_the_sequence_each_its_own_noise(windows):
    CALLS.clear()
    Arniqa(space=Told()).views(windows[:4], *plain(4), 8)
    (full, seeds), (half, others) = CALLS
    assert full == half
    assert full[0] == full[1]
    assert full[2] == full[3]
    assert full[0] != full[2]
    assert len({*seeds, *others}) == 8


def test_nothing_is_applied_one_time_in_twenty():
    sequences = SequenceSpace().sample(torch.arange(4000))
    share = sum(not sequence for sequence in sequences) / 4000
    assert abs(share - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 4000)


def test_loss_of_orthogonal_pairs():
    """Two photos, two scales, orthogonal: log((e^10 + 2) / e^10) = 9.08e-5."""
    axes = torch.eye(2)
    rows = torch.stack([axes[0], axes[0], axes[1], axes[1]])  # full A, full B, half A, half B
    loss = Arniqa().loss(rows, torch.tensor([3, 3]))
    assert float(loss) == pytest.approx(9.08e-5, rel=2e-2)  # float32
    exact = Arniqa().loss(rows.double(), torch.tensor([3, 3]))
    assert float(exact) == pytest.approx(math.log1p(2 * math.exp(-10)), rel=1e-9)


def test_loss_by_hand():
    """Partner of row i is row i +- 2B of [A full, A half, B full, B half]; all else repels."""
    n, t = 3, 0.1
    generator = torch.Generator().manual_seed(0)
    u = F.normalize(torch.randn(4 * n, 5, generator=generator, dtype=torch.float64), dim=1)
    s = (u @ u.T / t).exp()
    total = 0.0
    for i in range(4 * n):
        others = sum(float(s[i, j]) for j in range(4 * n) if j != i)
        total -= math.log(float(s[i, (i + 2 * n) % (4 * n)]) / others)
    a_full, a_half, b_full, b_half = u.split(n)
    full, half = (torch.stack(x, 1).flatten(0, 1) for x in ((a_full, b_full), (a_half, b_half)))
    loss = Arniqa(temperature=t).loss(torch.cat([full, half]), torch.tensor([5, 5, 8, 8, 6, 6]))
    assert float(loss) == pytest.approx(total / (4 * n), rel=1e-12)


def test_features_are_normed():
    rows = Arniqa().pool(torch.rand(3, 7, 2, 2))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
