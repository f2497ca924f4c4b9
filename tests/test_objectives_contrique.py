import colorsys
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_sample_images

from skiqa.objectives import Contrique
from skiqa.objectives._common import Projector, patch_features
from skiqa.objectives._losses import nt_xent
from skiqa.objectives.contrique import COLOR_SPACES, PRISTINE, crop, to_color_space

few = settings(database=None, deadline=None, max_examples=15)


def naive(projections, labels, temperature):
    """Supervised contrastive loss by two loops (Khosla et al. 2020, eq. 2, the "out" form)."""
    z = projections.double()
    z = z / z.norm(dim=1, keepdim=True)
    n, losses = len(z), []
    for i in range(n):
        s = [float(z[i] @ z[j]) / temperature for j in range(n)]
        denominator = math.log(sum(math.exp(s[j]) for j in range(n) if j != i))
        positives = [j for j in range(n) if j != i and labels[j] == labels[i]]
        if positives:
            losses.append(sum(denominator - s[j] for j in positives) / len(positives))
    return sum(losses) / len(losses)


# The loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 8, 129])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_equal_projections_lie_on_the_plateau(n, temperature):
    loss = nt_xent(torch.full((n, 5), 3.0), torch.zeros(n, dtype=torch.long), temperature)
    assert float(loss) == pytest.approx(math.log(n - 1), abs=1e-5)


@pytest.mark.parametrize("sizes", [(4, 4), (2, 3, 7), (8,)])
@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_perfect_clusters_with_orthogonal_centres(sizes, temperature):
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    n = len(labels)
    partners = torch.tensor(sizes)[labels] - 1.0
    expected = (partners + (n - 1 - partners) * math.exp(-1 / temperature)).log().mean()
    loss = nt_xent(2.5 * torch.eye(len(sizes))[labels], labels, temperature)
    assert float(loss) == pytest.approx(float(expected), abs=1e-5)


def test_two_orthogonal_pairs():
    z = torch.eye(2).repeat_interleave(2, dim=0)
    expected = math.log((math.exp(10) + 2) / math.exp(10))  # 9.08e-5
    assert float(nt_xent(z, torch.tensor([0, 0, 1, 1]), 0.1)) == pytest.approx(expected, abs=1e-6)


@few
@given(st.integers(0, 2**31), st.integers(2, 12), st.sampled_from([0.1, 0.5, 2.0]))
def test_equals_the_supervised_contrastive_double_loop(seed, n, temperature):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 6, generator=generator)
    labels = torch.randint(0, 4, (n,), generator=generator)
    labels[1] = labels[0]
    expected = naive(z, labels, temperature)
    assert float(nt_xent(z, labels, temperature)) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@few
@given(st.integers(0, 2**31))
def test_order_and_names_of_classes_do_not_matter(seed):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(10, 4, generator=generator)
    labels = torch.randint(0, 3, (10,), generator=generator)
    order = torch.randperm(10, generator=generator)
    expected = float(nt_xent(z, labels))
    assert float(nt_xent(z[order], 1000 - labels[order])) == pytest.approx(expected, rel=1e-5)
    assert float(nt_xent(7 * z, labels)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_at_low_temperature_stay_finite(dtype):
    generator = torch.Generator().manual_seed(0)
    z = (100 * torch.randn(16, 8, generator=generator)).to(dtype).requires_grad_()
    loss = nt_xent(z, torch.arange(16) % 4, 0.005)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(z.grad).all()


def test_autocast_does_not_round_the_loss():
    z = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(32) % 8
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = nt_xent(z, labels)
    assert float(rounded) == float(nt_xent(z, labels))


def test_rows_without_a_partner_only_repel():
    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 1, 1, 7])
    assert float(nt_xent(z, labels)) == pytest.approx(naive(z, labels, 0.1), rel=1e-5)
    z.requires_grad_()
    nt_xent(z, labels).backward()
    assert z.grad[4].abs().sum() > 0  # it stands in the others' denominators
    alone = torch.randn(4, 3).requires_grad_()
    loss = nt_xent(alone, torch.arange(4))
    loss.backward()
    assert float(loss.detach()) == 0
    assert (alone.grad == 0).all()


def test_gradient_in_float64():
    z = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    assert nt_xent(z, labels).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda z: nt_xent(z, labels, 0.5), z)


# Views -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def windows():
    """Six windows of real photographs, (6, 3, 32, 32)."""
    china, flower = load_sample_images().images
    cuts = [image[y : y + 32, y : y + 32] for image in (china, flower) for y in (50, 150, 300)]
    return torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2).float() / 255


def call(windows, marks, seeds, objective=None, indices=None):
    indices = torch.arange(len(windows)) if indices is None else indices
    return (objective or Contrique()).views(windows, indices, marks, seeds, 16)


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
        whole = [torch.isclose(half[i], v).all() or torch.isclose(half[i].flip(2), v).all()
                 for v in (views[i], views[6 + i])]  # fmt: skip
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


def test_labels_of_pristine_and_unknown_images():
    n = 4000
    windows, seeds = torch.rand(1, 3, 2, 2).expand(n, -1, -1, -1), torch.arange(n)
    objective = Contrique(color_spaces=("rgb",))

    def labels_of(mark):
        # the labels need no pixels: any bank will do, and the real one is slow on 4,000 images
        return objective.views(windows, torch.arange(n), torch.full((n,), mark), seeds, 1)[1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skiqa.objectives.contrique.KADIS", Untouched())
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


class Untouched:
    def apply(self, images, types, levels, seeds, normalize=None):
        self.types, self.levels = types, levels
        return images


def test_the_label_is_the_degradation(windows, monkeypatch):
    bank = Untouched()
    monkeypatch.setattr("skiqa.objectives.contrique.KADIS", bank)
    _, labels = call(windows, torch.full((6,), -1), torch.arange(6))
    for label, kind, level in zip(labels, bank.types, bank.levels, strict=True):
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


# Colour spaces -----------------------------------------------------------------------------------


@pytest.mark.parametrize("which", COLOR_SPACES)
def test_colour_spaces_stay_in_range(windows, which):
    shown = to_color_space(windows, which)
    assert shown.shape == windows.shape
    assert shown.min() >= 0
    assert shown.max() <= 1
    corners = torch.tensor([[r, g, b] for r in (0.0, 1.0) for g in (0.0, 1.0) for b in (0.0, 1.0)])
    shown = to_color_space(corners[:, :, None, None].expand(-1, -1, 8, 8).contiguous(), which)
    assert torch.isfinite(shown).all()
    assert shown.min() >= 0
    assert shown.max() <= 1


def test_hsv_against_colorsys(windows):
    shown = to_color_space(windows[:, :, ::4, ::4], "hsv").permute(0, 2, 3, 1).reshape(-1, 3)
    pixels = windows[:, :, ::4, ::4].permute(0, 2, 3, 1).reshape(-1, 3)
    expected = np.array([colorsys.rgb_to_hsv(*map(float, pixel)) for pixel in pixels])
    np.testing.assert_allclose(shown, expected, atol=1e-5)


def test_lab_against_known_values():
    """SRGB primaries in CIE Lab (D65), as tabulated by Lindbloom to one decimal."""
    known = {
        (1.0, 1.0, 1.0): (100.0, 0.0, 0.0),
        (1.0, 0.0, 0.0): (53.2, 80.1, 67.2),
        (0.0, 1.0, 0.0): (87.7, -86.2, 83.2),
        (0.0, 0.0, 1.0): (32.3, 79.2, -107.9),
    }
    rgb = torch.tensor(list(known))[:, :, None, None]
    shown = to_color_space(rgb, "lab")[:, :, 0, 0]
    expected = [(light / 100, (a + 128) / 255, (b + 128) / 255) for light, a, b in known.values()]
    np.testing.assert_allclose(shown, expected, atol=1e-3)


def test_mean_subtraction(windows):
    shown = to_color_space(windows, "ms")
    assert torch.allclose(shown.amin((1, 2, 3)), torch.zeros(6))
    assert torch.allclose(shown.amax((1, 2, 3)), torch.ones(6), atol=1e-3)
    brighter = to_color_space(windows * 0.5 + 0.25, "ms")  # a linear change of light is not seen
    torch.testing.assert_close(brighter, shown, atol=1e-3, rtol=0)


def test_unknown_colour_space():
    with pytest.raises(ValueError, match="'xyz' is no colour space"):
        to_color_space(torch.zeros(1, 3, 8, 8), "xyz")


# Patches and head --------------------------------------------------------------------------------


def test_patches_run_row_by_row():
    maps = torch.zeros(2, 3, 4, 4)
    maps[0, 0, :2, :2] = 1  # top left
    maps[0, 1, :2, 2:] = 2  # top right
    maps[0, 2, 2:, :2] = 3  # bottom left
    maps[0, :, 2:, 2:] = 4  # bottom right
    maps[1] = 5
    patches = patch_features(maps)
    assert patches.shape == (8, 3)
    thirds = [1 / math.sqrt(3)] * 3
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 1], thirds, *[thirds] * 4]
    torch.testing.assert_close(patches, torch.tensor(expected, dtype=torch.float32))


def test_loss_gives_every_patch_the_label_of_its_image():
    """With maps that show the label, all patches cluster perfectly."""
    labels = torch.tensor([3, 9, 3])
    maps = torch.eye(2)[(labels.repeat(2) > 5).long()][:, :, None, None].expand(-1, -1, 4, 4)
    objective = Contrique()
    loss = objective.loss(objective.pool(maps), labels)
    partners = torch.tensor([15.0, 7.0, 15.0])
    expected = (partners + (23 - partners) * math.exp(-10)).log().mean()
    assert float(loss) == pytest.approx(float(expected), abs=1e-5)


def test_crops_reach_every_corner():
    image = torch.arange(25.0).reshape(1, 1, 5, 5).expand(2, -1, -1, -1)
    offsets = torch.tensor([[0.0, 0.0], [1 - 2**-24, 1 - 2**-24]])
    cut = crop(image, offsets, 3)
    assert cut[0, 0, 0, 0] == 0
    assert cut[1, 0, 2, 2] == 24


def test_projector():
    head = Projector(10, 4)
    kinds = [type(layer).__name__ for layer in head]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    assert head(torch.randn(3, 10)).shape == (3, 4)
    assert not any(name in ("0.bias", "3.bias") for name, _ in head.named_parameters())
