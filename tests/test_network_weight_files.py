import json
import os
from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY

from skiqa._network.build import random_state_of
from skiqa._network.weight_files import (
    BUNDLED,
    FORMAT,
    load_state,
    read_file,
    state_to_tensors,
    tensors_to_state,
    write_file,
)


@pytest.fixture(scope="module")
def state():
    one, two = random_state_of(TINY, 0), random_state_of(TINY, 1)
    constants = np.random.default_rng(0).random((2, 2, 800), dtype=np.float32)
    return replace(
        one,
        networks=[*one.networks, *two.networks],
        head={"0.weight": np.ones((3, 2), np.float32)},
        center=constants,
        scale=constants + 1,
        reference_scales=(1.0, 0.25),
        versions={"skiqa": "0.0.1"},
        card={"seed": 3},
    )


def test_state_round_trip(state):
    tensors, header = state_to_tensors(state)
    again = tensors_to_state(tensors, json.loads(json.dumps(header)))
    assert again.digest == state.digest
    assert again.reference_scales == (1.0, 0.25)
    assert again.versions == {"skiqa": "0.0.1"}
    assert again.card == {"seed": 3}
    np.testing.assert_array_equal(again.head["0.weight"], state.head["0.weight"])
    assert len(again.networks) == 2


def test_state_without_constants():
    state = random_state_of(TINY, 0)
    again = tensors_to_state(*state_to_tensors(state))
    assert again.center is None
    assert again.head == {}
    assert again.digest == state.digest


def test_half_precision_spares_what_it_would_hurt(state):
    tensors, header = state_to_tensors(state, np.float16)
    kinds = {name: array.dtype for name, array in tensors.items()}
    assert kinds["network.0.layer1.0.conv1.weight"] == np.float16
    variances = [name for name in kinds if name.endswith("running_var")]
    assert variances
    for name in [*variances, "center", "scale"]:
        assert kinds[name] == np.float32
    again = tensors_to_state(tensors, header)
    for expert, arrays in enumerate(again.networks):
        for name, array in arrays.items():
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, state.networks[expert][name], rtol=1e-3, atol=1e-6)


def test_file_round_trip(state, tmp_path):
    path = tmp_path / "encoder.skiqa"
    tensors, header = state_to_tensors(state)
    write_file(path, {f"encoder.{k}": v for k, v in tensors.items()}, {"encoder": header})
    assert load_state(path).digest == state.digest
    assert read_file(path)[1]["format"] == FORMAT
    assert list(tmp_path.iterdir()) == [path]  # no temporary file is left


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.skiqa"
    write_file(path, {"a": np.zeros(2)}, {})

    def torn(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", torn)
    with pytest.raises(OSError, match="No space left"):
        write_file(path, {"a": np.ones(2)}, {})
    assert not read_file(path)[0]["a"].any()


@pytest.mark.parametrize("text", [b"", b"\0" * 7, b"{}", b"\xff" * 100, b"\2\0\0\0\0\0\0\0{}"])
def test_what_is_no_file_of_skiqa(tmp_path, text):
    path = tmp_path / "x.skiqa"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=r"x\.skiqa.*is not a file of skiqa"):
        read_file(path)


def test_header_of_another_making(tmp_path):
    from safetensors.numpy import save_file

    for metadata in ({"skiqa": "no JSON"}, {"skiqa": "[1]"}, {"skiqa": "{}"}, {"other": "x"}):
        save_file({"a": np.zeros(1)}, tmp_path / "x.skiqa", metadata=metadata)
        with pytest.raises(ValueError, match="is not a file of skiqa"):
            read_file(tmp_path / "x.skiqa")


def test_the_bundled_file_is_small_and_whole():
    assert BUNDLED.stat().st_size < 10_000_000
    state = load_state(BUNDLED)
    assert state.backbone == "tf_efficientnet_lite0"
    assert state.center.shape[:2] == (len(state.networks), len(state.reference_scales))
    assert (state.scale > 0).all()
    for arrays in state.networks:
        assert all(np.isfinite(array).all() for array in arrays.values())
