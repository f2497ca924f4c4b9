import copy
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import timm
import torch
from conftest import TINY

from skiqa._network.build import build, load_arrays, random_state_of, timm_state, to_arrays
from skiqa._network.stages import Stages, seeded
from skiqa._network.state import EncoderState, current_versions


def test_arrays_round_trip():
    state = random_state_of(TINY, 0)
    network = build(state)
    arrays = to_arrays(network.model)
    assert arrays.keys() == state.networks[0].keys()
    for name, array in arrays.items():
        assert type(array) is np.ndarray
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, state.networks[0][name])
    with torch.no_grad():
        next(network.parameters()).zero_()
    assert next(iter(state.networks[0].values())).any()  # copies, in both directions
    assert np.array_equal(arrays["conv1.0.weight"], state.networks[0]["conv1.0.weight"])


def test_read_only_arrays_load():
    state = random_state_of(TINY, 0)
    for array in state.networks[0].values():
        array.flags.writeable = False
    build(state)


def test_loading_is_strict():
    arrays = random_state_of(TINY, 0).networks[0]
    module = Stages(TINY).model
    name = "layer1.0.conv1.weight"
    missing = {k: v for k, v in arrays.items() if k != name}
    with pytest.raises(ValueError, match=rf"1 tensors missing \['{name}'\], 0 not expected"):
        load_arrays(module, missing)
    with pytest.raises(ValueError, match=r"0 tensors missing \[\], 1 not expected \['extra'\]"):
        load_arrays(module, arrays | {"extra": np.zeros(1)})
    with pytest.raises(ValueError, match=rf"1 of another shape \['{name}'\]"):
        load_arrays(module, arrays | {name: np.zeros((1, 2))}, "the weights of mine")


def test_digest_covers_what_changes_a_feature():
    state = random_state_of(TINY, 0)
    fields = {"backbone": TINY, "networks": state.networks, "mean": state.mean, "std": state.std}
    assert EncoderState(**fields).digest == state.digest
    same = EncoderState(**fields, head={"x": np.zeros(2)}, card={"seed": 1}, versions={"a": "b"})
    assert same.digest == state.digest
    other = {k: v.copy() for k, v in state.networks[0].items()}
    other["conv1.0.weight"].flat[0] += 1e-6
    constants = np.zeros((1, 2, 800), np.float32)
    variants = [
        fields | {"mean": (0, 0, 0)},
        fields | {"std": (1, 1, 1)},
        fields | {"networks": [other]},
        fields | {"networks": [*state.networks, *state.networks]},
        fields | {"center": constants, "scale": constants + 1},
        fields | {"center": constants, "scale": constants + 2},
        fields | {"reference_scales": (1.0,)},
        fields | {"backbone": "resnet18"},
    ]
    digests = {EncoderState(**variant).digest for variant in variants} | {state.digest}
    assert len(digests) == len(variants) + 1


def test_digest_is_that_of_files_and_caches_already_written():
    arrays = {"weight": np.arange(6, dtype=np.float32)}
    state = EncoderState(backbone="some", networks=[arrays], mean=[0, 0, 0], std=[1, 1, 1])
    constants = np.ones((1, 2, 3), np.float32)
    both = replace(state, center=constants, scale=constants, unit_norm=False, content=state)
    assert (state.digest[:16], both.digest[:16]) == ("d9b676c6841f7ec1", "00b0ae2205baefbc")


def test_a_state_does_not_change():
    state = random_state_of(TINY, 0)
    digest = state.digest
    with pytest.raises(FrozenInstanceError):
        state.unit_norm = False
    other = replace(state, unit_norm=False)
    assert (state.unit_norm, state.digest) == (True, digest)
    assert other.networks is state.networks
    assert other.digest != digest
    assert state != replace(state)  # arrays are not compared
    assert replace(state).digest == digest


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_is_the_same_to_the_bit(copied):
    state = replace(random_state_of(TINY, 0), card={"seed": 0}, content=random_state_of(TINY, 1))
    again = copied(state)
    assert vars(again).keys() == vars(state).keys()
    assert again.parts()[1].digest == state.parts()[1].digest
    assert again.digest == state.digest
    assert replace(again).digest == state.digest  # hashed anew
    assert (again.card, again.versions) == (state.card, state.versions)


def test_random_weights_follow_the_seed():
    assert random_state_of(TINY, 1).digest == random_state_of(TINY, 1).digest
    assert random_state_of(TINY, 1).digest != random_state_of(TINY, 2).digest


def test_generator_is_given_back():
    before = torch.get_rng_state()
    random_state_of(TINY, 5)
    build(random_state_of(TINY, 5))
    with pytest.raises(RuntimeError), seeded(3):
        torch.rand(-1)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(3):
        one = torch.rand(5)
    with seeded(3):
        assert torch.equal(torch.rand(5), one)


def test_versions_are_plain_strings():
    assert {type(v) for v in current_versions().values()} == {str}
    names = {"skiqa", "timm", "torch", "numpy", "pillow", "scikit-learn"}
    assert current_versions().keys() == names


def test_weights_of_timm_name_the_remedy_without_a_hub(monkeypatch):
    def no_hub(*args, pretrained=False, **kwargs):
        if pretrained:
            raise OSError("no route to host")
        return create(*args, **kwargs)

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", no_hub)
    monkeypatch.setattr("skiqa._network.build.check_hub", lambda hub_id: None)
    with pytest.raises(ValueError, match=r"no route to host.*weights='default' or a file"):
        timm_state(TINY)
