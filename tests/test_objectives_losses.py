"""The contrastive losses against loops, closed forms and each other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skiqa.objectives import nt_xent, weighted_nt_xent

few = settings(max_examples=15)


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


def random(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Of classes --------------------------------------------------------------------------------------


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


# Of weights --------------------------------------------------------------------------------------


def test_weights_of_zero_and_one_are_classes():
    z, labels = random(0, 9, 4) - 0.5, torch.tensor([0, 1, 0, 2, 1, 0, 5, 2, 2])
    weights = (labels[:, None] == labels).double()
    assert float(weighted_nt_xent(z, 3 * weights)) == pytest.approx(float(nt_xent(z, labels)))


def test_loss_by_loops_and_never_below_the_entropy():
    z, w, t = random(1, 7, 3) - 0.5, random(2, 7, 7), 0.4
    w[3] = 0  # a row that attracts nothing is left out
    s = torch.nn.functional.normalize(z, dim=1)
    s = s @ s.T / t
    losses, entropies = [], []
    for i in [0, 1, 2, 4, 5, 6]:
        others = [j for j in range(7) if j != i]
        p = w[i, others] / w[i, others].sum()
        losses.append(-(p * s[i, others].log_softmax(0)).sum())
        entropies.append(-(p * p.log()).sum())
    expected = float(torch.stack(losses).mean())
    assert float(weighted_nt_xent(z, w, t)) == pytest.approx(expected, rel=1e-12)
    assert expected > float(torch.stack(entropies).mean())


def test_the_entropy_is_reached():
    """Of weights that are the softmax of the similarities themselves."""
    z, t = random(3, 6, 3) - 0.5, 0.7
    u = torch.nn.functional.normalize(z, dim=1)
    w = (u @ u.T / t).exp()
    p = w.clone().fill_diagonal_(0)
    p /= p.sum(1, keepdim=True)
    entropy = -(torch.xlogy(p, p)).sum(1).mean()
    assert float(weighted_nt_xent(z, w, t)) == pytest.approx(float(entropy), rel=1e-12)


def test_gradient_and_order_of_weights():
    z, w = (random(4, 6, 3) - 0.5).requires_grad_(), random(5, 6, 6)
    assert torch.autograd.gradcheck(lambda z: weighted_nt_xent(z, w, 0.5), z)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    shuffled = weighted_nt_xent(z[order], w[order][:, order])
    assert float(shuffled.detach()) == pytest.approx(float(weighted_nt_xent(z, w).detach()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_and_short_floats_stay_finite(dtype):
    z = (200 * (random(6, 8, 4) - 0.5)).to(dtype).requires_grad_()
    loss = weighted_nt_xent(z, random(7, 8, 8), 0.005)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(z.grad).all()
