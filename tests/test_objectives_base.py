"""The base class: what an objective of one's own must define, and what it need not."""

import math

import numpy as np
import pytest
import torch
from conftest import TINY
from sklearn.datasets import load_sample_images

from skiqa import ContrastiveQualityEncoder
from skiqa.objectives import OBJECTIVES, Objective, nt_xent


class Corners(Objective):
    """The smallest objective: two corners of a window attract."""

    def views(self, windows, indices, authentic, seeds, view_size):
        first, second = windows[..., :view_size, :view_size], windows[..., -view_size:, -view_size:]
        return torch.cat([first, second]), indices

    def loss(self, projections, labels):
        return nt_xent(projections, labels.repeat(2), self.temperature)


def encoder(objective, **parameters):
    defaults = {"epochs": 2, "batch_size": 4, "view_size": 32, "random_state": 0, "device": "cpu"}
    return ContrastiveQualityEncoder(
        TINY, weights=None, objective=objective, **defaults | parameters
    )


@pytest.fixture(scope="module")
def photos():
    china, flower = load_sample_images().images
    return [image[y : y + 72, :72] for image in (china, flower) for y in (0, 100, 200, 300)]


def test_views_and_loss_are_enough_to_train(photos):
    trained = encoder(Corners(projection_dim=16)).fit(photos)
    assert isinstance(trained.objective_, Corners)
    assert trained.state_.head["2.weight"].shape[0] == 16
    assert np.isfinite(trained.loss_curve_).all()
    assert np.isfinite(trained.transform(photos[:1])).all()
    again = encoder(Corners(projection_dim=16)).fit(photos)
    assert again.state_.digest == trained.state_.digest
    other = encoder(Corners()).set_params(objective__temperature=0.7).fit(photos)
    assert other.objective_.temperature == 0.7
    assert other.state_.digest != trained.state_.digest


def test_what_is_inherited():
    objective = Corners()
    assert objective.get_params() == {"temperature": 0.1, "projection_dim": 128}
    assert objective.window_size(32) == 64
    assert objective.pool(torch.ones(3, 5, 2, 2)).shape == (3, 5)
    assert objective.head(5)(torch.ones(3, 5)).shape == (3, 128)
    assert objective.grid == 1
    assert not objective.has_queue
    assert objective.plateau(4) is None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"temperature": 0.0}, "temperature"), ({"projection_dim": 0}, "projection_dim")],
)
def test_shared_parameters_are_checked_in_fit(parameters, message, photos):
    with pytest.raises(ValueError, match=message):
        encoder(Corners(**parameters)).fit(photos)


def test_what_is_no_objective(photos):
    with pytest.raises(TypeError, match="abstract method"):
        Objective()
    with pytest.raises(ValueError, match="objective"):
        encoder(object()).fit(photos)


PLATEAUS = {"arniqa": 7, "contrique": 39, "weighted": 39}
"""The other rows of each row that the loss compares, with five photos a step."""


@pytest.mark.parametrize("name", PLATEAUS)
def test_plateau_is_the_loss_of_equal_features(name):
    n, objective = 5, OBJECTIVES[name]()
    windows = torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    views, labels = objective.views(
        windows, torch.arange(n), torch.zeros(n, dtype=torch.int64), torch.arange(n), 32
    )
    rows = objective.pool(torch.ones(len(views), 4, 2, 2))
    loss = float(objective.loss(rows, labels))
    assert loss == pytest.approx(objective.plateau(n), abs=1e-5)
    assert objective.plateau(n) == math.log(PLATEAUS[name])


@pytest.mark.parametrize("name", sorted(OBJECTIVES.keys() - PLATEAUS))
def test_a_queue_that_fills_has_no_plateau(name):
    objective = OBJECTIVES[name]()
    assert objective.has_queue
    assert objective.plateau(5) is None
    assert objective.queue_size == 65536
    assert objective.momentum == 0.999
    for parameters in ({"queue_size": 0}, {"momentum": 1.5}):
        with pytest.raises(ValueError, match=next(iter(parameters))):
            OBJECTIVES[name](**parameters)._validate_params()
