import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_sample_images

from skiqa._features import extract as module
from skiqa._features.constants import standardising_constants
from skiqa._features.extract import extract
from skiqa._features.standardise import standardiser
from skiqa._features.width import feature_width
from skiqa._inputs.containers import as_image_list
from skiqa._network.state import EncoderState, random_state_of

TINY = "test_resnet.r160_in1k"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photos():
    china, flower = load_sample_images().images
    return [china[:97, :131], flower[100:240, 60:160], china[50:120, 300:420]]


def rows_of(photos, state, **options):
    defaults = {"scales": (1.0, 0.5), "pooling": "stages", "device": CPU, "precision": "auto",
                "n_jobs": None, "on_error": "raise"}  # fmt: skip
    found = list(extract(as_image_list(photos), state=state, **defaults | options))
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


def test_widths():
    state = random_state_of("tf_efficientnet_lite0", 0)
    assert 2 * feature_width(state, "stages") == 3136  # at two scales
    assert feature_width(state, "avg") == 320
    assert feature_width(random_state_of(TINY, 0), "stages") == 800


def test_standardising(photos):
    state = random_state_of(TINY, 0)
    images = as_image_list(photos)
    center, scale = standardising_constants(images, [0, 1, 2], state, device=CPU, n_jobs=None)
    assert center.shape == scale.shape == (1, 2, 800)
    raw = rows_of(photos, state) * np.sqrt(1600)
    np.testing.assert_allclose(center.ravel(), raw.mean(axis=0), rtol=1e-4, atol=1e-5)
    assert (scale > 0).all()
    fields = {"backbone": TINY, "networks": state.networks, "mean": state.mean, "std": state.std}
    whole = EncoderState(**fields, center=center, scale=scale)
    rows = rows_of(photos, whole)
    expected = (raw - center.ravel()) / scale.ravel() / np.sqrt(1600)
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-5)
    assert rows.dtype == np.float32


def test_each_scale_takes_the_nearest_constants():
    state = random_state_of(TINY, 0)
    center = np.stack([np.full(4, 1.0), np.full(4, 2.0)])[None].astype(np.float32)
    fields = {"backbone": TINY, "networks": state.networks, "mean": state.mean, "std": state.std}
    whole = EncoderState(**fields, center=center, scale=np.ones_like(center))
    row = np.zeros(12, np.float32)
    found = standardiser(whole, (0.4, 0.75, 1.0))(row) * np.sqrt(12)
    # .75 lies nearer to 1 than to .5 in ratio
    np.testing.assert_allclose(found, np.repeat([-2.0, -1.0, -1.0], 4), rtol=1e-6)


def test_constant_features_stay_finite():
    grey = [np.full((40, 40), 128, np.uint8)] * 3
    state = random_state_of(TINY, 0)
    _, scale = standardising_constants(
        as_image_list(grey), [0, 1, 2], state, device=CPU, n_jobs=None
    )
    assert (scale == 1).all()


def test_bfloat16_is_near(photos):
    state = random_state_of("resnet18", 0)
    exact, short = (rows_of(photos, state, precision=p) for p in ("float32", "bfloat16"))
    assert not np.array_equal(exact, short)
    np.testing.assert_allclose(short, exact, atol=0.03 * np.abs(exact).max())


def test_batches_of_one_size_equal_one_by_one(photos):
    """The way of the GPU, taken on the CPU."""
    state = random_state_of(TINY, 0)
    alone = rows_of([*photos, *photos], state)
    batch = list(enumerate(np.ascontiguousarray(p) for p in [*photos, *photos]))
    networks = module.live_networks(state, CPU, torch.float32)
    rows = module._rows(batch, networks, (1.0, 0.5), "stages", CPU, torch.float32, False)
    together = np.stack([rows[i] for i in range(6)]) / np.sqrt(1600)
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
