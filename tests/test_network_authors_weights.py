"""Files in the authors' layouts, made here: the real ones cannot be had in a test."""

import os
import zipfile

import numpy as np
import pytest
import torch
import torchvision
from conftest import TINY
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn.functional import normalize
from torchvision.transforms.functional import to_tensor

from skiqa import ContrastiveQualityEncoder
from skiqa._network.authors_weights import LAYOUTS
from skiqa._network.build import random_state_of
from skiqa._network.shapes import array_shapes
from skiqa._network.state import EncoderState
from skiqa._network.weight_files import load_state, state_to_tensors, tensors_to_state, write_file
from skiqa.objectives import Contrique
from skiqa.persistence import load, load_regressor, save

IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)


@pytest.fixture(scope="module")
def trunk():
    """A ResNet-50 of torchvision, with statistics and weights that do something."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = torchvision.models.resnet50(weights=None)
        for name, value in network.state_dict().items():
            if name.endswith("running_mean"):
                value.normal_(0, 0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif name.endswith("bn3.weight"):
                value.fill_(0.3)  # 16 blocks add up: keep the maps near one, as trained ones are
    return network.eval().requires_grad_(False)


# The modules of the three papers, with their children in the papers' order, so that their
# `state_dict` has the papers' names.


class ContriqueModel(nn.Module):
    def __init__(self, trunk):
        super().__init__()
        self.encoder = nn.Sequential(*list(trunk.children())[:-2])
        first = nn.Linear(2048, 2048, bias=False), nn.BatchNorm1d(2048), nn.ReLU()
        second = nn.Linear(2048, 128, bias=False), nn.BatchNorm1d(128)
        self.projector = nn.Sequential(*first, *second)

    def features(self, x):
        return normalize(self.encoder(x).mean(dim=(2, 3)), dim=1)


class ArniqaModel(nn.Module):
    def __init__(self, trunk):
        super().__init__()
        self.model = nn.Sequential(*list(trunk.children())[:-1])
        self.projector = nn.Sequential(nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 128))

    def features(self, x):
        return normalize(self.model((x - IMAGENET[0]) / IMAGENET[1]).flatten(1), dim=1)


class ReIQAModel(nn.Module):
    def __init__(self, trunk):
        super().__init__()
        self.encoder = nn.Module()
        for name, child in list(trunk.named_children())[:-1]:
            self.encoder.add_module(name, child)
        self.head = nn.Sequential(nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 128))

    def features(self, x):
        for layer in self.encoder.children():
            x = layer(x)
        return x.flatten(1)


class ContentModel(ReIQAModel):
    def features(self, x):
        return super().features((x - IMAGENET[0]) / IMAGENET[1])


def wrapped(state):
    """A state dict as DistributedDataParallel and Re-IQA's training leave it."""
    return {"model": {f"module.{key}": value for key, value in state.items()}, "epoch": 40}


PUBLISHED = {
    "CONTRIQUE_checkpoint25.tar": (ContriqueModel, dict, 330),
    "ARNIQA.pth": (ArniqaModel, dict, 322),
    "quality_aware_r50.pth": (ReIQAModel, wrapped, 322),
    "content_aware_r50.pth": (ContentModel, wrapped, 322),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_features_are_the_papers(trunk, tmp_path, name):
    make, wrap, n_tensors = PUBLISHED[name]
    model = make(trunk).eval()
    assert len(model.state_dict()) == n_tensors
    torch.save(wrap(model.state_dict()), tmp_path / name)
    photo = Image.fromarray(np.ascontiguousarray(load_sample_images().images[0][100:197, 200:265]))
    half = photo.resize((photo.width // 2, photo.height // 2))  # Pillow's default: bicubic
    with torch.no_grad():
        row = torch.cat([model.features(to_tensor(image)[None]) for image in (photo, half)], dim=1)
    encoder = ContrastiveQualityEncoder(weights=tmp_path / name, pooling="avg").fit([photo])
    found = encoder.transform([photo])
    assert found.shape == (1, 4096)
    assert np.abs(found - row.numpy()).max() <= 1e-5
    norms = np.linalg.norm(found.reshape(2, 2048), axis=1)
    assert np.allclose(norms, 1) == (name in ("CONTRIQUE_checkpoint25.tar", "ARNIQA.pth"))


def thin(layout, dtype=torch.float32):
    """Weights of the right names and shapes that takes no room: one number, repeated."""
    one = torch.full((1,), 0.5, dtype=dtype)
    return {layout.key(k): one.expand(shape) for k, shape in array_shapes("resnet50").items()}


def test_names_and_shapes_of_the_papers():
    """What methods of the four layouts are known by: the published loaders ask for these."""
    shapes = {x.paper + x.prefix: {k: tuple(v.shape) for k, v in thin(x).items()} for x in LAYOUTS}
    assert all(len(names) == 265 for names in shapes.values())  # 318, less 53 counters of batches
    assert shapes["CONTRIQUEencoder."]["encoder.0.weight"] == (64, 3, 7, 7)
    assert shapes["CONTRIQUEencoder."]["encoder.6.5.conv2.weight"] == (256, 256, 3, 3)
    assert shapes["ARNIQAmodel."]["model.4.0.downsample.1.running_var"] == (256,)
    assert shapes["ARNIQAencoder.model."]["encoder.model.7.2.bn3.bias"] == (2048,)
    assert shapes["Re-IQAencoder."]["encoder.layer4.2.conv3.weight"] == (2048, 512, 1, 1)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda x: x.paper + x.prefix)
def test_what_a_state_records(tmp_path, layout):
    path = tmp_path / "some.pth"
    # without counters of batches, in half precision, as parameters
    held = {k: nn.Parameter(v) for k, v in thin(layout, torch.float16).items()}
    held[layout.head + "0.weight"] = torch.ones(3, 2)
    held["queue.weight"] = torch.zeros(2)  # of no network
    torch.save({"state_dict": {f"module.{k}": v for k, v in held.items()}}, path)
    state = load_state(path)
    assert state.backbone == "resnet50"
    assert state.card["paper"] == layout.paper
    assert state.unit_norm == (layout.paper != "Re-IQA")
    assert (state.mean == (0, 0, 0)) == (layout.paper != "ARNIQA")
    assert state.networks[0]["conv1.weight"].dtype == np.float32
    assert list(state.head) == ["0.weight"]
    again = tensors_to_state(*state_to_tensors(state))
    assert (again.digest, again.unit_norm) == (state.digest, state.unit_norm)


def test_training_goes_on_without_norm(tmp_path):
    start = random_state_of(TINY, 0)
    fields = {"backbone": TINY, "networks": start.networks, "mean": start.mean, "std": start.std}
    tensors, header = state_to_tensors(EncoderState(**fields, unit_norm=False))
    path = tmp_path / "raw.skiqa"
    write_file(path, {f"encoder.{k}": v for k, v in tensors.items()}, {"encoder": header})
    photos = [image[:80, :96] for image in load_sample_images().images]
    encoder = ContrastiveQualityEncoder(
        weights=path, pooling="avg", epochs=1, view_size=64, random_state=0, keep_start=True
    )
    rows = encoder.fit(photos).transform(photos)
    assert not encoder.state_.unit_norm
    assert (np.abs(np.linalg.norm(rows.reshape(8, -1), axis=1) - 1) > 1e-3).all()
    save(encoder, tmp_path / "trained.skiqa")
    np.testing.assert_array_equal(load(tmp_path / "trained.skiqa").transform(photos), rows)


def test_old_format_of_torch(tmp_path):
    torch.save(thin(LAYOUTS[0]), tmp_path / "x.tar", _use_new_zipfile_serialization=False)
    assert load_state(tmp_path / "x.tar").card["paper"] == "CONTRIQUE"


def test_contrique_goes_on_with_its_own_projector(trunk):
    own = {k: v.shape for k, v in Contrique().head(2048).state_dict().items()}
    theirs = {k: v.shape for k, v in ContriqueModel(trunk).projector.state_dict().items()}
    assert own == theirs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.0.weight": None}, r"ARNIQA's.*1 are missing \(model\.0\.weight\)"),
        (
            {"model.1.bias": torch.zeros(3)},
            r"1 have another shape \(model\.1\.bias \(3,\) instead of \(64,\)\)",
        ),
        ({"model.6.6.bn1.bias": torch.zeros(3)}, r"1 are not expected \(model\.6\.6\.bn1\.bias\)"),
    ],
)
def test_almost_the_weights(tmp_path, change, message):
    held = thin(LAYOUTS[1]) | change
    torch.save({k: v for k, v in held.items() if v is not None}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth.*" + message):
        load_state(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"conv1.weight": torch.zeros(64, 3, 7, 7)}, r"Expected.*'encoder\.0\.weight'.*'model\.0"),
        ({"a": torch.zeros(1), "b": 3}, r"Found 1 tensors \(a\)"),
        ({}, "Found 0 tensors"),
        ([torch.zeros(1)], "holds a list, expected a dict"),
    ],
)
def test_no_weights_known(tmp_path, held, message):
    torch.save(held, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth.*" + message):
        ContrastiveQualityEncoder(weights=tmp_path / "x.pth").fit([np.zeros((8, 8))])


class Evil:
    def __init__(self, path):
        self.path = os.fspath(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_weight_files_execute_nothing(tmp_path, zipped):
    held = thin(LAYOUTS[0]) | {"encoder.0.weight": Evil(tmp_path / "made")}
    torch.save(held, tmp_path / "x.tar", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"x\.tar' holds \w+\.mkdir.*nothing in it was executed"):
        load_state(tmp_path / "x.tar")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_happened_to_a_weight_file_is_one_value_error(tmp_path, zipped):
    held, path = {"encoder.conv1.weight": torch.ones(4, 3)}, tmp_path / "x.pth"
    torch.save(held, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for place in range(4, len(whole), 7):  # a file of this name is known by its first bytes
        path.write_bytes(whole[:place] + whole[place + 3 :])
        with pytest.raises(ValueError, match=r"x\.pth"):
            load_state(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_name_without_end_is_refused_at_once(tmp_path, zipped):
    """PyTorch's own message takes the square of its length."""
    path = tmp_path / "x.pth"
    torch.save({"x": torch.ones(2)}, path, _use_new_zipfile_serialization=zipped)
    name = b"ctorch._utils\n"
    if zipped:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for member, data in members.items():
                archive.writestr(member, data.replace(name, b"c" + b"x" * 200_000 + b"\n"))
    else:
        path.write_bytes(path.read_bytes().replace(name, b"c" + b"x" * 200_000 + b"\n"))
    with pytest.raises(ValueError, match=r"x\.pth' is damaged"):
        load_state(path)


@pytest.mark.parametrize("junk", [b"PK\3\4 no archive", b"\x80\x02\x8a\x0a torn", b"\x80\x02"])
def test_damaged_weight_files(tmp_path, junk):
    (tmp_path / "x.pth").write_bytes(junk)
    with pytest.raises(ValueError, match=r"x\.pth.*damaged"):
        load_state(tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth.*is no regressor known here"):
        load_regressor(tmp_path / "x.pth")
