"""The authors' own files: encoders of CONTRIQUE, ARNIQA and Re-IQA, and their regressors."""

import io
import os
import pickle
import re
import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import Ridge

from skiqa._network.pickles import Call, read_pickle
from skiqa._network.state import EncoderState, array_shapes

# Encoders -----------------------------------------------------------------------------------------

BACKBONE = "resnet50"  # of all three papers
_NO_NORMALISATION = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_PLACES = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}


@dataclass(frozen=True)
class Layout:
    """How a paper's authors store their encoder.

    Parameters
    ----------
    paper : str
    prefix : str
        What stands before the name of every tensor of the network.
    head : str
        What stands before those of the projector.
    numbered : bool
        Whether layers go by their place among torchvision's children rather than by name.
    normalisation : tuple of (mean, std)
        What the network's input went through.
    unit_norm : bool
        Whether the paper's features are L2-normed.
    """

    paper: str
    prefix: str
    head: str
    numbered: bool
    normalisation: tuple
    unit_norm: bool

    def key(self, name):
        """Return the checkpoint's name of a tensor of the network."""
        first, _, rest = name.partition(".")
        return f"{self.prefix}{_PLACES[first] if self.numbered else first}.{rest}"


LAYOUTS = (
    Layout("CONTRIQUE", "encoder.", "projector.", True, _NO_NORMALISATION, True),
    Layout("ARNIQA", "model.", "projector.", True, _IMAGENET, True),
    # what ARNIQA's own training writes after each epoch
    Layout("ARNIQA", "encoder.model.", "encoder.projector.", True, _IMAGENET, True),
    Layout("Re-IQA", "encoder.", "head.", False, _NO_NORMALISATION, False),
)


def official_state(path):
    """Return the encoder state in a checkpoint of CONTRIQUE, ARNIQA or Re-IQA.

    With ``pooling="avg"`` and the default scales its features are the paper's own: the whole image
    and its half by Pillow's bicubic, in this order; input normalised by ImageNet's statistics for
    ARNIQA, not at all for CONTRIQUE and Re-IQA; L2-normed for each scale, but for Re-IQA.

    Parameters
    ----------
    path : str or path
        ``CONTRIQUE_checkpoint25.tar``, ``ARNIQA.pth``, ``quality_aware_r50.pth`` or
        ``content_aware_r50.pth``. The last two differ in nothing but what is in them: a file whose
        name begins with "content" is taken for Re-IQA's content encoder, which wants ImageNet's
        normalisation.

    Raises
    ------
    ValueError
        If it holds anything but tensors, or tensors of another network: what was expected and
        what was found.
    """
    path = Path(path)
    tensors = _tensors_of(path)
    shapes = array_shapes(BACKBONE)
    layout = max(LAYOUTS, key=lambda x: sum(x.key(name) in tensors for name in shapes))
    expected = {layout.key(name): shape for name, shape in shapes.items()}
    if not expected.keys() & tensors.keys():
        known = ", ".join(f"{x.paper}'s {x.key('conv1.weight')!r}" for x in LAYOUTS)
        raise ValueError(
            f"{os.fspath(path)!r} is no checkpoint known here. Expected tensors of a ResNet-50: "
            f"{known}... Found {len(tensors)} tensors{_some(tensors)}. Weights of timm's networks "
            "are got by backbone= and weights='timm'."
        )
    _check(path, tensors, layout, expected)
    content = layout.paper == "Re-IQA" and path.name.startswith("content")
    mean, std = _IMAGENET if content else layout.normalisation
    arrays = {key: _to_array(value) for key, value in tensors.items()}
    return EncoderState(
        backbone=BACKBONE,
        networks=[{name: arrays[layout.key(name)] for name in shapes}],
        mean=mean,
        std=std,
        head={
            key.removeprefix(layout.head): array
            for key, array in arrays.items()
            if key.startswith(layout.head) and not key.endswith("num_batches_tracked")
        },
        unit_norm=layout.unit_norm,
        card={"paper": layout.paper, "file": path.name, "scales": [1.0, 0.5],
              "filter": "bicubic", "pooling": "avg"},
    )  # fmt: skip


def _check(path, tensors, layout, expected):
    """Raise ValueError unless the tensors of a layout's network are those expected."""
    missing = [key for key in expected if key not in tensors]
    tail = (layout.prefix + "fc.", layout.head)
    extra = [
        key for key in tensors
        if key.startswith(layout.prefix) and key not in expected
        and not key.startswith(tail) and not key.endswith("num_batches_tracked")
    ]  # fmt: skip
    wrong = [
        f"{key} {tuple(tensors[key].shape)} instead of {shape}"
        for key, shape in expected.items()
        if key in tensors and tuple(tensors[key].shape) != shape
    ]
    if missing or extra or wrong:
        raise ValueError(
            f"{os.fspath(path)!r} looks like {layout.paper}'s checkpoint, but is no ResNet-50: of "
            f"{len(expected)} tensors {len(missing)} are missing{_some(missing)}, {len(wrong)} "
            f"have another shape{_some(wrong)}, and {len(extra)} are not expected{_some(extra)}."
        )


def is_torch_file(path):
    """Is it a file of torch.save, by its first bytes?"""
    with open(path, "rb") as file:
        magic = file.read(4)
    return magic in (b"PK\x03\x04", b"\x80\x02\x8a\x0a")  # a zip; before torch 1.6, its number


def _tensors_of(path):
    """Return {name: tensor} of a file of torch.save, out of its wrappers."""
    name = os.fspath(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(member.endswith("/constants.pkl") for member in archive.namelist()):
                raise ValueError(
                    f"{name!r} is a TorchScript file, not a checkpoint of an encoder. ARNIQA's "
                    "regressors are such files: skiqa.persistence.load_regressor reads them."
                )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise ValueError(
            f"{name!r} holds {named[1]}; expected are tensors alone, and nothing in it was "
            "executed. Of a whole training run, save the state dict."
            if named
            else f"{name!r} is damaged, or was not written by torch.save."
        ) from error
    for wrapper in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict):
        raise ValueError(f"{name!r} holds a {type(content).__name__}, expected a dict of tensors.")
    return {
        str(key).removeprefix("module."): value
        for key, value in content.items()
        if isinstance(value, torch.Tensor)
    }


def _to_array(tensor):
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _some(names):
    """Return the first names in brackets, to stand in an error."""
    names = list(names)
    if not names:
        return ""
    return f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


# Regressors ---------------------------------------------------------------------------------------

_RIDGE = "sklearn.linear_model._ridge.Ridge"
_RIDGE_NAMES = (
    _RIDGE, "numpy.dtype", "numpy.ndarray", "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar", "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
)  # fmt: skip
_STORAGES = {"torch.HalfStorage": "<f2", "torch.FloatStorage": "<f4", "torch.DoubleStorage": "<f8"}
_SCRIPT_NAMES = (
    "__torch__.*", "torch._utils._rebuild_tensor_v2", "collections.OrderedDict", *_STORAGES
)  # fmt: skip


def load_regressor(path):
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
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {os.fspath(path)!r} to read a regressor from.")
    data = path.read_bytes()
    read = _script_regressor if data[:4] == b"PK\x03\x04" else _pickled_regressor
    try:
        coef, intercept, alpha = read(data)
        if coef.ndim != 1 or intercept.ndim != 0:
            raise ValueError(
                "expected one row of coefficients and one intercept, found shapes "
                f"{coef.shape} and {intercept.shape}"
            )
    except (ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{os.fspath(path)!r} is no regressor known here, CONTRIQUE's pickled Ridge or "
            f"ARNIQA's TorchScript: {error}."
        ) from error
    return fitted_ridge(coef, intercept[()], alpha)


def fitted_ridge(coef, intercept, alpha):
    """Return the Ridge that `fit` would have left with these coefficients."""
    ridge = Ridge(alpha=alpha)
    ridge.coef_, ridge.intercept_ = coef, intercept
    ridge.n_features_in_ = coef.shape[-1]
    ridge.n_iter_, ridge.solver_ = None, "auto"
    return ridge


def _pickled_regressor(data):
    ridge = read_pickle(data, _RIDGE_NAMES)
    fields = _fields(ridge, ("coef_", "intercept_", "alpha"))
    coef, intercept = (_numpy_array(fields[name]) for name in ("coef_", "intercept_"))
    return coef, intercept, float(_numpy_array(fields["alpha"]))


def _script_regressor(data):
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


def _fields(call, names):
    """Return the attributes of a pickled object that must have these."""
    fields = call.state if isinstance(call, Call) and isinstance(call.state, dict) else {}
    if absent := [name for name in names if name not in fields]:
        raise ValueError(
            f"expected {', '.join(names)}; found no {', '.join(absent)}{_some(fields)}"
        )
    return fields


def _numpy_array(value):
    """Return a number or a float array of a pickle."""
    if isinstance(value, (int, float)):
        return np.asarray(value, dtype=np.float64)
    kind = value.function.rpartition(".")[2] if isinstance(value, Call) else type(value).__name__
    if kind == "scalar":
        (dtype, raw), shape, order = value.arguments, (), "C"
    elif kind == "_reconstruct":
        _, shape, dtype, fortran, raw = value.state
        order = "F" if fortran else "C"
    else:
        raise ValueError(f"expected numbers, found {kind}")
    dtype = np.dtype(dtype.state[1] + dtype.arguments[0])
    if dtype.kind != "f":
        raise ValueError(f"expected floats, found {dtype}")
    return np.frombuffer(raw, dtype).reshape(shape, order=order).astype(dtype.newbyteorder("="))


def _torch_array(value, read):
    """Return a tensor of a TorchScript module; `read` gives the bytes of a storage."""
    if not (isinstance(value, Call) and value.function.endswith("_rebuild_tensor_v2")):
        raise ValueError(f"expected a tensor, found {type(value).__name__}")
    storage, offset, shape, stride, *_ = value.arguments
    _, kind, key, *_ = storage.arguments
    if stride and (stride[-1] != 1 or prod(shape) != shape[-1]):
        raise ValueError(f"expected one row of numbers, found shape {shape}, stride {stride}")
    values = np.frombuffer(read(key), _STORAGES[kind])
    return values[offset : offset + prod(shape)].reshape(shape).copy()
