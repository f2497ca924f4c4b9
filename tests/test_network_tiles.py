import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

from skiqa import ContrastiveQualityEncoder
from skiqa._features import runners
from skiqa._features.pool import pool
from skiqa._network import tiles as module
from skiqa._network.build import random_state_of
from skiqa._network.live import live_networks
from skiqa._network.tiles import (
    available_memory,
    bytes_per_pixel,
    needs_tiles,
    tiled_features,
    tiling,
)
from skiqa.exceptions import ImageError

CPU, FLOAT = torch.device("cpu"), torch.float32
CHAINS = ["test_resnet.r160_in1k", "tf_efficientnet_lite0", "test_convnext.r160_in1k"]
GLOBAL = ["test_efficientnet.r160_in1k", "test_vit.r160_in1k"]  # squeeze-excitation, attention


@pytest.fixture(scope="module")
def network():
    networks = {}

    def get(name):
        if name not in networks:
            networks[name] = live_networks(random_state_of(name, 0), CPU, FLOAT)[0]
        return networks[name]

    return get


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(module, "TILED_ABOVE", 0)
    monkeypatch.setattr(module, "TILE_PIXELS", 128**2)


def photo(height, width):
    china = load_sample_images().images[0]
    return np.ascontiguousarray(china[:height, :width])


def compare(network, image, pooling="stages"):
    with torch.inference_mode():
        tiled = tiled_features(image, network, pooling, CPU, FLOAT)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "TILED_ABOVE", 10**9)
            whole = pool(image[None], network, pooling, CPU, FLOAT)[0]
    assert tiled.dtype == torch.float32
    np.testing.assert_allclose(tiled, whole, rtol=1e-5, atol=1e-5 * float(whole.abs().max()))


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("size", [(256, 384), (301, 215)])
@pytest.mark.parametrize("map_bytes", [10**9, 200_000, 0])
def test_tiles_equal_the_whole(network, monkeypatch, name, size, map_bytes):
    monkeypatch.setattr(module, "MAP_BYTES", map_bytes)
    cut = list(module.segments(tiling(network(name)), *size))
    n_stages = len(tiling(network(name)))
    assert sum(map(len, cut)) == n_stages
    if map_bytes in (0, 10**9):
        assert (len(cut) > 1) == (map_bytes > 0)
    compare(network(name), photo(*size))


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("size", [(33, 427), (320, 320), (129, 128), (255, 257), (1, 300)])
def test_sides_of_every_remainder(network, size):
    image = photo(*size)
    if min(size) < 32:
        image = np.pad(image, [(16, 15), (0, 0), (0, 0)], mode="edge")
    for pooling in ("stages", "avg"):
        compare(network(CHAINS[0]), image, pooling)


@pytest.mark.parametrize("name", CHAINS)
def test_chains_are_measured(network, name):
    chain = tiling(network(name))
    assert int(np.prod([stride for _, stride, _ in chain])) == network(name).stride
    assert chain[-1][2] == network(name)(torch.zeros(1, 3, 32, 32)).shape[1]


@pytest.mark.parametrize("name", GLOBAL)
def test_networks_that_look_at_the_whole_photo_are_found(network, name):
    assert tiling(network(name)) is None
    assert not needs_tiles(network(name), (10_000, 10))


def test_photos_up_to_four_megapixels_run_whole(network):
    assert not needs_tiles(network(CHAINS[0]), (2000, 2000))
    assert needs_tiles(network(CHAINS[0]), (2000, 2001))


def test_memory_that_is_not_there_is_named(network, monkeypatch):
    monkeypatch.setattr(module, "available_memory", lambda: 2**20)
    with pytest.raises(ImageError, match=r"4000 x 3000 pixels needs about .* GiB.*convolutional"):
        needs_tiles(network(GLOBAL[0]), (3000, 4000))
    assert needs_tiles(network(CHAINS[0]), (3000, 4000))  # tiles are small
    monkeypatch.setattr(module, "available_memory", lambda: None)
    assert not needs_tiles(network(GLOBAL[0]), (3000, 4000))


def test_memory_is_an_error_of_the_image(monkeypatch):
    for room in (module, runners):
        monkeypatch.setattr(room, "TILED_ABOVE", 50_000)
    monkeypatch.setattr(module, "available_memory", lambda: 2**20)
    photos = [photo(40, 40), photo(300, 300), photo(50, 40)]
    encoder = ContrastiveQualityEncoder(
        GLOBAL[0], weights=None, epochs=1, view_size=64, random_state=0
    ).fit([photo(40, 40)] * 2)
    with pytest.raises(ImageError, match=r"X\[1\] = .*300 x 300 pixels needs.*on_error"):
        encoder.transform(photos)
    rows = encoder.set_params(on_error="nan").transform(photos)
    assert np.isnan(rows).all(axis=1).tolist() == [False, True, False]


def test_estimated_memory(network):
    small, wide = bytes_per_pixel(network(CHAINS[0])), bytes_per_pixel(network(CHAINS[1]))
    assert 24 < small < wide < 2000  # at least the input itself, 12 bytes a pixel, twice
    memory = available_memory()
    assert memory is None or memory > 2**20


@pytest.mark.usefixtures("small_tiles")
def test_transform_runs_in_tiles(monkeypatch):
    photos = [photo(200, 300), photo(301, 215)]
    encoder = ContrastiveQualityEncoder(scales=(1.0, 0.5)).fit(photos)
    tiled = encoder.transform(photos)
    monkeypatch.setattr(module, "TILED_ABOVE", 10**9)
    np.testing.assert_allclose(encoder.transform(photos), tiled, rtol=1e-4, atol=1e-5)
