import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skiqa._training.momentum import MomentumEncoder, enqueue, follow
from skiqa.objectives import info_nce

few = settings(max_examples=15)


def random_rows(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(q, p, v, m, t, own):
    """The loss by loops, without a logsumexp."""

    def similarity(a, b):
        return float(a @ b) / float(a.norm()) / float(b.norm()) / t

    losses = []
    for i in range(len(q)):
        others = [similarity(q[i], x) for x in v[i]]
        others += [similarity(q[i], x) for x, hidden in zip(m, own[i], strict=True) if not hidden]
        for positive in p[i]:
            s = similarity(q[i], positive)
            losses.append(-math.log(math.exp(s) / sum(map(math.exp, [s, *others]))))
    return sum(losses) / len(losses)


@few
@given(
    st.integers(0, 2**31),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 9),
)
def test_equals_the_loops(seed, n, n_positives, n_negatives, n_queue):
    q, p, v, m = (
        random_rows(seed + i, *shape, 5)
        for i, shape in enumerate([(n,), (n, n_positives), (n, n_negatives), (n_queue,)])
    )
    own = random_rows(seed + 4, n, n_queue) > 0
    loss = info_nce(q, p, v, m, 0.3, own)
    assert loss.dtype == torch.float64
    assert float(loss) == pytest.approx(naive(q, p, v, m, 0.3, own), rel=1e-9, abs=1e-9)


def test_plateau_and_floor():
    q = torch.full((3, 4), 2.0)
    plateau = info_nce(q, q[:, None], q[:, None], torch.ones(6, 4), 0.2)
    assert float(plateau) == pytest.approx(math.log(8))  # 1 positive, 1 negative, 6 in the queue
    axes = torch.eye(4).double()
    best = info_nce(axes[:1], axes[None, :1], axes[None, 1:2], axes[2:], 0.1)
    assert float(best) == pytest.approx(math.log1p(3 * math.exp(-10)), rel=1e-9)
    opposite = info_nce(axes[:1], axes[None, :1], axes[None, :0], -axes[:1], 1.0)
    assert float(opposite) == pytest.approx(math.log1p(math.exp(-2)), rel=1e-5)


def test_alone_with_its_positive_there_is_nothing_to_learn():
    q = random_rows(0, 3, 4).requires_grad_()
    loss = info_nce(q, random_rows(1, 3, 1, 4), random_rows(2, 3, 0, 4), random_rows(3, 0, 4))
    loss.backward()
    assert float(loss.detach()) == 0
    assert (q.grad == 0).all()
    q, everything = q.detach(), torch.ones(3, 5, dtype=torch.bool)
    assert (
        float(info_nce(q, q[:, None], q[:, None][:, :0], random_rows(4, 5, 4), own=everything)) == 0
    )


def test_order_does_not_matter():
    q, p, v, m = (
        random_rows(0, 6, 4),
        random_rows(1, 6, 3, 4),
        random_rows(2, 6, 2, 4),
        random_rows(3, 9, 4),
    )
    expected = float(info_nce(q, p, v, m))
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    shuffled = info_nce(3 * q[order], p[order].flip(1), v[order].flip(1), m.flip(0) / 7)
    assert float(shuffled) == pytest.approx(expected, rel=1e-12)


def test_gradient_in_float64():
    q, p, v, m = (
        x.requires_grad_()
        for x in (
            random_rows(0, 3, 4),
            random_rows(1, 3, 2, 4),
            random_rows(2, 3, 1, 4),
            random_rows(3, 5, 4),
        )
    )
    own = torch.zeros(3, 5, dtype=torch.bool)
    own[0, 1:3] = True
    assert torch.autograd.gradcheck(lambda *x: info_nce(*x, 0.5, own), (q, p, v, m))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_stay_finite(dtype):
    q = (100 * random_rows(0, 4, 8)).to(dtype).requires_grad_()
    p, v, m = (
        x.to(dtype)
        for x in (random_rows(1, 4, 1, 8), random_rows(2, 4, 1, 8), 100 * random_rows(3, 6, 8))
    )
    loss = info_nce(q, p, v, m, 0.005)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(q.grad).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = info_nce(q.detach(), p, v, m, 0.005)
    assert float(rounded) == float(loss.detach())


# Queue and momentum ------------------------------------------------------------------------------


def test_the_queue_wraps_around():
    queue = torch.zeros(0, dtype=torch.int64)
    for step in range(5):
        queue = enqueue(queue, torch.arange(3 * step, 3 * step + 3), 7)
        expected = list(range(3 * step + 3))[-7:]
        assert queue.tolist() == expected
    assert enqueue(queue, torch.arange(100), 7).tolist() == list(range(93, 100))
    assert queue.untyped_storage().size() == 7 * 8  # what left the queue takes no memory


def network():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))


def test_following_moves_weights_and_statistics():
    target, source = network(), network()
    source(torch.randn(8, 3))
    before = {k: v.clone() for k, v in target.state_dict().items()}
    follow(target, source, 0.75)
    for name, value in source.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(
                target.state_dict()[name], 0.75 * before[name] + 0.25 * value
            )
    assert target[1].num_batches_tracked == 1


def test_momentum_encoder():
    net, head = network(), torch.nn.Linear(4, 2)
    memory = MomentumEncoder(net, head, queue_size=5, momentum=0.9)
    assert not memory.network.training
    assert not any(p.requires_grad for p in memory.network.parameters())
    keys, labels = memory.queue(torch.ones(3, 2))
    assert keys.shape == (0, 2)
    assert len(labels) == 0
    shares, target = [], torch.zeros(())
    with torch.no_grad():
        memory.head.bias.zero_()
        head.bias.fill_(1.0)
    for step in range(200):
        memory.update(net, head, torch.full((2, 2), float(step)), torch.tensor([step, step]))
        shares.append(min(0.9, (1 + step) / (10 + step)))
        target = shares[-1] * target + (1 - shares[-1])
        torch.testing.assert_close(memory.head.bias, target.expand(2))
    assert shares[0] == 0.1
    assert shares[-1] == 0.9
    keys, labels = memory.queue(keys)
    assert labels.tolist() == [197, 198, 198, 199, 199]
    torch.testing.assert_close(keys[:, 0], labels.float())


def test_momentum_encoder_goes_on_elsewhere():
    net, head = network(), torch.nn.Linear(4, 2)
    memory = MomentumEncoder(net, head, queue_size=5, momentum=0.9)
    with torch.no_grad():
        net[0].weight.add_(1.0)
    memory.update(net, head, torch.ones(3, 2), torch.arange(3))
    other = MomentumEncoder(net, head, queue_size=5, momentum=0.9)
    other.load_state_dict(copy.deepcopy(memory.state_dict()))
    for one in (memory, other):
        one.update(net, head, torch.zeros(3, 2), torch.arange(3, 6))
    theirs = other.state_dict()
    for name, value in memory.state_dict().items():
        assert torch.equal(value, theirs[name]), name
    fresh = MomentumEncoder(net, head, queue_size=5, momentum=0.9)
    fresh.load_state_dict(MomentumEncoder(net, head, 5, 0.9).state_dict())  # of an empty queue
    assert fresh.keys is None
