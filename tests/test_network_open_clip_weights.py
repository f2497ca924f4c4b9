"""Weight files in open_clip's layout, made here, and what its networks compute, written again."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn.functional import avg_pool2d, linear, multi_head_attention_forward, relu

from skiqa import ContrastiveQualityEncoder, ImageTower
from skiqa._network.build import random_state_of
from skiqa._network.open_clip_names import renamed, table_of
from skiqa._network.weight_files import load_state
from skiqa.persistence import load, save

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
VIT, RESNET = "vit_xsmall_patch16_clip_224", "resnet50_clip"
WIDTH, LAYERS, HEADS, SPACE = 256, 10, 4, 512
# The first five numbers of open_clip_torch 3.3.0 for the photo below, its networks, by `fill`:
# VisionTransformer(image_size=224, patch_size=16, width=256, layers=10, heads=4, mlp_ratio=4,
# output_dim=512) and ModifiedResNet([3, 4, 6, 3], 1024, 32, 224, 64)
GOLDEN = {
    VIT: [-0.4766057, 1.3614275, -0.6213778, 1.0154548, 0.6062872],
    RESNET: [-0.1500928, 3.6010375, -1.2213465, -4.2088327, -1.5037154],
}


class Attention(nn.Module):
    """What nn.MultiheadAttention holds, under its names."""

    def __init__(self, width):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x):  # (n, tokens, width)
        n, tokens, width = x.shape
        q, k, v = linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        q, k, v = (t.view(n, tokens, HEADS, -1).transpose(1, 2) for t in (q, k, v))
        shares = (q @ k.transpose(2, 3) / (width // HEADS) ** 0.5).softmax(-1)
        return self.out_proj((shares @ v).transpose(1, 2).reshape(n, tokens, width))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.attn, self.ln_2 = nn.LayerNorm(WIDTH), Attention(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(WIDTH, 4 * WIDTH), "c_proj": nn.Linear(4 * WIDTH, WIDTH)}
        )

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        hidden = nn.functional.gelu(self.mlp["c_fc"](self.ln_2(x)))
        return x + self.mlp["c_proj"](hidden)


class VisionTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 16, 16, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(WIDTH))
        self.positional_embedding = nn.Parameter(torch.empty(197, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.proj = nn.Parameter(torch.empty(WIDTH, SPACE))

    def forward(self, x):
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1)
        x = self.ln_pre(x + self.positional_embedding)
        for block in self.transformer.resblocks:
            x = block(x)
        return self.ln_post(x[:, 0]) @ self.proj


class Bottleneck(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.stride = stride
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        if stride > 1 or channels != 4 * width:
            shortcut = nn.Conv2d(channels, 4 * width, 1, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * width))

    def forward(self, x):
        out = relu(self.bn1(self.conv1(x)))
        out = relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(avg_pool2d(out, self.stride)))
        beside = self.downsample(avg_pool2d(x, self.stride)) if hasattr(self, "downsample") else x
        return relu(out + beside)


class ModifiedResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)
        self.conv2, self.bn2 = nn.Conv2d(32, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32)
        self.conv3, self.bn3 = nn.Conv2d(32, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        channels = 64
        for layer, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], 1):
            members = []
            for block in range(blocks):
                members.append(Bottleneck(channels, width, 2 if layer > 1 and block == 0 else 1))
                channels = 4 * width
            setattr(self, f"layer{layer}", nn.Sequential(*members))
        self.attnpool = nn.Module()
        self.attnpool.positional_embedding = nn.Parameter(torch.empty(50, 2048))
        for name, space in (("q_proj", 2048), ("k_proj", 2048), ("v_proj", 2048), ("c_proj", 1024)):
            setattr(self.attnpool, name, nn.Linear(2048, space))

    def features(self, x):
        for k in (1, 2, 3):
            x = relu(getattr(self, f"bn{k}")(getattr(self, f"conv{k}")(x)))
        x = avg_pool2d(x, 2)
        for layer in range(1, 5):
            x = getattr(self, f"layer{layer}")(x)
        return x

    def forward(self, x):
        x = self.features(x).flatten(2).permute(2, 0, 1)  # (cells, n, c)
        x = torch.cat([x.mean(0, keepdim=True), x]) + self.attnpool.positional_embedding[:, None]
        q, k, v, c = (getattr(self.attnpool, f"{name}_proj") for name in "qkvc")
        found, _ = multi_head_attention_forward(
            x[:1], x, x, 2048, 32, None, torch.cat([q.bias, k.bias, v.bias]), None, None, False, 0,
            c.weight, c.bias, training=False, need_weights=False, use_separate_proj_weight=True,
            q_proj_weight=q.weight, k_proj_weight=k.weight, v_proj_weight=v.weight,
        )  # fmt: skip
        return found[0]


def fill(network):
    """Fill a network with numbers that follow from the names of its tensors alone."""
    for place, (name, value) in enumerate(sorted(network.state_dict().items())):
        if name.endswith("num_batches_tracked"):
            continue
        drawn = np.random.default_rng(place).standard_normal(tuple(value.shape))
        if value.ndim > 1:
            drawn *= (2 / np.prod(value.shape[1:])) ** 0.5 if value.ndim == 4 else 0.05
        else:
            drawn = 0.1 * drawn + (name.endswith(("weight", "running_var")) and "proj" not in name)
        if name.endswith("bn3.weight"):
            drawn *= 0.3  # blocks add up
        if name.endswith("running_var"):
            drawn = np.abs(drawn) + 0.5
        value.copy_(torch.from_numpy(drawn))
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def transformer():
    return fill(VisionTransformer())


@pytest.fixture(scope="module")
def photo():
    """A square of china.jpg, uint8 (224, 224, 3)."""
    return load_sample_images().images[0][100:324, 200:424].copy()


@pytest.fixture(scope="module")
def vit_file(transformer, tmp_path_factory):
    """The transformer as open_clip saves it, and the text tower that comes with it."""
    path = tmp_path_factory.mktemp("clip") / "tower.safetensors"
    save_file(of_clip(transformer), path)
    return path


def of_clip(tower):
    texts = {"logit_scale": torch.ones(()), "positional_embedding": torch.zeros(77, 4)}
    texts["transformer.resblocks.0.ln_1.weight"] = torch.ones(4)
    return {f"visual.{key}": value for key, value in tower.state_dict().items()} | texts


def as_input(photo):
    return (((torch.from_numpy(photo).permute(2, 0, 1).float() / 255) - MEAN) / STD)[None]


def test_vision_transformer_from_safetensors(transformer, vit_file, photo):
    found = ImageTower(VIT, weights=vit_file).fit([photo]).transform([photo])
    expected = transformer(as_input(photo)).numpy()
    assert found.shape == (1, SPACE)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(found[0, :5], GOLDEN[VIT], rtol=0, atol=1e-4)


def test_resnet_from_a_file_of_torch_save(tmp_path, photo):
    resnet = fill(ModifiedResNet())
    path = tmp_path / "tower.pt"
    held = {f"module.{key}": value for key, value in of_clip(resnet).items()}
    torch.save({"epoch": 3, "state_dict": held}, path)
    tower = ImageTower(RESNET, weights=path).fit([photo])
    found, expected = tower.transform([photo]), resnet(as_input(photo)).numpy()
    assert found.shape == (1, 1024)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(found[0, :5], GOLDEN[RESNET], rtol=0, atol=1e-4)
    # odd rows are dropped by both branches of a block, as there
    odd = photo[:77, :110].copy()
    encoder = ContrastiveQualityEncoder(RESNET, weights=path, pooling="avg", scales=(1.0,))
    mean = resnet.features(as_input(odd)).mean((2, 3))
    row = encoder.fit([odd]).transform([odd])
    expected = nn.functional.normalize(mean).numpy()
    np.testing.assert_allclose(row, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_towers_that_open_clip_has_from_timm(tmp_path, photo):
    state = random_state_of("test_vit", 0)
    held = {f"visual.trunk.{k}": torch.from_numpy(v) for k, v in state.networks[0].items()}
    held["visual.head.proj.weight"] = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    save_file(held, tmp_path / "x.safetensors")
    loaded = load_state(tmp_path / "x.safetensors", "test_vit")
    assert loaded.networks_digest == state.networks_digest
    np.testing.assert_array_equal(loaded.head["weight"], held["visual.head.proj.weight"])


def test_as_backbone_and_as_content(vit_file, photo, tmp_path):
    """What does not name its network is named once, and kept in a file that does."""
    alone = ContrastiveQualityEncoder(VIT, weights=vit_file, pooling="avg").fit([photo])
    save(alone, tmp_path / "tower.skiqa")
    beside = ContrastiveQualityEncoder(content_backbone=tmp_path / "tower.skiqa", pooling="avg")
    rows = beside.fit([photo]).transform([photo])
    np.testing.assert_allclose(rows[:, -2 * WIDTH :], alone.transform([photo]), atol=1e-6)
    tower = ImageTower(weights=tmp_path / "tower.skiqa").fit([photo])
    assert tower.transform([photo]).shape == (1, SPACE)  # with its projection
    assert load(tmp_path / "tower.skiqa").backbone_name_ == VIT
    with pytest.raises(ValueError, match=r"do not tell all.*Name.*quickgelu"):
        ContrastiveQualityEncoder(content_backbone=vit_file).fit([photo])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual.mystery": torch.ones(2)}, r"1 tensors have no place in it \(visual\.mystery\)"),
        ({"visual.ln_pre.bias": None}, r"1 of its own are missing \(norm_pre\.bias\)"),
        (
            {"visual.positional_embedding": torch.ones(50, WIDTH)},
            r"1 have another shape \(pos_embed \(50, 256\) instead of \(1, 197, 256\)\)",
        ),
    ],
)
def test_almost_the_tower(transformer, tmp_path, change, message):
    held = {k: v for k, v in (of_clip(transformer) | change).items() if v is not None}
    save_file(held, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x\.safetensors.*not of 'vit_xsmall.*" + message):
        load_state(tmp_path / "x.safetensors", VIT)


def test_another_tower_and_none(vit_file, tmp_path):
    with pytest.raises(ValueError, match=r"not of 'resnet50_clip'"):
        load_state(vit_file, RESNET)
    with pytest.raises(ValueError, match=r"Name it: backbone='vit_base_patch32_clip_224'"):
        load_state(vit_file)
    path = tmp_path / "torn.safetensors"
    path.write_bytes(vit_file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"torn\.safetensors' is damaged"):
        load_state(path, VIT)


def test_every_tensor_has_one_name_in_timm(transformer):
    names = [name for name in transformer.state_dict() if name != "proj"]
    found = {renamed(name, table_of(names)) for name in names}
    assert found == set(random_state_of(VIT, 0).networks[0])


def test_layer_scale_has_a_name_in_timm():
    """Of networks that have it, such as those of CoCa."""
    assert renamed("transformer.resblocks.3.ls_2.gamma", table_of(["proj"])) == "blocks.3.ls2.gamma"
