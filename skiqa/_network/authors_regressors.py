"""Regressors that the authors of CONTRIQUE and ARNIQA publish, read as scikit-learn's Ridge."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.linear_model import Ridge

from skiqa import _types
from skiqa._network.pickles import Call, read_pickle
from skiqa._ridge import fitted_ridge

# What the files may name.
_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")  # before NumPy 2, and since
_ARRAYS = [f"{core}.{name}" for core in _CORES for name in ("_reconstruct", "scalar")]
_RIDGE_NAMES = ["sklearn.linear_model._ridge.Ridge", "numpy.dtype", "numpy.ndarray", *_ARRAYS]
_STORAGES = {"torch.HalfStorage": "<f2", "torch.FloatStorage": "<f4", "torch.DoubleStorage": "<f8"}
_REBUILD = "torch._utils._rebuild_tensor_v2"
_SCRIPT_NAMES = ["__torch__.*", _REBUILD, "collections.OrderedDict", *_STORAGES]

_Regressor = tuple[_types.Floats, _types.Floats, float]  # coefficients, intercept, alpha


def load_regressor(path: _types.Path) -> Ridge:
    """Read a regressor of CONTRIQUE's or ARNIQA's authors; nothing in the file is executed.

    Parameters
    ----------
    path : str or path
        CONTRIQUE's pickled Ridge (``LIVE.save``, ``CSIQ_FR.save``, ...) or ARNIQA's TorchScript
        module (``regressor_koniq10k.pth``, ...).

    Returns
    -------
    Ridge
        Fitted; its ``predict`` takes the features of the same paper's encoder, (n_samples, 4096),
        and gives what the authors' does: for LIVE and CSIQ DMOS, where *lower* is better, for the
        others MOS. ARNIQA's files do not tell their penalty: ``alpha`` then is scikit-learn's
        default.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is neither of the two, or holds anything else: what was expected and found.

    Notes
    -----
    A pickle's operations are walked through, not run: one that storing a Ridge does not need, or
    that names anything but it and NumPy's arrays, is refused. The regressors whose names end in FR
    belong behind :class:`~skiqa.ReferenceDifference`.

    Examples
    --------
    >>> import pickle, tempfile, os
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skiqa.persistence import load_regressor
    >>> X, y = np.eye(3, dtype=np.float32), np.arange(3, dtype=np.float32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "MINE.save")
    ...     with open(path, "wb") as file:
    ...         pickle.dump(Ridge(alpha=0.1).fit(X, y), file, protocol=3)
    ...     ridge = load_regressor(path)
    >>> ridge
    Ridge(alpha=0.1)
    >>> ridge.coef_.shape
    (3,)
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {os.fspath(path)!r} to read a regressor from.")
    data = Path(path).read_bytes()
    read = _script_regressor if data[:4] == b"PK\x03\x04" else _pickled_regressor
    try:
        coef, intercept, alpha = read(data)
        if coef.ndim != 1 or intercept.ndim != 0:
            raise ValueError(
                "expected one row of coefficients and one intercept, found shapes "
                f"{coef.shape} and {intercept.shape}"
            )
    except Exception as error:  # of any kind: a damaged file leads anywhere
        raise ValueError(
            f"{os.fspath(path)!r} is no regressor known here, CONTRIQUE's pickled Ridge or "
            f"ARNIQA's TorchScript: {error}."
        ) from error
    return fitted_ridge(coef, intercept[()], alpha)


def _pickled_regressor(data: bytes) -> _Regressor:
    ridge = read_pickle(data, _RIDGE_NAMES)
    fields = _fields(ridge, ("coef_", "intercept_", "alpha"))
    coef, intercept = (_numpy_array(fields[name]) for name in ("coef_", "intercept_"))
    return coef, intercept, float(_numpy_array(fields["alpha"]))


def _script_regressor(data: bytes) -> _Regressor:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError(f"expected one data.pkl, found {archive.namelist()[:5]}")
        folder = names[0].removesuffix("data.pkl")
        fields = _fields(read_pickle(archive.read(names[0]), _SCRIPT_NAMES), ("weights", "biases"))
        weights, biases = (
            _torch_array(fields[name], lambda key: archive.read(f"{folder}data/{key}"))
            for name in ("weights", "biases")
        )
    if weights.ndim == 2 and len(weights) == 1:
        weights = weights[0]
    return weights, biases, Ridge().alpha


def _fields(call: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the attributes of a pickled object that must have these."""
    fields = call.state if isinstance(call, Call) and isinstance(call.state, dict) else {}
    if absent := [name for name in names if name not in fields]:
        raise ValueError(
            f"expected {', '.join(names)}; found no {', '.join(absent)}{in_brackets(fields)}"
        )
    return fields


def _numpy_array(value: Any) -> _types.Floats:
    """Return a number or a float array of a pickle."""
    if isinstance(value, (int, float)):
        return np.asarray(value, dtype=np.float64)
    kind = value.function.rpartition(".")[2] if isinstance(value, Call) else type(value).__name__
    order: Literal["C", "F"] = "C"
    if kind == "scalar":
        (dtype, raw), shape = value.arguments, ()
    elif kind == "_reconstruct":
        _, shape, dtype, fortran, raw = value.state
        order = "F" if fortran else "C"
    else:
        raise ValueError(f"expected numbers, found {kind}")
    dtype = np.dtype(dtype.state[1] + dtype.arguments[0])
    if dtype.kind != "f":
        raise ValueError(f"expected floats, found {dtype}")
    return np.frombuffer(raw, dtype).reshape(shape, order=order).astype(dtype.newbyteorder("="))


def _torch_array(value: Any, read: Callable[[str], bytes]) -> _types.Floats:
    """Return a tensor of a TorchScript module; `read` gives the bytes of a storage."""
    if not (isinstance(value, Call) and value.function.endswith("_rebuild_tensor_v2")):
        raise ValueError(f"expected a tensor, found {type(value).__name__}")
    storage, offset, shape, stride, *_ = value.arguments
    _, kind, key, *_ = storage.arguments
    if stride and (stride[-1] != 1 or prod(shape) != shape[-1]):
        raise ValueError(f"expected one row of numbers, found shape {shape}, stride {stride}")
    values = np.frombuffer(read(key), _STORAGES[kind])
    return values[offset : offset + prod(shape)].reshape(shape).copy()


def in_brackets(names: Iterable[str]) -> str:
    """Return the first three names in brackets, to stand in an error; of none, nothing."""
    names = list(names)
    if not names:
        return ""
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
