import math

import pytest
import torch

from skiqa.degradations import BankSpace, ShuffleSpace
from skiqa.objectives import Qpt
from skiqa.objectives.qpt import distinct_sequences


@pytest.fixture
def windows():
    ramp = torch.linspace(0, 1, 16)
    return torch.stack([(ramp[:, None] * ramp) ** (i + 1) for i in range(4)])[:, None].expand(
        -1, 3, -1, -1
    )


def plain(n):
    return torch.arange(n), torch.full((n,), -1), torch.arange(10, 10 + n)


def test_degradations_of_a_photo_differ():
    space = ShuffleSpace(bank=("jpeg", "darken"), p_skip=0.9)  # pristine in three draws of four
    seeds = torch.arange(200)
    drawn = distinct_sequences(space, seeds, 3)
    assert all(len(set(row)) == 3 for row in drawn)
    assert distinct_sequences(space, seeds[50:51], 3) == drawn[50:51]  # by the seed alone
    with pytest.raises(ValueError, match=r"did not give 6 different .* lower n_extra"):
        distinct_sequences(BankSpace(bank=("jpeg",)), seeds[:1], 6)


class Brightness(ShuffleSpace):
    """Each sequence is a number: that is what the image becomes."""

    def sample(self, seeds):
        return [int(seed) & 0xFFFFF for seed in seeds]

    def apply(self, images, sequences, seeds):
        values = torch.tensor(sequences)[:, None, None, None] / 2.0**20
        return values.expand_as(images).float()


def test_queries_and_positives_show_one_degradation_the_others_another(windows):
    objective = Qpt(space=Brightness(), n_positives=2, n_extra=3)
    (queries, keys), labels = objective.views(windows, *plain(4), 8)
    assert queries.shape == (4, 3, 8, 8)
    assert keys.shape == (20, 3, 8, 8)
    assert labels.tolist() == [0, 1, 2, 3]
    shown = keys.unflatten(0, (5, 4))[:, :, 0, 0, 0]
    for i in range(4):
        query = queries[i, 0, 0, 0]
        assert (shown[:2, i] == query).all()
        assert len({float(x) for x in (query, *shown[2:, i])}) == 4


def test_crops_are_of_the_photo(windows):
    """Of undegraded photos: three squares, each somewhere in the window."""
    space = ShuffleSpace(bank=("jitter", "jpeg"), p_skip=0.99, p_second=0)
    (queries, keys), _ = Qpt(space=space, n_extra=0).views(windows, *plain(4), 8)
    places = {i: set() for i in range(4)}
    for view, i in zip([*queries, *keys], [0, 1, 2, 3] * 2, strict=True):
        patches = windows[i].unfold(1, 8, 1).unfold(2, 8, 1)
        same = (patches == view[:, None, None]).all(-1).all(-1).all(0)
        places[i] |= {tuple(place) for place in same.nonzero().tolist()}
    assert all(places.values())
    assert any(len(found) == 2 for found in places.values())


def test_a_photo_never_repels_itself_from_the_queue():
    objective = Qpt(temperature=0.1)
    axes = torch.eye(4).double()
    labels, keys = torch.tensor([7, 9]), torch.cat([axes[:2], axes[2:4]])  # positives, negatives
    queue = torch.stack([axes[0], axes[1], axes[3]])
    loss = objective.loss(axes[:2], labels, keys, queue, torch.tensor([7, 9, 3]))
    # each query: itself as positive, its own negative, one other photo's key and the stranger's
    assert float(loss) == pytest.approx(math.log1p(3 * math.exp(-10)), rel=1e-9)
    loss = objective.loss(axes[:2], labels, keys, queue, torch.tensor([9, 7, 3]))
    assert float(loss) == pytest.approx(math.log(2 + 2 * math.exp(-10)), rel=1e-9)


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="n_positives"):
        Qpt(n_positives=0)._validate_params()
