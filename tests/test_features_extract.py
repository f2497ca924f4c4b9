import numpy as np
import pytest
import torch
import torchvision
from conftest import CPU, TINY
from PIL import Image
from sklearn.datasets import load_sample_images

from skiqa._features import extract as module
from skiqa._features.extract import Extraction, extract
from skiqa._inputs.containers import as_image_list
from skiqa._network.live import live_networks
from skiqa._network.state import EncoderState, random_state_of


@pytest.fixture(scope="module")
def photos():
    china, flower = load_sample_images().images
    return [china[:97, :131], flower[100:240, 60:160], china[50:120, 300:420]]


def rows_of(photos, state, scales=(1.0, 0.5), pooling="stages", precision="auto"):
    extraction = Extraction(state, scales, pooling, CPU, precision)
    found = list(extract(as_image_list(photos), extraction, n_jobs=None, on_error="raise"))
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
        half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
        for copy in (image, half):
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
    extraction = Extraction(state, (1.0, 0.5), "stages", CPU, "float32")
    networks = live_networks(state, CPU, torch.float32)
    images = as_image_list([*photos, *photos])
    rows = module._pool_group(images, group, extraction, networks)
    together = np.stack([rows[i] for i in range(6)]) / np.sqrt(1600)
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
