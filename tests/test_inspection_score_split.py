from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY
from sklearn.datasets import load_sample_images
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import PoissonRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skiqa
from skiqa import ContrastiveQualityEncoder
from skiqa._features import runners
from skiqa._features.standardise import finisher
from skiqa._features.width import row_width
from skiqa._inputs.resizing import pad_for_network
from skiqa._network import tiles
from skiqa._network.build import random_state_of
from skiqa._network.live import live_networks, to_input
from skiqa._network.pooling import POOLINGS
from skiqa._ridge import fitted_ridge
from skiqa.degradations import degrade
from skiqa.exceptions import ImageError
from skiqa.inspection._score_split import (
    _contributions,
    _fractions_of_photo,
    _grid_moments,
    _weights_of_pooled_features,
    iter_quality_maps,
    quality_map,
)

SIZES = [(97, 131), (140, 100), (33, 300), (20, 17), (1, 1), (5, 64)]


@pytest.fixture(scope="module")
def china():
    return load_sample_images().images[0]


@pytest.fixture(scope="module")
def shipped():
    return skiqa.load_model()


@pytest.fixture(scope="module")
def photos(china):
    return [np.ascontiguousarray(china[100 : 100 + h, 200 : 200 + w]) for h, w in SIZES]


def fitted(photos, regressor=None, **parameters):
    """A pipeline around a network whose features stand for nothing, but are all used."""
    encoder = ContrastiveQualityEncoder(device="cpu", **parameters)
    y = 40.0 + 30 * np.random.default_rng(0).normal(size=len(photos))
    return make_pipeline(encoder, regressor or Ridge(1e-3)).fit(photos, y)


def random_model(photos, **parameters):
    with pytest.warns(UserWarning, match="random features"):
        return fitted(photos, backbone=TINY, weights=None, random_state=0, **parameters)


@pytest.mark.parametrize("size", SIZES)
def test_the_map_of_the_shipped_model_adds_up_to_its_score(shipped, photos, size):
    image = photos[SIZES.index(size)]
    score, cells = quality_map(shipped, image, grid=(5, 7))
    assert score == pytest.approx(shipped.predict([image])[0], rel=1e-6)
    assert cells.shape == (5, 7)
    assert cells.sum() == pytest.approx(score, rel=1e-4)


@pytest.mark.parametrize("pooling", ["stages", "avg"])
@pytest.mark.parametrize("size", SIZES)
def test_contributions_add_up_to_the_features_without_a_remainder(photos, pooling, size):
    """Before constants are spread: what lies on the grid is weights @ pooled features."""
    network = live_networks(random_state_of(TINY, 0), torch.device("cpu"), torch.float32)[0]
    photo = photos[SIZES.index(size)]
    padded = pad_for_network(photo, network.stride, pooling)[None]
    with torch.inference_mode():
        maps = list(network.maps(to_input(padded, network, torch.device("cpu"), torch.float32)))
    if pooling == "avg":
        maps = maps[-1:]
    row = POOLINGS[pooling](maps)[0].double().numpy()
    moments = [
        _grid_moments(
            x[0],
            _fractions_of_photo(x.shape[2], size[0], padded.shape[1], 4),
            _fractions_of_photo(x.shape[3], size[1], padded.shape[2], 6),
        )
        for x in maps
    ]
    weights = np.random.default_rng(0).normal(size=row.size)
    cells = _contributions(weights, moments)
    assert cells.shape == (4, 6)
    assert cells.sum() == pytest.approx(weights @ row, abs=1e-5 * np.abs(weights * row).sum())


def test_contributions_on_the_grid_of_the_map_are_those_of_its_cells():
    x = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    x[2] = 1.5  # a channel that says nothing: deviation 0
    weights = np.arange(1.0, 7.0)
    found = _contributions(weights, [_grid_moments(x, np.eye(4), np.eye(6))])
    x = x.double().numpy()
    mean, deviation = x.mean((1, 2), keepdims=True), x.std((1, 2), keepdims=True)
    deviation[2] = np.inf
    expected = np.tensordot(weights[:3], x, 1)
    expected += np.tensordot(weights[3:], (x - mean) ** 2 / deviation, 1)
    np.testing.assert_allclose(found, expected / 24, rtol=1e-10)


@pytest.mark.parametrize("pooling", ["stages", "avg"])
@pytest.mark.parametrize("content", [False, True])
def test_weights_of_pooled_features(pooling, content):
    """The constant between both sums is the same for all photos; there is none with a norm."""
    start = random_state_of(TINY, 0)
    center = np.random.default_rng(1).normal(size=(1, 2, 800)).astype(np.float32)
    state = replace(start, center=center, scale=np.exp(center))
    if content:
        state = replace(state, content=random_state_of(TINY, 1))
    scales = (1.0, 0.5)
    generator = np.random.default_rng(0)
    n = row_width(state, scales, pooling)
    coef = generator.normal(size=n)
    constants = []
    for _ in range(3):
        row = generator.random(n).astype(np.float32)
        weights = _weights_of_pooled_features(coef, row, state, scales, pooling)
        constants.append(coef @ finisher(state, scales, pooling)(row) - weights @ row)
    np.testing.assert_allclose(constants, constants[0], rtol=1e-5, atol=1e-5)
    assert (pooling == "avg") == (abs(constants[0]) < 1e-5)


@pytest.mark.parametrize("parameters", [{}, {"pooling": "avg"}, {"scales": (1.0,)}], ids=str)
@pytest.mark.parametrize("content", [False, True])
def test_other_encoders(photos, parameters, content):
    model = random_model(photos, **parameters)
    if content:
        encoder = model[0].with_state(replace(model[0].state_, content=random_state_of(TINY, 1)))
        regressor = model[1].fit(encoder.transform(photos), np.arange(len(photos)))
        model = make_pipeline(encoder, regressor)
    expected = model.predict(photos)
    for index, score, cells, error, _ in iter_quality_maps(model, photos, grid=(3, 2)):
        assert error is None
        assert score == pytest.approx(expected[index], rel=1e-5, abs=1e-5)
        assert cells.sum() == pytest.approx(score, rel=1e-4, abs=1e-5)
        assert np.ptp(cells) > 0 or photos[index].size == 3


@pytest.mark.parametrize("backbone", [TINY, "tf_efficientnet_lite0"])
@pytest.mark.parametrize("pooling", ["stages", "avg"])
def test_large_photos_in_tiles(china, monkeypatch, backbone, pooling):
    photo = np.ascontiguousarray(china[:301, :215])
    state = random_state_of(backbone, 0)
    encoder = ContrastiveQualityEncoder(device="cpu", pooling=pooling).with_state(state)
    coef = np.random.default_rng(0).normal(size=row_width(state, encoder.scales, pooling))
    model = make_pipeline(encoder, fitted_ridge(coef, 3.0, 1.0))
    _, whole = quality_map(model, photo, grid=(7, 5))
    for room in (tiles, runners):
        monkeypatch.setattr(room, "TILED_ABOVE", 0)
    monkeypatch.setattr(tiles, "TILE_PIXELS", 96**2)
    score, cells = quality_map(model, photo, grid=(7, 5))
    assert score == pytest.approx(model.predict([photo])[0], rel=1e-6)
    assert not np.array_equal(cells, whole)
    np.testing.assert_allclose(cells, whole, atol=1e-5 * np.abs(whole).max())


def test_fractions_of_the_photo():
    np.testing.assert_allclose(_fractions_of_photo(3, 96, 96, 2), [[1, 0.5, 0], [0, 0.5, 1]])
    np.testing.assert_allclose(
        _fractions_of_photo(2, 96, 96, 4), [[0.5, 0], [0.5, 0], [0, 0.5], [0, 0.5]]
    )
    # 3 pixels in 8: shown as 0 1 2 | 1 0 1 2 1, in four cells of the map
    shown = np.array([0, 1, 2, 1, 0, 1, 2, 1])
    expected = [
        [(shown[2 * k : 2 * k + 2] == pixel).mean() for k in range(4)] for pixel in range(3)
    ]
    np.testing.assert_allclose(_fractions_of_photo(4, 3, 8, 3), expected)


@pytest.mark.parametrize("half", [np.s_[:, :320], np.s_[:, 320:]], ids=["left", "right"])
def test_a_blurred_half_gives_less(shipped, china, half):
    blurred = china.copy()
    blurred[half] = degrade(china, "gaussian_blur", 4)[half]
    cells = quality_map(shipped, blurred, grid=(1, 2))[1].ravel()
    lost = quality_map(shipped, china, grid=(1, 2))[1].ravel() - cells
    bad = 0 if half[1].start is None else 1
    assert cells[bad] < cells[1 - bad] - 5
    assert lost[bad] > 5
    assert lost[bad] > 4 * lost[1 - bad]


def test_photos_that_cannot_be_read_are_told(shipped, photos, tmp_path):
    (tmp_path / "no.jpg").write_bytes(b"no photo")
    results = list(iter_quality_maps(shipped, [tmp_path / "no.jpg", photos[0]], n_jobs=2))
    assert [index for index, *_ in results] == [0, 1]
    assert results[0][1:3] == (None, None)
    assert isinstance(results[0][3], ImageError)
    assert "no.jpg" in str(results[0][3])
    assert results[1][2].shape == (16, 16)
    with pytest.raises(ImageError, match=r"no\.jpg"):
        quality_map(shipped, tmp_path / "no.jpg")


def test_refuses(shipped, photos):
    images = photos[:3]
    encoder = shipped[0]
    with pytest.raises(TypeError, match="this model is Ridge"):
        quality_map(Ridge(), images[0])
    scaled = make_pipeline(encoder, StandardScaler(), Ridge())
    with pytest.raises(TypeError, match="ContrastiveQualityEncoder -> StandardScaler -> Ridge"):
        iter_quality_maps(scaled, images)
    for regressor, message in [
        (RandomForestRegressor(2), "RandomForestRegressor has no coef_"),
        (PoissonRegressor(), "PoissonRegressor predicts something else"),
    ]:
        features = encoder.transform(images)
        model = make_pipeline(encoder, regressor.fit(features, [10.0, 200.0, 30.0]))
        with pytest.raises(TypeError, match=message):
            iter_quality_maps(model, images)
    two = make_pipeline(encoder, Ridge().fit(features, np.eye(3)[:, :2]))
    with pytest.raises(TypeError, match="not one for each feature"):
        iter_quality_maps(two, images)
    for grid in ((0, 4), (4,)):
        with pytest.raises(ValueError, match="rows and columns of the map"):
            quality_map(shipped, images[0], grid=grid)


def test_the_border_that_was_padded_does_not_stand_out(shipped, china):
    whole = np.ascontiguousarray(china[:384, :640])
    cut = np.ascontiguousarray(china[:385, :640])  # 31 rows are mirrored below it
    one, other = (16 * 20 * quality_map(shipped, photo, grid=(16, 20))[1] for photo in (whole, cut))
    assert np.abs(one - other)[:-2].max() < 25
    assert abs(one[-1].mean() - other[-1].mean()) < 10
