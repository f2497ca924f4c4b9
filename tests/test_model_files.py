"""Files and pickles of models that are damaged, hostile, of another version or another machine."""

import copyreg
import inspect
import io
import json
import pickle
import platform
import zipfile
import zlib
from dataclasses import replace

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from conftest import TINY
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

import skiqa
from skiqa import ContrastiveQualityEncoder
from skiqa._network.build import random_state_of
from skiqa._network.weight_files import BUNDLED, read_file, state_to_tensors, write_file
from skiqa.cli import main
from skiqa.objectives import Contrique
from skiqa.persistence import load, load_model, model_card, save


@pytest.fixture(scope="module")
def model(crops):
    encoder = FrozenEstimator(ContrastiveQualityEncoder().with_state(random_state_of(TINY, 0)))
    fitted = make_pipeline(encoder, Ridge()).fit(crops, range(len(crops)))
    return make_pipeline(encoder.estimator, fitted[-1])


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save(model, folder / "model.skiqa")
    save(model, folder / "model.skops")
    return folder


def changed(folder, **parameters):
    """Write the model with other parameters in its header, as anyone can; return the path."""
    tensors, header = read_file(folder / "model.skiqa")
    path = folder / "changed.skiqa"
    write_file(path, tensors, header | {"parameters": header["parameters"] | parameters})
    return path


def test_a_file_decides_about_features_and_nothing_else(folder, photo, tmp_path):
    there = tmp_path / "cache"
    loaded = load(changed(folder, cache_dir=str(there), n_jobs=100_000, device="cuda:7", verbose=1))
    loaded.predict([photo])
    assert not there.exists()
    parameters = loaded[0].get_params()
    assert (parameters["n_jobs"], parameters["device"], parameters["verbose"]) == (None, "auto", 0)
    assert load(changed(folder, scales=[0.5, 0.25]))[0].scales == (0.5, 0.25)


@pytest.mark.parametrize(
    "parameters",
    [{"pooling": "most"}, {"max_pixels": 3}, {"precision": 7}, {"scales": "all"}, {"scales": [3]}],
)
def test_parameters_of_no_use(folder, parameters):
    with pytest.raises(ValueError, match=rf"changed\.skiqa.*{next(iter(parameters))}"):
        load(changed(folder, **parameters))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("std", [0, 1, 1]),
        ("mean", [1]),
        ("max_pixels", -4),
        ("reference_scales", [0]),
        ("mean", 3),
        ("backbone", {}),
        ("unit_norm", "yes"),
        ("card", []),
        ("versions", None),
    ],
)
def test_states_of_no_use(folder, field, value):
    tensors, header = read_file(folder / "model.skiqa")
    header["encoder"][field] = value
    write_file(folder / "changed.skiqa", tensors, header)
    with pytest.raises(ValueError, match=r"changed\.skiqa"):
        load(folder / "changed.skiqa")


def test_a_regressor_of_another_width(folder):
    tensors, header = read_file(folder / "model.skiqa")
    tensors["regressor.coef"] = tensors["regressor.coef"][:-1]
    write_file(folder / "changed.skiqa", tensors, header)
    with pytest.raises(ValueError, match=r"changed\.skiqa.*does not fit 1600 features"):
        load(folder / "changed.skiqa")


def with_graph(folder, structure=None, **fields):
    """Write the model with another graph; return the path."""
    tensors, header = read_file(folder / "model.skiqa")
    if structure is not None:
        tensors["encoder.graph.stages"] = np.frombuffer(zlib.compress(structure), np.uint8)
    header["encoder"]["graphs"]["stages"] |= fields
    write_file(folder / "changed.skiqa", tensors, header)
    return folder / "changed.skiqa"


@pytest.mark.parametrize(
    "fields", [{"width": 2**31}, {"stride": []}, {"stride": 0}, {"width": "800"}, {"shapes": [1]}]
)
def test_graphs_of_no_use(folder, fields):
    with pytest.raises(ValueError, match=r"changed\.skiqa"):
        load(with_graph(folder, **fields))


def test_a_graph_that_unpacks_to_far_more_than_the_file(folder):
    with pytest.raises(ValueError, match=r"changed\.skiqa.*unpacks to more than 16777216 bytes"):
        load(with_graph(folder, bytes(2**25)))


def test_the_graph_of_one_file_scores_for_no_other(folder, crops, tmp_path):
    """Also where the weights are the same: neither in the process nor in the cache."""
    model = load(folder / "model.skiqa")
    expected = model.predict(crops)
    graph = onnx.load_model_from_string(model[0].state_.graphs["stages"].structure)
    last = graph.graph.output[0].name
    for node in graph.graph.node:
        node.output[:] = ["row before" if name == last else name for name in node.output]
    graph.graph.node.append(onnx.helper.make_node("Add", ["row before", "row before"], [last]))
    other = load(with_graph(folder, graph.SerializeToString()))
    for cache_dir in (None, tmp_path):
        for scorer in (other, model):
            scorer[0].set_params(cache_dir=cache_dir)
        assert not np.allclose(other.predict(crops), expected)
        np.testing.assert_array_equal(model.predict(crops), expected)


def test_a_graph_that_does_not_run(folder, crops):
    loaded = load(with_graph(folder, b"no graph"))
    np.testing.assert_allclose(  # PyTorch runs what ONNX Runtime does not open
        loaded.predict(crops), load(folder / "model.skiqa").predict(crops), rtol=1e-3
    )


def test_a_graph_of_no_text_says_nothing_on_standard_output(folder, crops, capfd):
    structure = load(folder / "model.skiqa")[0].state_.graphs["stages"].structure
    load(with_graph(folder, structure.replace(b"Conv", b"\xf2onv"))).predict(crops)
    assert capfd.readouterr() == ("", "")


def test_weights_that_are_no_numbers(folder, crops):
    tensors, header = read_file(folder / "model.skiqa")
    name = next(name for name in tensors if name.endswith("weight"))
    tensors[name] = np.full_like(tensors[name], np.nan)
    del header["encoder"]["graphs"]["stages"]  # PyTorch, too, has to bear them
    write_file(folder / "changed.skiqa", tensors, header)
    with pytest.raises(ValueError, match="NaN"):
        load(folder / "changed.skiqa").predict(crops)


def test_a_header_nested_without_end(folder, tmp_path):
    data = (folder / "model.skiqa").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["skiqa"] = "[" * 100_000
    head = json.dumps(header).encode()
    path = tmp_path / "deep.skiqa"
    path.write_bytes(len(head).to_bytes(8, "little") + head + data[8 + length :])
    with pytest.raises(ValueError, match=r"deep\.skiqa"):
        load(path)


def test_every_flipped_bit_is_found(tmp_path):
    """Of the bundled file, anywhere in it."""
    data, path = bytearray(BUNDLED.read_bytes()), tmp_path / "flipped.skiqa"
    rng = np.random.default_rng(0)
    for place in [*rng.integers(0, len(data), 12), *rng.integers(0, 30_000, 8)]:  # of its header
        bit = 1 << int(rng.integers(8))
        data[place] ^= bit
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"flipped\.skiqa"):
            load(path)
        data[place] ^= bit


def test_digests_know_shapes_and_types():
    state = random_state_of(TINY, 0)
    name, array = next((k, v) for k, v in state.networks[0].items() if v.ndim == 4)
    others = [array.reshape(array.shape[::-1]), array.view(np.int32)]
    digests = {replace(state, networks=[state.networks[0] | {name: x}]).digest for x in others}
    assert len(digests | {state.digest}) == 3


@pytest.mark.parametrize("kind", ["skiqa", "skops"])
def test_whatever_happened_to_a_file_is_one_value_error(folder, kind, tmp_path):
    whole, path = (folder / f"model.{kind}").read_bytes(), tmp_path / f"x.{kind}"
    digest = random_state_of(TINY, 0).digest
    for seed in range(60):
        rng = np.random.default_rng(seed)
        data, place = bytearray(whole), int(rng.integers(len(whole)))
        match seed % 4:
            case 0:
                data[place] ^= int(rng.integers(1, 256))
            case 1:
                del data[place : place + int(rng.integers(1, 2000))]
            case 2:
                data[place : place + 512] = bytes(512)
            case 3:
                del data[place:]
        path.write_bytes(data)
        if data == whole:
            continue
        if kind == "skops" and _is_whole(path):  # what lies between the members means nothing
            assert load(path)[0].state_.digest == digest
            continue
        with pytest.raises(ValueError, match=path.name):
            load(path)


def _is_whole(path):
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:
        return False


def test_a_member_that_is_not_read_to_its_end(folder, tmp_path):
    """An array that says it is shorter: only the checksum of its member knows better."""
    data, path = bytearray((folder / "model.skops").read_bytes()), tmp_path / "x.skops"
    at = data.index(b"'shape': (1600,)")
    data[at : at + 16] = b"'shape': (1599,)"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.skops"):
        load(path)


def test_a_schema_that_unpacks_to_far_more_than_the_file(tmp_path):
    bomb = tmp_path / "bomb.skops"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("schema.json", bytes(40 * 2**20))
    with pytest.raises(ValueError, match=r"bomb\.skops.*unpacks to 40 MiB"):
        load(bomb)


@pytest.mark.parametrize("name", ["cut.skiqa", "cut.skops", "text.skiqa"])
def test_the_command_line_says_it_in_one_line(folder, photo_paths, name):
    path = folder / name
    kind = name.rpartition(".")[2]
    data = (folder / f"model.{kind}").read_bytes()
    path.write_bytes(b"weights" if name.startswith("text") else data[:-50])
    done = CliRunner().invoke(main, ["score", "--model", str(path), *map(str, photo_paths)])
    assert done.exit_code == 2
    assert len(done.output.splitlines()) == 1
    assert name in done.output


def test_files_of_other_versions_warn(folder, tmp_path):
    tensors, header = read_file(folder / "model.skiqa")
    header["saved_with"]["timm"] = "0.0.1"
    write_file(tmp_path / "old.skiqa", tensors, header)
    said = r"old\.skiqa' was saved with \{'timm': '0\.0\.1'\}"
    for loader in (load, load_model):
        with pytest.warns(UserWarning, match=said) as seen:
            loader(tmp_path / "old.skiqa")
        assert seen[0].filename == __file__  # it points to the user's line


# Pickles -----------------------------------------------------------------------------------------


def without(estimator, *names):
    """Return a pickle of an estimator as a version wrote it that did not know these names."""

    class Pickler(pickle.Pickler):
        def reducer_override(self, x):
            if type(x) is not type(estimator):
                return NotImplemented
            state = {k: v for k, v in x.__getstate__().items() if k not in names}
            return copyreg.__newobj__, (type(x),), state

    file = io.BytesIO()
    Pickler(file).dump(estimator)
    return file.getvalue()


@pytest.mark.parametrize(
    "estimator",
    [
        ContrastiveQualityEncoder(),
        Contrique(),
        skiqa.SemanticNoiseSelector(),
        skiqa.FeatureMatchingQualityRegressor(),
        skiqa.FineTunedQualityRegressor(),
        skiqa.PseudoLabelRegressor(Ridge(), Ridge()),
        skiqa.ReferenceDifference(ContrastiveQualityEncoder()),
    ],
    ids=lambda x: type(x).__name__,
)
def test_pickles_from_before_parameters_existed(estimator):
    known = inspect.signature(type(estimator).__init__).parameters.values()
    names = [p.name for p in known if p.default is not p.empty]
    old = pickle.loads(without(estimator, *names))
    assert repr(old) == repr(estimator)


def test_states_from_before_a_field_existed():
    state = random_state_of(TINY, 0)
    fields = {k: v for k, v in vars(state).items() if k not in ("graphs", "max_pixels")}
    old = object.__new__(type(state))
    old.__setstate__(fields)
    assert (old.graphs, old.max_pixels) == ({}, None)
    assert old.digest == state.digest


def test_folders_of_another_machine_stay_there(model, tmp_path, monkeypatch):
    encoder = model[0]
    encoder.set_params(cache_dir=tmp_path / "not yet", checkpoint_dir=str(tmp_path))
    try:
        data = pickle.dumps(encoder)
        here = pickle.loads(data)  # a worker of this machine
        monkeypatch.setattr(platform, "node", lambda: "another")
        there = pickle.loads(data)
    finally:
        encoder.set_params(cache_dir=None, checkpoint_dir=None)
    assert (here.cache_dir, here.checkpoint_dir) == (tmp_path / "not yet", str(tmp_path))
    assert (there.cache_dir, there.checkpoint_dir) == (None, str(tmp_path))  # which both have


# Cards -------------------------------------------------------------------------------------------


def test_a_model_of_ones_own_does_not_claim_to_be_the_bundled_one(photo, tmp_path):
    bundled = load_model()
    assert model_card(bundled)["scorer"]["val_srocc"] == 0.8692
    own = make_pipeline(ContrastiveQualityEncoder(), Ridge()).fit([photo, photo[:50]], [1, 2])
    card = model_card(own)
    assert "scorer" not in card
    assert card["encoder"]["name"] == "skiqa default"  # which is what its weights are
    save(own, tmp_path / "own.skiqa")
    assert model_card(load_model(tmp_path / "own.skiqa")) == card
    own[-1].card_ = {"scale": [1, 2, "mine"]}
    save(own, tmp_path / "own.skiqa")
    assert model_card(load_model(tmp_path / "own.skiqa")) == {"scorer": own[-1].card_} | card
    json.dumps(card)
    _, header = state_to_tensors(own[0].state_)
    assert "val_srocc" not in json.dumps(header)
