import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from skiqa import ContrastiveQualityEncoder, ImageTower, PromptSimilarity
from skiqa._network import live_engines
from skiqa._network.build import random_state_of
from skiqa._network.shapes import embedding_width
from skiqa._network.stages import Stages
from skiqa._network.weight_files import state_to_tensors, write_file
from skiqa.exceptions import ImageError

# Five kinds: class token, rotary positions, pooling by attention of a ResNet and of a transformer
# (here without one), convolutions before a head of their own.
TOWERS = (
    "vit_xsmall_patch16_clip_224",
    "eva02_tiny_patch14_224",
    "resnet50_clip",
    "test_vit",
    "fastvit_mci0",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of a small transformer in a file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.skiqa"
    tensors, header = state_to_tensors(random_state_of("test_vit", 0))
    write_file(path, {f"encoder.{k}": v for k, v in tensors.items()}, {"encoder": header})
    return str(path)


@pytest.fixture(scope="module")
def texts():
    """Two pairs of prompts, of the width of that transformer."""
    return np.random.default_rng(0).standard_normal((2, 2, 64)).astype(np.float32)


@pytest.mark.parametrize("name", TOWERS)
def test_towers_take_photos_of_any_size(name, tmp_path, crops, monkeypatch):
    monkeypatch.setattr(live_engines, "graph_of", lambda state, pooling: None)  # a trace takes long
    state = random_state_of(name, 0)
    tensors, header = state_to_tensors(state)
    path = tmp_path / "x.skiqa"
    write_file(path, {f"encoder.{k}": v for k, v in tensors.items()}, {"encoder": header})
    photos = [crops[0], crops[1][:37, :51].copy(), crops[2][:8, :30].copy()]
    for pooling in ("stages", "avg"):
        encoder = ContrastiveQualityEncoder(weights=path, pooling=pooling, scales=(1.0,))
        rows = encoder.fit_transform(photos)
        assert np.isfinite(rows).all()
        assert (rows.std(axis=0) > 0).any()
    embeddings = ImageTower(weights=path).fit_transform(photos)
    assert embeddings.shape == (3, embedding_width(name))
    assert np.isfinite(embeddings).all()
    assert (embeddings.std(axis=0) > 0).any()


def test_positions_are_interpolated_not_cut():
    """On the size that it was made for a tower gives what it gives without interpolation."""
    name = "vit_xsmall_patch16_clip_224"
    network = Stages(name).eval()
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own = network.model
        tokens = own.patch_embed(x).flatten(1, 2)
        tokens = torch.cat([own.cls_token, tokens], dim=1) + own.pos_embed
        expected = own.norm(own.blocks(own.norm_pre(tokens)))[:, 0]
        torch.testing.assert_close(network.embedding(x), expected, rtol=1e-5, atol=1e-5)
        positions = own.pos_embed.detach().clone()
        wide = network.embedding(x[:, :, :112])
        own.pos_embed[:, 1:] = own.pos_embed[:, 1:].mean(1, keepdim=True)
        assert not torch.allclose(network.embedding(x[:, :, :112]), wide)  # positions count there
        own.pos_embed.copy_(positions)


def test_what_stands_beside_does_not_matter(weights, crops):
    tower = ImageTower(weights=weights, n_jobs=2).fit(crops)
    rows = tower.transform(crops)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(tower.transform(crops[3:4]), rows[3:4])
    names = tower.get_feature_names_out()
    assert list(names[:2]) == ["imagetower0", "imagetower1"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tower)).transform(crops), rows)


def test_viewing_size(weights, photo_paths):
    with Image.open(photo_paths[0]) as photo:
        small = np.asarray(photo.resize((48, 32)))
    tower = ImageTower(weights=weights, max_pixels=1536)
    rows = tower.fit_transform([photo_paths[0], small])
    whole = clone(tower).set_params(max_pixels=None).fit_transform([photo_paths[0], small])
    np.testing.assert_array_equal(rows[1], whole[1])
    assert np.abs(rows[0] - rows[1]).max() < 0.5 * np.abs(whole[0] - rows[1]).max()


def test_unreadable_images(weights, crops):
    X = [crops[0], b"no picture"]
    with pytest.raises(ImageError, match=r"X\[1\]"):
        ImageTower(weights=weights).fit_transform(X)
    rows = ImageTower(weights=weights, on_error="nan").fit_transform(X)
    assert np.isfinite(rows[0]).all()
    assert np.isnan(rows[1]).all()
    alone = ImageTower(weights=weights, on_error="nan").fit_transform(X[1:])
    assert alone.shape == (1, 64)


def test_shares_of_antonyms_are_clip_iqas(weights, texts, crops):
    """softmax(100 cos), the share of the good prompt, written down once more."""
    prompts = PromptSimilarity(ImageTower(weights=weights), 3 * texts).fit(crops)
    found = prompts.transform(crops)
    x = ImageTower(weights=weights).fit_transform(crops).astype(float)
    for n, embedding in enumerate(x):
        for p, (bad, good) in enumerate(texts.astype(float)):
            cosine = [
                embedding @ t / np.linalg.norm(embedding) / np.linalg.norm(t) for t in (bad, good)
            ]
            share = 1 / (1 + np.exp(100 * (cosine[0] - cosine[1])))
            assert found[n, p] == pytest.approx(share, abs=1e-4)
    assert found.dtype == np.float32
    assert list(prompts.get_feature_names_out()) == ["promptsimilarity0", "promptsimilarity1"]
    again = pickle.loads(pickle.dumps(prompts))
    np.testing.assert_array_equal(again.transform(crops), found)
    flipped = clone(prompts).set_params(text_embeddings=texts[:, ::-1]).fit(crops)
    np.testing.assert_allclose(flipped.transform(crops), 1 - found, atol=1e-5)


def test_five_words_are_liqes_expected_quality():
    rng = np.random.default_rng(1)
    words, x = rng.standard_normal((5, 8)), rng.standard_normal((3, 8))
    found = PromptSimilarity(FunctionTransformer(), words, sharpness=7.0).fit_transform(x)
    unit = words / np.linalg.norm(words, axis=1, keepdims=True)
    logits = 7 * (x / np.linalg.norm(x, axis=1, keepdims=True)) @ unit.T
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    quality = (p * np.arange(1, 6)).sum(axis=1)
    np.testing.assert_allclose(found[:, 0], (quality - 1) / 4, atol=1e-5)


def test_in_front_of_a_ridge(weights, texts, crops):
    model = make_pipeline(PromptSimilarity(ImageTower(weights=weights), texts), Ridge())
    assert model.fit(crops, np.arange(8.0)).predict(crops).shape == (8,)
    model.set_output(transform="pandas")
    assert list(model[0].transform(crops[:2]).columns) == ["promptsimilarity0", "promptsimilarity1"]


def test_nan_stays_nan(weights, texts, crops):
    prompts = PromptSimilarity(ImageTower(weights=weights, on_error="nan"), texts)
    found = prompts.fit_transform([b"no picture", crops[0]])
    assert np.isnan(found).any(axis=1).tolist() == [True, False]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (np.ones(4), r"shape \(4,\): expected \(n_scales, n_prompts"),
        (np.ones((2, 1, 4)), "two or more prompts"),
        ([[1.0, 0.0], [0.0, 0.0]], r"text_embeddings\[0, 1\] has length 0"),
        ([[1.0, 0.0], [np.nan, 0.0]], r"text_embeddings\[0, 1\] has length nan"),
    ],
)
def test_texts_of_no_use(texts, message):
    with pytest.raises(ValueError, match=message):
        PromptSimilarity(FunctionTransformer(), texts).fit(np.ones((2, 2)))


def test_texts_of_another_network(weights, crops):
    prompts = PromptSimilarity(ImageTower(weights=weights), np.eye(3)).fit(crops)
    with pytest.raises(ValueError, match=r"shape \(8, 64\).* have 3 features: both must be of one"):
        prompts.transform(crops)


def test_checks_of_scikit_learn(weights, texts):
    tower = ImageTower(weights=weights)
    for estimator in (tower, PromptSimilarity(tower, texts)):
        for found in check_estimator(estimator, on_skip=None):
            assert found["status"] == "passed" or "ARRAY_API" in str(found["exception"]), found
