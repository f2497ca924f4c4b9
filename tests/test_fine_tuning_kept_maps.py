"""Maps kept in files: the features of photos, whatever happens to the files."""

import errno
import os
import tempfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from fine_tuning_parts import STATE, extraction, network, photos, windows

from skiqa._features.extract import extract
from skiqa._fine_tuning.kept_maps import KeptMaps
from skiqa._fine_tuning.sources import Photos
from skiqa._fine_tuning.tokens import TokenGrid
from skiqa._network.build import build, random_state_of


def kept_maps(folder):
    """Return the maps of four photos in front of the last two stages."""
    source = photos()
    return KeptMaps(source.images, source.extraction, None, 2, folder)


@pytest.mark.parametrize("pooling", ["stages", "avg"])
@pytest.mark.parametrize("trained_last_stages", [1, 2, 5])
def test_kept_maps_give_the_features_of_photos(tmp_path, pooling, trained_last_stages):
    """Of both mirror images, of photos of two sizes; as the encoder's up to half precision."""
    images = [*windows(3), windows(1)[0][:48]]
    source = photos(images, pooling=pooling)
    kept = KeptMaps(source.images, source.extraction, None, trained_last_stages, tmp_path)
    assert len(network().split()[1]) == 5
    indices, seeds = [3, 0, 0, 1], [0, 0, 1, 7]
    for _ in range(2):  # computed, then read
        rows = [s.features(network(), list(s.inputs(indices, seeds))) for s in (kept, source)]
        torch.testing.assert_close(
            *rows, rtol=5e-3, atol=5e-3 * float(rows[1].detach().abs().max())
        )
    whole = [s.rows(network(), STATE, [1, 3]) for s in (kept, source)]
    np.testing.assert_allclose(*whole, rtol=5e-3, atol=5e-3 * np.abs(whole[1]).max())
    how = extraction(pooling=pooling)
    rows = extract(source.images, how, n_jobs=None, on_error="raise", indices=[1, 3])
    np.testing.assert_array_equal(whole[1], [row for _, row in rows])


@pytest.mark.parametrize("pooling", ["stages", "avg"])
@pytest.mark.parametrize("trained_last_stages", [0, 1, 2, 6])
def test_a_transformer_is_cut_between_its_blocks(tmp_path, pooling, trained_last_stages):
    """Features, tokens and class token; two photos turned have as many tokens, and are not one."""
    state = random_state_of("test_vit", 0)
    trained, how = build(state).eval(), extraction(state, pooling=pooling)
    assert len(trained.model.blocks) == 6
    images = photos([windows(1)[0][:32], windows(2)[1][:, :32]]).images
    kept = KeptMaps(images, how, None, trained_last_stages, tmp_path)
    plain = Photos(images, how, None, None)
    grid = TokenGrid(1, 2)
    for _ in range(2):  # computed, then read
        found, expected = (
            s.features_and_tokens(trained, list(s.inputs([0, 1], [0, 0])), grid)
            for s in (kept, plain)
        )
        for a, b in zip([found[0], *found[1]], [expected[0], *expected[1]], strict=True):
            torch.testing.assert_close(a, b, rtol=5e-3, atol=5e-3 * float(b.detach().abs().max()))
    assert found[1][-1].shape[1] == 1  # the class token


def test_transformers_share_maps_if_only_trained_blocks_differ(tmp_path):
    state = random_state_of("test_vit", 0)

    def seen(name):
        arrays = dict(state.networks[0])
        arrays[name] = arrays[name] + 0.01
        how = extraction(replace(state, networks=[arrays]))
        list(KeptMaps(photos().images, how, None, 2, tmp_path).inputs([0], [0]))
        return len(list(tmp_path.glob("*/*.npz")))

    list(KeptMaps(photos().images, extraction(state), None, 2, tmp_path).inputs([0], [0]))
    names = ["blocks.5.mlp.fc1.weight", "blocks.3.mlp.fc1.weight", "pos_embed"]
    assert [seen(name) for name in names] == [1, 2, 3]


def test_maps_of_one_network_are_not_those_of_another(tmp_path):
    images = photos().images
    for seed in (0, 1):
        state = random_state_of("test_efficientnet", seed)
        network, how = build(state).eval(), extraction(state)
        kept = KeptMaps(images, how, None, 2, tmp_path).rows(network, state, [0, 1])
        rows = Photos(images, how, None, None).rows(network, state, [0, 1])
        np.testing.assert_allclose(kept, rows, rtol=5e-3, atol=5e-3 * np.abs(rows).max())


def test_networks_share_maps_if_only_trained_stages_differ(tmp_path):
    """As those of a fit that goes on from the network of an earlier one do."""

    def seen(stage):
        arrays = dict(STATE.networks[0])
        name = next(name for name in arrays if name.startswith(f"blocks.{stage}."))
        arrays[name] = arrays[name] + 0.01
        state = replace(STATE, networks=[arrays])
        kept = KeptMaps(photos().images, extraction(state), None, 2, tmp_path)
        list(kept.inputs([0], [0]))
        return len(list(tmp_path.glob("*/*.npz")))

    kept = kept_maps(tmp_path)
    list(kept.inputs([0], [0]))
    n_stages = len(network().split()[1])
    assert [seen(n_stages - 1), seen(0)] == [1, 2]


def test_kept_maps_of_a_full_disk(tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"torn")
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = kept_maps(tmp_path)
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match=r"no room for the maps of X\[0\] .* all 4 images .* GB"):
        list(kept.inputs([0], [0]))
    assert not list(tmp_path.glob("*/*"))


def test_a_folder_in_which_no_maps_can_be_kept(tmp_path, monkeypatch):
    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match=r"maps_dir='.*file' is a file"):
        kept_maps(file)
    for module, name in ((os, "mkdir"), (tempfile, "TemporaryFile")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, denied)
            with pytest.raises(ValueError, match=r"maps_dir=.*Permission denied"):
                kept_maps(tmp_path / "maps")
    list(kept_maps(tmp_path / "maps").inputs([0, 1, 2, 3], [0] * 4))
    monkeypatch.setattr(tempfile, "TemporaryFile", denied)
    assert len(list(kept_maps(tmp_path / "maps").inputs([3, 0], [0, 0]))) == 2  # all are there


def test_a_damaged_file_of_maps_is_made_again(tmp_path):
    kept = kept_maps(tmp_path)
    [first] = kept.inputs([1], [0])
    [file] = tmp_path.glob("*/*.npz")
    for damage in (b"", file.read_bytes()[:-200], b"no archive"):
        file.write_bytes(damage)
        [again] = kept.inputs([1], [0])
        np.testing.assert_array_equal(again.maps[0], first.maps[0])
        assert len(file.read_bytes()) > 200


def test_maps_beyond_half_precision_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("skiqa._fine_tuning.cut._maps", lambda stages, x: [x * 1e9])
    kept = kept_maps(tmp_path)
    with pytest.raises(ValueError, match=r"X\[2\] = .* float16"):
        list(kept.inputs([2], [0]))
