import io
import threading
import time

import numpy as np
import pytest
import torch
import torchvision
from conftest import CPU, TINY
from PIL import Image
from sklearn.datasets import load_sample_images

from skiqa._features import extract as module
from skiqa._features import runners
from skiqa._features.extract import Extraction, extract
from skiqa._features.pool import TorchRunner
from skiqa._inputs import prefetch
from skiqa._inputs.containers import as_image_list
from skiqa._network import tiles
from skiqa._network.build import random_state_of
from skiqa._network.live import live_networks
from skiqa._network.state import EncoderState
from skiqa.exceptions import ImageError


@pytest.fixture(scope="module")
def photos():
    china, flower = load_sample_images().images
    return [china[:97, :131], flower[100:240, 60:160], china[50:120, 300:420]]


def rows_of(photos, state, scales=(1.0, 0.5), pooling="stages", precision="auto", n_jobs=None):
    extraction = Extraction(state, scales, pooling, "cpu", precision)
    found = list(extract(as_image_list(photos), extraction, n_jobs=n_jobs, on_error="raise"))
    assert [index for index, _ in found] == list(range(len(photos)))
    return np.stack([row for _, row in found])


def test_pooled_features_equal_plain_torchvision_layers(photos):
    """resnet18 as torchvision runs it: image by image, at full and half scale."""
    plain = torchvision.models.resnet18(weights=None).eval()
    generator = torch.Generator().manual_seed(0)
    for name, value in plain.state_dict().items():  # statistics that do something
        if name.endswith("running_mean"):
            value.copy_(0.1 * torch.randn(value.shape, generator=generator))
        elif name.endswith("running_var"):
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
    arrays = {
        name: value.numpy().copy()
        for name, value in plain.state_dict().items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    state = EncoderState(backbone="resnet18", networks=[arrays], mean=mean, std=std)
    expected = []
    for photo in photos:
        image, row = Image.fromarray(photo), []
        size = image.width // 2, image.height // 2
        for copy in (image, image.resize(size, Image.Resampling.BICUBIC)):
            x = torch.from_numpy(np.array(copy)).permute(2, 0, 1)[None].float() / 255
            x = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
            with torch.no_grad():
                x = plain.maxpool(plain.relu(plain.bn1(plain.conv1(x))))
                x = plain.layer4(plain.layer3(plain.layer2(plain.layer1(x))))
                row.append(torch.nn.functional.normalize(plain.avgpool(x).flatten(), dim=0))
        expected.append(torch.cat(row).numpy())
    found = rows_of(photos, state, pooling="avg")
    assert np.abs(found - np.stack(expected)).max() <= 1e-5


def test_bfloat16_is_near(photos):
    state = random_state_of("resnet18", 0)
    exact, short = (rows_of(photos, state, precision=p) for p in ("float32", "bfloat16"))
    assert not np.array_equal(exact, short)
    np.testing.assert_allclose(short, exact, atol=0.03 * np.abs(exact).max())


def test_batches_of_one_size_equal_one_by_one(photos):
    """The way of the GPU, taken on the CPU."""
    state = random_state_of(TINY, 0)
    alone = rows_of([*photos, *photos], state)
    group = list(enumerate(np.ascontiguousarray(p) for p in [*photos, *photos]))
    extraction = Extraction(state, (1.0, 0.5), "stages", "cpu", "float32")
    networks = live_networks(state, CPU, torch.float32)
    in_torch = [TorchRunner(network, "stages", CPU, torch.float32) for network in networks]
    images = as_image_list([*photos, *photos])
    rows = module._pool_group(images, group, extraction, in_torch)
    together = np.stack([rows[i] for i in range(6)]) / np.sqrt(1600)
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_engines_and_pytorch_agree(photos, monkeypatch):
    state = random_state_of(TINY, 0)
    found = rows_of(photos, state)
    monkeypatch.setattr(runners, "live_engines", lambda state, pooling: [None])
    expected = rows_of(photos, state)
    assert not np.array_equal(found, expected)  # they are two
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_rows_depend_on_no_thread_and_no_neighbour(photos):
    state = random_state_of(TINY, 0)
    many = [photo[: photo.shape[0] - i % 5] for i in range(4) for photo in photos]
    expected = rows_of(many, state)
    for n_jobs in (2, 5):
        np.testing.assert_array_equal(rows_of(many, state, n_jobs=n_jobs), expected)
    alone = np.concatenate([rows_of([photo], state, n_jobs=2) for photo in many])
    np.testing.assert_array_equal(alone, expected)


def test_large_photos_among_threads(photos, monkeypatch):
    """They run in tiles in PyTorch, one at a time, and do not change the order."""
    state = random_state_of(TINY, 0)
    expected = rows_of(photos, state)
    for room in (tiles, runners):
        monkeypatch.setattr(room, "TILED_ABOVE", photos[0].shape[0] * photos[0].shape[1])
    np.testing.assert_allclose(rows_of(photos, state, n_jobs=2), expected, rtol=1e-4, atol=1e-6)


def test_threads_decode_within_memory(photos, monkeypatch):
    """Of photos that need all of it, no two are decoded at a time."""
    files = []
    for photo in photos * 3:
        file = io.BytesIO()
        Image.fromarray(photo).save(file, "PNG")
        files.append(file.getvalue())
    images, lock, at_a_time = as_image_list(files), threading.Lock(), [0, 0]
    load = images.load

    def noted(index, max_pixels=None):
        with lock:
            at_a_time[0] += 1
            at_a_time[1] = max(at_a_time)
        time.sleep(0.01)
        with lock:
            at_a_time[0] -= 1
        return load(index, max_pixels)

    monkeypatch.setattr(images, "load", noted)
    extraction = Extraction(random_state_of(TINY, 0), (1.0,), "stages", "cpu", "auto")
    monkeypatch.setattr(prefetch, "BYTES_IN_FLIGHT", 1)
    assert len(list(extract(images, extraction, n_jobs=3, on_error="raise"))) == 9
    assert at_a_time == [0, 1]


def test_threads_stop_at_an_error_in_its_turn(photos):
    extraction = Extraction(random_state_of(TINY, 0), (1.0,), "avg", "cpu", "auto")
    images = as_image_list([photos[0], photos[1], "missing.jpg", *photos])
    rows = extract(images, extraction, n_jobs=3, on_error="raise")
    assert [next(rows)[0], next(rows)[0]] == [0, 1]
    with pytest.raises(ImageError, match=r"X\[2\] = 'missing.jpg'"):
        next(rows)
    rows = dict(extract(images, extraction, n_jobs=3, on_error="nan"))
    assert [type(row) for row in rows.values()].index(ImageError) == 2
    assert len(rows) == 6
