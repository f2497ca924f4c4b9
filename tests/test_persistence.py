import copy
import json
import os
import pathlib
import pickle
import pickletools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pkgutil import resolve_name

import joblib
import numpy as np
import pytest
import ready_python
import torch
from conftest import TINY
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skiqa
from skiqa import ContrastiveQualityEncoder, _encoder, persistence
from skiqa._network import live
from skiqa._network.graph import Graph
from skiqa._network.state import EncoderState
from skiqa._network.weight_files import read_file, write_file
from skiqa.exceptions import ImageError
from skiqa.persistence import iter_quality, load, load_model, predict_quality, save


@pytest.fixture(scope="module")
def model(crops):
    encoder = ContrastiveQualityEncoder(
        TINY, weights=None, epochs=1, batch_size=4, view_size=64, random_state=0, device="cpu"
    )
    return make_pipeline(encoder, Ridge(alpha=0.1)).fit(crops, np.linspace(0, 1, 8))


@pytest.fixture(scope="module")
def scores(model, crops):
    return model.predict(crops)


@pytest.fixture
def cold(monkeypatch):
    """Forget the live networks, as a new process would."""
    live.CACHE.clear()


# Round trips -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("cold")
@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_joblib(model, crops, scores, tmp_path, mmap_mode):
    joblib.dump(model, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib", mmap_mode=mmap_mode)
    np.testing.assert_array_equal(loaded.predict(crops), scores)


@pytest.mark.usefixtures("cold")
def test_pickle_and_copy(model, crops, scores):
    data = pickle.dumps(model)
    assert len(data) < 3 * sum(a.nbytes for a in model[0].state_.networks[0].values())
    np.testing.assert_array_equal(pickle.loads(data).predict(crops), scores)
    np.testing.assert_array_equal(copy.deepcopy(model).predict(crops), scores)


def test_pickle_holds_no_torch(model):
    operations = pickletools.genops(pickle.dumps(model[0], protocol=2))
    modules = {arg.split(".")[0] for code, arg, _ in operations if code.name == "GLOBAL"}
    assert "skiqa" in modules
    assert not {"torch", "timm"} & modules


@pytest.mark.usefixtures("cold")
def test_skops(model, crops, scores, tmp_path):
    save(model, tmp_path / "model.skops")
    loaded = load(tmp_path / "model.skops")
    np.testing.assert_array_equal(loaded.predict(crops), scores)
    assert loaded.get_params()["ridge__alpha"] == 0.1


def test_skops_with_a_path_among_the_parameters(model, crops, tmp_path):
    encoder = clone(model[0]).set_params(cache_dir=tmp_path / "cache").fit(crops)
    save(encoder, tmp_path / "encoder.skops")
    assert load(tmp_path / "encoder.skops").cache_dir == tmp_path / "cache"


def test_skops_after_partial_fit_goes_on_alike(crops, tmp_path):
    encoder = ContrastiveQualityEncoder(
        TINY, weights=None, batch_size=4, view_size=64, random_state=0
    ).partial_fit(crops)
    save(encoder, tmp_path / "encoder.skops")
    loaded = load(tmp_path / "encoder.skops").partial_fit(crops)
    assert loaded.state_.digest == encoder.partial_fit(crops).state_.digest


@pytest.mark.usefixtures("cold")
@pytest.mark.parametrize("half", [False, True])
def test_bundle(model, crops, scores, tmp_path, half):
    path = tmp_path / "model.skiqa"
    save(model, path, half=half)
    loaded = load_model(path)
    if half:
        np.testing.assert_allclose(loaded.predict(crops), scores, atol=0.02)
    else:
        np.testing.assert_array_equal(loaded.predict(crops), scores)
        np.testing.assert_array_equal(loaded[0].transform(crops), model[0].transform(crops))
        assert loaded[0].state_.digest == model[0].state_.digest
    again = tmp_path / "again.skiqa"  # what was loaded is stored without further loss
    save(loaded, again, half=half)
    np.testing.assert_array_equal(load(again).predict(crops), loaded.predict(crops))


def test_half_is_half(model, tmp_path):
    for half in (False, True):
        save(model[0], tmp_path / f"{half}.skiqa", half=half)
    sizes = [(tmp_path / f"{half}.skiqa").stat().st_size for half in (True, False)]
    assert sizes[0] < 0.65 * sizes[1]
    assert isinstance(load(tmp_path / "True.skiqa"), ContrastiveQualityEncoder)


def test_saved_weights_start_another_training(model, crops, tmp_path):
    save(model, tmp_path / "start.skiqa")
    encoder = ContrastiveQualityEncoder(weights=tmp_path / "start.skiqa").fit(crops)
    np.testing.assert_array_equal(encoder.transform(crops), model[0].transform(crops))
    trained = clone(encoder).set_params(epochs=1, batch_size=4, view_size=64).fit(crops)
    assert trained.backbone_name_ == TINY
    assert trained.state_.digest != encoder.state_.digest


@pytest.mark.usefixtures("cold")
def test_threads(model, crops, scores):
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda _: model.predict(crops), range(8)))
    for row in rows:
        np.testing.assert_array_equal(row, scores)


def test_loky_workers(model, crops, scores):
    halves = [crops[:4], crops[4:]]
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        parts = joblib.Parallel()(joblib.delayed(model.predict)(half) for half in halves)
    np.testing.assert_allclose(np.concatenate(parts), scores, rtol=1e-5, atol=1e-6)


CLEAN = """
import json, sys, warnings
import joblib, numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = joblib.load(sys.argv[1])
    scores = model.predict(np.load(sys.argv[2]))
    messages = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
print(json.dumps([scores.tolist(), messages]))
"""


def test_made_for_cuda_scores_without(model, crops, scores, tmp_path):
    moved = copy.deepcopy(model)
    moved[0].set_params(device="cuda")
    joblib.dump(moved, tmp_path / "model.joblib")
    np.save(tmp_path / "images.npy", np.stack(crops))
    program = ["-c", CLEAN, tmp_path / "model.joblib", tmp_path / "images.npy"]
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = ready_python.run(*program, env=env)
    assert done.returncode == 0, done.stderr
    found, messages = json.loads(done.stdout)
    assert len(messages) == 1
    assert "device='cuda' was asked for" in messages[0]
    np.testing.assert_allclose(found, scores, rtol=1e-5, atol=1e-6)


# Versions and damage -----------------------------------------------------------------------------


def test_other_versions_warn_when_unpickled(model, crops, monkeypatch):
    now = _encoder.current_versions()
    with monkeypatch.context() as patch:
        patch.setattr(_encoder, "current_versions", lambda: {**now, "timm": "0.0.1"})
        data = pickle.dumps(model[0])
    with pytest.warns(UserWarning, match=r"timm.*0\.0\.1.*Its weights load strictly"):
        loaded = pickle.loads(data)
    np.testing.assert_array_equal(loaded.transform(crops), model[0].transform(crops))


def test_weights_made_elsewhere_do_not_warn(model):
    elsewhere = copy.deepcopy(model[0])
    versions = {"skiqa": "0.0.1", "timm": "0.0.1", "torch": "0.0.1"}
    elsewhere.state_ = replace(elsewhere.state_, versions=versions)
    assert pickle.loads(pickle.dumps(elsewhere)).state_.versions == elsewhere.state_.versions


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "no header"])
def test_damaged_files(model, tmp_path, damage):
    path = tmp_path / "model.skiqa"
    save(model, path)
    if damage == "no header":
        from safetensors.numpy import save_file

        save_file({"x": np.zeros(3)}, path)
    else:
        data = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": data[:-100], "text": b"weights of mine"}[damage])
    with pytest.raises(ValueError, match=r"model\.skiqa.*is not a file of skiqa.*damaged"):
        load(path)
    with pytest.raises(ValueError, match=r"model\.skiqa"):
        ContrastiveQualityEncoder(weights=path).fit([np.zeros((8, 8))])


def test_later_formats_ask_for_an_upgrade(model, tmp_path):
    path = tmp_path / "model.skiqa"
    save(model, path)
    tensors, header = read_file(path)
    write_file(path, tensors, {**header, "format": 99})
    with pytest.raises(ValueError, match=r"has format 99.*Upgrade skiqa"):
        load(path)


def test_a_regressor_alone_is_no_encoder(tmp_path):
    write_file(tmp_path / "x.skiqa", {"regressor.coef": np.zeros(2)}, {})
    with pytest.raises(ValueError, match="holds no encoder"):
        ContrastiveQualityEncoder(weights=tmp_path / "x.skiqa").fit([np.zeros((8, 8))])
    with pytest.raises(ValueError, match="holds no encoder"):
        load(tmp_path / "x.skiqa")


def test_wrong_weights_are_named(model, tmp_path):
    path = tmp_path / "model.skiqa"
    save(model[0], path)
    tensors, header = read_file(path)
    name = next(key for key in tensors if key.endswith("conv1.weight"))
    write_file(path, {k: v for k, v in tensors.items() if k != name}, header)
    with pytest.raises(ValueError, match=r"do not fit the network: 1 tensors missing.*conv1"):
        load(path)


def test_pickles_are_refused_with_a_remedy(model, tmp_path):
    joblib.dump(model, tmp_path / "a.joblib")
    (tmp_path / "b.model").write_bytes(pickle.dumps(model))
    for name in ("a.joblib", "b.model"):
        with pytest.raises(ValueError, match=r"a pickle.*joblib\.load.*persistence\.save"):
            load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"no model file.*c\.skiqa"):
        load(tmp_path / "c.skiqa")


def test_a_header_may_begin_as_a_pickle_does(model, tmp_path):
    path, found = tmp_path / "model.skiqa", 0
    save(model[0], path)
    tensors, header = read_file(path)
    for padding in range(0, 256, 8):
        write_file(path, tensors, header | {"padding": "x" * padding})
        if path.read_bytes()[0] == 0x80:  # of the header's length, a multiple of 8
            found += load(path).state_.digest == model[0].state_.digest
            ContrastiveQualityEncoder(weights=path).fit([np.zeros((8, 8))])
    assert found == 1


def test_weight_files_are_no_models(tmp_path):
    torch.save({"model.0.weight": torch.zeros(2)}, tmp_path / "ARNIQA.pth")
    with pytest.raises(ValueError, match=r"ARNIQA\.pth.*no model of skops.*as weights="):
        load(tmp_path / "ARNIQA.pth")


def test_trusted_types_are_those_that_models_hold():
    modules = skiqa, skiqa.objectives, skiqa.degradations
    public = [getattr(module, name) for module in modules for name in module.__all__]
    held = {x for x in public if isinstance(x, type) and issubclass(x, BaseEstimator)}
    held -= {skiqa.objectives.Objective, skiqa.degradations.Space}
    assert len(held) >= 14
    trusted = {resolve_name(name) for name in persistence.TRUSTED}
    assert trusted == held | {EncoderState, Graph, pathlib.PosixPath, pathlib.WindowsPath}
    assert len(persistence.TRUSTED) == len(trusted)
    with pytest.raises(AttributeError, match="no attribute 'TRUST'"):
        persistence.TRUST  # noqa: B018


def test_untrusted_types_are_named(model, crops, scores, tmp_path):
    path = tmp_path / "odd.skops"
    save(make_pipeline(FunctionTransformer(os.path.realpath), model[-1]), path)
    with pytest.raises(ValueError, match=r"not trusted: \['posixpath\.realpath'\].*trusted="):
        load(path)
    steps = load(path, trusted=["posixpath.realpath"]).steps
    assert steps[0][1].func is os.path.realpath


def test_what_fits_no_bundle(model, crops, tmp_path):
    wide = make_pipeline(model[0], PCA(2), LinearRegression()).fit(crops, np.linspace(0, 1, 8))
    with pytest.raises(TypeError, match=r"ends in \.skops"):
        save(wide, tmp_path / "model.skiqa")
    assert not list(tmp_path.iterdir())
    save(wide, tmp_path / "model.skops")
    np.testing.assert_array_equal(
        load(tmp_path / "model.skops").predict(crops), wide.predict(crops)
    )


# Scores ------------------------------------------------------------------------------------------


def test_bundled_model(crops, photo_paths):
    model = load_model()
    assert list(model.named_steps) == ["contrastivequalityencoder", "ridge"]
    assert np.isfinite(model.predict(crops)).all()
    assert skiqa.load_model is load_model
    assert np.isfinite(clone(model).fit(crops, np.arange(8.0)).predict(crops)).all()


def test_iter_quality_streams_and_passes_over(model, crops, scores, monkeypatch):
    from skiqa._inputs.images import ImageList

    opened, load_one = [], ImageList.load

    def noted(self, index, max_pixels=None):
        opened.append(index)
        return load_one(self, index, max_pixels)

    monkeypatch.setattr(ImageList, "load", noted)
    X = [*crops, "missing.jpg", *crops] * 3
    stream = iter_quality(model, X)
    index, score, error, _, interval = next(stream)
    assert (index, error, interval) == (0, None, None)
    assert score == pytest.approx(scores[0], abs=1e-6)
    assert len(opened) < 10  # only a few ahead of the consumer
    rest = list(stream)
    assert [quality.index for quality in rest] == list(range(1, 51))
    index, score, error, flags, _ = rest[7]
    assert index == 8
    assert np.isnan(score)
    assert isinstance(error, ImageError)
    assert "missing.jpg" in str(error)
    assert flags == ()
    # one by one, the regressor's sums are rounded otherwise than in a batch
    np.testing.assert_allclose([quality.score for quality in rest[:7]], scores[1:], atol=1e-6)


def test_predict_quality(model, crops, scores):
    found = predict_quality(model, [crops[0], b"no image", crops[1]], n_jobs=2)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[[0, 2]], scores[:2], atol=1e-6)
    assert np.isnan(found[1])
    with pytest.raises(TypeError, match="begins with a ContrastiveQualityEncoder"):
        predict_quality(model[0], crops)


def test_predict_quality_reads_rows_as_the_model_does(crops):
    rows = np.stack(crops).reshape(8, -1)
    model = make_pipeline(ContrastiveQualityEncoder(image_shape=(40, 56, 3)), Ridge())
    model.fit(rows, np.arange(8.0))
    np.testing.assert_allclose(predict_quality(model, rows), model.predict(rows), rtol=1e-5)
