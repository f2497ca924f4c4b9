"""What every objective keeps to."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_sample_images

import skiqa.objectives
from skiqa import ContrastiveQualityEncoder
from skiqa.degradations import BankSpace, SequenceSpace, ShuffleSpace
from skiqa.objectives import OBJECTIVES, Reiqa

# small ones: of Re-IQA's 24 views of a photo 6, queues of a few steps
SMALL = {name: objective() for name, objective in OBJECTIVES.items()}
SMALL["qpt"].set_params(queue_size=24, n_positives=2)
SMALL["reiqa"] = Reiqa(queue_size=48, n_degradations=2, bank=("jpeg", "darken", "white_noise"))
EVERY = pytest.mark.parametrize("objective", SMALL.values(), ids=SMALL)


@pytest.fixture(scope="module")
def photos():
    return np.stack(
        [
            image[top : top + 64, left : left + 64]
            for image in load_sample_images().images
            for top, left in [(0, 0), (60, 100), (200, 400), (300, 500)]
        ]
    )


def both(views):
    return views if isinstance(views, tuple) else (views,)


@EVERY
def test_everything_random_follows_from_the_seeds(objective, photos):
    size = objective.window_size(16)
    windows = torch.from_numpy(photos[:4, :size, :size]).permute(0, 3, 1, 2).float() / 255
    indices, marks = torch.tensor([3, 8, 1, 5]), torch.tensor([-1, 0, 1, -1])
    seeds, before = torch.tensor([5, 2**62, -3, 17]), windows.clone()
    views, labels = objective.views(windows, indices, marks, seeds, 16)
    again, same = objective.views(windows, indices, marks, seeds, 16)
    others, _ = objective.views(windows, indices, marks, seeds + 1, 16)
    assert torch.equal(windows, before)
    assert torch.equal(labels, same)
    assert len(labels) == 4
    for x, y, z in zip(both(views), both(again), both(others), strict=True):
        assert torch.equal(x, y)
        assert not torch.equal(x, z)
        assert x.shape == (len(x), 3, 16, 16)
        assert len(x) % 4 == 0
        assert x.dtype == torch.float32
        assert x.min() >= 0
        assert x.max() <= 1
    # a pair of photos is what ARNIQA needs, and photo 2 is the third of each block of views
    part, label = objective.views(windows[2:], indices[2:], marks[2:], seeds[2:], 16)
    assert torch.equal(label, labels[2:])
    for x, y in zip(both(views), both(part), strict=True):
        assert torch.equal(x.unflatten(0, (-1, 4))[:, 2:], y.unflatten(0, (-1, 2)))


def curve(objective, photos, **parameters):
    defaults = {"device": "cpu", "precision": "float32", "view_size": 64, "random_state": 0}
    encoder = ContrastiveQualityEncoder(
        "test_resnet.r160_in1k", weights=None, objective=objective, **defaults | parameters
    )
    return encoder.fit(photos)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@EVERY
def test_trains_on_cuda(objective, photos):
    encoder = curve(objective, photos, epochs=2, batch_size=4, device="cuda", precision="auto")
    assert np.isfinite(encoder.loss_curve_).all()


def test_skops_may_hold_every_objective():
    import skops.io

    from skiqa.persistence import TRUSTED

    spaces = ShuffleSpace(), SequenceSpace(), BankSpace()
    found = skops.io.get_untrusted_types(data=skops.io.dumps([*SMALL.values(), *spaces]))
    assert set(found) <= set(TRUSTED)
    assert len(found) == len(SMALL) + len(spaces)


RATES = {"arniqa": 0.01, "contrique": 2.0, "qpt": 0.01, "reiqa": 0.003, "weighted": 2.0}
"""Of a step of 8 photos: far above those of long trainings, but for ARNIQA's."""


@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_lowers_the_loss(name, photos):
    objective = SMALL[name]
    batch = objective.learning_rate_batch
    encoder = curve(objective, photos, epochs=16, learning_rate=RATES[name] * batch / 8)
    still = curve(objective, photos, epochs=16, learning_rate=1e-9)  # sees the same views
    assert np.isfinite(encoder.loss_curve_).all()
    fall = np.mean(still.loss_curve_[-4:]) - np.mean(encoder.loss_curve_[-4:])
    assert fall > (0.05 if name == "arniqa" else 0.15)  # uphill, two objectives fall by 0.07, too
    assert np.isfinite(encoder.transform(photos[:1])).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_names_and_defaults(name):
    objective = OBJECTIVES[name]()
    assert type(objective).__name__.lower() == name
    assert getattr(skiqa.objectives, type(objective).__name__) is type(objective)
    objective._validate_params()
    for defaults in (objective.defaults_scratch, objective.defaults_pretrained):
        assert sorted(defaults) == ["batch_size", "learning_rate", "view_size", "weight_decay"]
    assert (
        objective.defaults_pretrained["learning_rate"]
        < 0.1 * (objective.defaults_scratch["learning_rate"])
    )
    parameters = objective.get_params()
    assert vars(pickle.loads(pickle.dumps(clone(objective)))).keys() >= parameters.keys()
    encoder = ContrastiveQualityEncoder(objective=objective)
    encoder.set_params(objective__temperature=0.7)
    assert encoder.objective.temperature == 0.7
