"""Files in the authors' layouts, made here: the real ones cannot be had in a test."""

import os
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from skiqa._network.weight_files import load_state
from skiqa.persistence import load_regressor


class Evil:
    def __init__(self, path):
        self.path = os.fspath(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


class Regressor(nn.Module):
    def __init__(self, weights, biases):
        super().__init__()
        self.weights, self.biases = nn.Parameter(weights), nn.Parameter(biases)

    def forward(self, x):
        return x @ self.weights.T + self.biases


def save_script(module, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates what it still reads
        torch.jit.script(module).save(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arniqa_regressor(tmp_path, dtype):
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 4096, generator=generator, dtype=dtype)[1:2]  # not at its file's start
    module = Regressor(weights, torch.tensor(37.25, dtype=dtype))
    save_script(module, tmp_path / "regressor_koniq10k.pth")
    ridge = load_regressor(tmp_path / "regressor_koniq10k.pth")
    assert type(ridge) is Ridge
    assert ridge.coef_.shape == (4096,)
    np.testing.assert_array_equal(ridge.coef_, weights[0].numpy())
    assert ridge.intercept_ == 37.25
    x = torch.randn(5, 4096, generator=generator, dtype=dtype)
    expected = module(x).detach().numpy()[:, 0]
    np.testing.assert_allclose(ridge.predict(x.numpy()), expected, rtol=1e-5, atol=1e-3)
    with pytest.raises(ValueError, match=r"a TorchScript file.*load_regressor reads them"):
        load_state(tmp_path / "regressor_koniq10k.pth")


def test_other_scripts(tmp_path):
    save_script(nn.Linear(3, 1), tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"expected weights, biases; found no weights.*weight, "):
        load_regressor(tmp_path / "x.pth")
    save_script(Regressor(torch.ones(2, 3), torch.tensor(0.0)), tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"one row of numbers, found shape \(2, 3\)"):
        load_regressor(tmp_path / "x.pth")
    torch.save({"weights": torch.zeros(1, 4096)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="no weights, biases"):
        load_regressor(tmp_path / "x.pth")


def ridge_of(dtype=np.float32):
    rng = np.random.default_rng(0)
    X, y = rng.random((6, 4096)), 100 * rng.random(6)
    return Ridge(alpha=0.25).fit(X.astype(dtype), y.astype(dtype))


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_contrique_regressor(tmp_path, protocol, dtype):
    ridge, path = ridge_of(dtype), tmp_path / "CLIVE.save"
    data = pickle.dumps(ridge, protocol)
    if protocol == 3:  # the authors' NumPy was 1: its modules had no underscore
        assert b"numpy._core.multiarray" in data
        data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path.write_bytes(data)
    found = load_regressor(path)
    assert (found.alpha, found.intercept_) == (0.25, ridge.intercept_)
    assert found.coef_.dtype == dtype
    np.testing.assert_array_equal(found.coef_, ridge.coef_)
    np.testing.assert_array_equal(found.predict(np.eye(3, 4096)), ridge.predict(np.eye(3, 4096)))
    assert found.predict(np.zeros((1, 4096))) == ridge.intercept_  # reference = degraded


@pytest.mark.parametrize("place", ["instead", "within"])
def test_regressors_execute_nothing(tmp_path, place):
    evil = Evil(tmp_path / "made")
    ridge = ridge_of()
    ridge.solver_ = evil
    (tmp_path / "x.save").write_bytes(pickle.dumps(evil if place == "instead" else ridge, 3))
    with pytest.raises(ValueError, match=r"x\.save.*names \w+\.mkdir, which has no place"):
        load_regressor(tmp_path / "x.save")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coef_": np.zeros((2, 3))}, r"found shapes \(2, 3\) and \(\)"),
        ({"coef_": np.zeros(3, int)}, "expected floats, found int64"),
        ({"coef_": "none"}, "expected numbers, found str"),
        ({"coef_": np.ma.zeros(3)}, r"names numpy\.ma.*has no place"),
    ],
)
def test_odd_ridges(tmp_path, change, message):
    ridge = ridge_of()
    vars(ridge).update(change)
    (tmp_path / "x.save").write_bytes(pickle.dumps(ridge, 3))
    with pytest.raises(ValueError, match=message):
        load_regressor(tmp_path / "x.save")


def test_what_is_no_regressor(tmp_path):
    (tmp_path / "x.save").write_bytes(pickle.dumps({"coef_": 1.0}, 3))
    with pytest.raises(ValueError, match=r"expected coef_, intercept_, alpha; found no"):
        load_regressor(tmp_path / "x.save")
    (tmp_path / "x.save").write_bytes(pickle.dumps(Ridge(), 3))
    with pytest.raises(ValueError, match=r"found no coef_, intercept_ \(alpha, "):
        load_regressor(tmp_path / "x.save")
    with pytest.raises(FileNotFoundError, match=r"no file.*gone\.save"):
        load_regressor(tmp_path / "gone.save")
