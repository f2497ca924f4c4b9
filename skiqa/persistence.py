"""Models in files: the bundled scorer, skiqa's own safetensors bundles, skops pipelines."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_is_fitted

from skiqa import _PUBLIC, __version__, _types
from skiqa._disk import whole_file
from skiqa._encoder import ContrastiveQualityEncoder
from skiqa._network.authors_regressors import load_regressor
from skiqa._network.graph import Graph
from skiqa._network.live_engines import with_graphs
from skiqa._network.state import EncoderState, current_versions, warn_of_versions
from skiqa._network.weight_files import (
    BUNDLED,
    encoder_tensors,
    read_file,
    reading,
    state_to_tensors,
    tensors_to_state,
    write_file,
)
from skiqa._ordered_ridge import OrderedRidge
from skiqa._quality import (
    Quality,
    calibrate_intervals,
    card_of,
    is_scorer,
    iter_quality,
    predict_quality,
)
from skiqa._ridge import fitted_ridge
from skiqa._types import Arrays

if TYPE_CHECKING:
    from skiqa._features.scorer import Scorer

__all__ = [
    "TRUSTED",
    "Quality",
    "calibrate_intervals",
    "iter_quality",
    "load",
    "load_model",
    "load_regressor",
    "model_card",
    "predict_quality",
    "save",
    "to_onnx",
]

# The full names of the types that skops must be told to trust: all that a fitted model of skiqa may
# hold. Put together when first asked for, because that imports every estimator.
TRUSTED: list[str]

# The encoder's parameters that decide features.
_FEATURE_PARAMETERS = ("max_pixels", "scales", "pooling", "precision", "image_shape")

# A model in a skops file is refused if its description is longer (bytes), or if it unpacks to more
# than so many times the file: arrays hardly shrink.
_LARGEST_SCHEMA, _LARGEST_FACTOR = 2**25, 100


def __getattr__(name: str) -> list[str]:
    if name == "TRUSTED":
        return _trusted_types()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _trusted_types() -> list[str]:
    """Return the names of skiqa's estimators, objectives and spaces, of a state and of paths."""
    from skiqa import degradations, objectives  # import PyTorch

    public = [getattr(import_module(module), name) for name, module in _PUBLIC.items()]
    public += [getattr(objectives, name) for name in objectives.__all__]
    public += [getattr(degradations, name) for name in degradations.__all__]
    estimators = {x for x in public if isinstance(x, type) and issubclass(x, BaseEstimator)}
    held = estimators - {objectives.Objective, degradations.Space} | {EncoderState, Graph}
    names = [f"{cls.__module__}.{cls.__qualname__}" for cls in held]
    return sorted([*names, "pathlib.PosixPath", "pathlib.WindowsPath"])  # cache_dir and such


def load_model(path: _types.Path | None = None) -> Pipeline:
    """Load a scorer: a fitted Pipeline from images to scores.

    Parameters
    ----------
    path : str, path or None, default=None
        A file written by :func:`~skiqa.persistence.save`. None: the scorer that comes with skiqa,
        whose scores are 100 x the predicted mean opinion score: about 0 (bad) to 100 (excellent),
        not clipped, so that ranks survive at the ends.

    Returns
    -------
    Pipeline
        Its ``predict`` takes any images that :class:`~skiqa.ContrastiveQualityEncoder` takes.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds no scorer, is damaged, or holds types that are not trusted.

    Examples
    --------
    >>> import skiqa
    >>> from sklearn.datasets import load_sample_images
    >>> model = skiqa.load_model()
    >>> model.predict(load_sample_images().images).shape
    (2,)
    """
    if path is None:
        return _load_bundle(BUNDLED, weights="default")
    model = _load(Path(path), ())
    if not is_scorer(model):
        raise ValueError(
            f"{os.fspath(path)!r} holds a {type(model).__name__}, not a scorer: a Pipeline that "
            "begins with a ContrastiveQualityEncoder and ends with a regressor."
        )
    return model


def save(model: BaseEstimator, path: _types.Path, *, half: bool = False) -> None:
    """Save a fitted model so that it can be loaded without running any code of the file.

    Parameters
    ----------
    model : estimator
        A fitted :class:`~skiqa.ContrastiveQualityEncoder`, or a Pipeline of one and a Ridge, goes
        into a safetensors file (``.skiqa``); so does one with an :class:`~skiqa.OrderedRidge`,
        which is read as a Ridge of its coefficients. Any other scikit-learn model with a ``.skops``
        path goes into a skops file.
    path : str or path
        Where to. The file appears whole or not at all.
    half : bool, default=False
        Whether weights are stored in half precision (safetensors only): half the size, scores
        equal to about three digits.

    Raises
    ------
    TypeError
        If the model does not fit a safetensors file and `path` does not end in ``.skops``.

    Examples
    --------
    >>> import skiqa, tempfile, os
    >>> from skiqa.persistence import load, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(skiqa.load_model(), os.path.join(folder, "scorer.skiqa"))
    ...     model = load(os.path.join(folder, "scorer.skiqa"))
    >>> list(model.named_steps)
    ['contrastivequalityencoder', 'ridge']
    """
    path = Path(path)
    check_is_fitted(model)
    if path.suffix == ".skops":
        import skops.io

        with whole_file(path) as file:
            skops.io.dump(model, file)
        return
    encoder, regressor = _split(model)
    state = with_graphs(encoder.state_, encoder.pooling)
    tensors, header = state_to_tensors(state, np.float16 if half else np.float32)
    tensors = {f"encoder.{name}": array for name, array in tensors.items()}
    header = {"encoder": header}
    header["parameters"] = {name: getattr(encoder, name) for name in _FEATURE_PARAMETERS}
    header["saved_with"] = current_versions()
    if regressor is not None:
        header["scorer"] = card_of(regressor)
        tensors["regressor.coef"] = np.asarray(regressor.coef_)
        tensors["regressor.intercept"] = np.atleast_1d(regressor.intercept_)
        header["regressor"] = {"alpha": float(regressor.alpha)}
    write_file(path, tensors, header)


def _split(
    model: BaseEstimator,
) -> tuple[ContrastiveQualityEncoder, Ridge | OrderedRidge | None]:
    """Return (encoder, ridge or None) of a model that fits a safetensors file."""
    if isinstance(model, ContrastiveQualityEncoder):
        return model, None
    if isinstance(model, Pipeline) and len(model) == 2:
        encoder, regressor = model[0], model[1]
        linear = isinstance(regressor, Ridge | OrderedRidge)
        if isinstance(encoder, ContrastiveQualityEncoder) and linear:
            return encoder, regressor
    raise TypeError(
        "A .skiqa file holds an encoder, or a Pipeline of a ContrastiveQualityEncoder and a Ridge "
        "or OrderedRidge; "
        f"this is {model!r}. Save it with a path that ends in .skops."
    )


def to_onnx(model: Pipeline, path: _types.Path) -> None:
    """Write a scorer as an ONNX file, which scores without skiqa, PyTorch or scikit-learn.

    Its input "pixels" is one photo, uint8 RGB of shape (1, height, width, 3) and any size, upright
    and already reduced to the viewing size; its output "score", float32 of shape (1,), is that of
    ``model.predict``, up to the rounding of float32. The metadata hold ``max_pixels`` (the
    viewing size; not there if photos are not reduced), ``card`` (what is known of the weights, as
    JSON) and ``skiqa`` (the version).

    Parameters
    ----------
    model : Pipeline
        A fitted :class:`~skiqa.ContrastiveQualityEncoder` and a linear regressor.
    path : str or path
        Where to. The file appears whole or not at all.

    Raises
    ------
    TypeError
        If a step of the model cannot be exported; the message names it.

    Examples
    --------
    >>> import skiqa, tempfile, os
    >>> from skiqa.persistence import to_onnx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_onnx(skiqa.load_model(), os.path.join(folder, "scorer.onnx"))
    ...     os.listdir(folder)
    ['scorer.onnx']
    """
    import onnx

    from skiqa._features.scorer import scorer_graph

    scorer = _exportable(model)
    encoder = model[0]
    graph = onnx.load_model_from_string(scorer_graph(scorer))
    about = {"skiqa": __version__, "card": json.dumps(model_card(model))}
    max_pixels = encoder.extraction("cpu").max_pixels
    if max_pixels is not None:
        about["max_pixels"] = str(max_pixels)
    onnx.helper.set_model_props(graph, about)
    data = graph.SerializeToString()
    with whole_file(path) as file:
        file.write(data)


def _exportable(model: Any) -> Scorer:
    """Return what is exported of a model; TypeError naming the step that cannot be."""
    from skiqa._features.scorer import Scorer  # imports PyTorch

    if not is_scorer(model):
        raise TypeError(
            "Only a Pipeline that begins with a ContrastiveQualityEncoder and ends with a "
            f"regressor goes into an ONNX file, not {type(model).__name__}."
        )
    check_is_fitted(model)
    (first, encoder), *between, (last, regressor) = model.steps
    if between:
        name, step = between[0]
        raise TypeError(f"Step {name!r} ({type(step).__name__}) does not go into an ONNX file.")
    if encoder.state_.content is not None or encoder.precision == "bfloat16":
        why = "content beside it" if encoder.state_.content is not None else "precision='bfloat16'"
        raise TypeError(f"Step {first!r} with {why} does not go into an ONNX file.")
    if (line := _line(regressor)) is None:
        raise TypeError(
            f"Step {last!r} ({type(regressor).__name__}) does not go into an ONNX file: only a "
            "linear regressor of one score does."
        )
    try:
        return Scorer(encoder.state_, encoder.scales, encoder.pooling, *line)
    except TypeError as error:
        raise TypeError(f"Step {first!r} does not go into an ONNX file: {error}.") from error


def _line(regressor: Any) -> tuple[_types.Floats, float] | None:
    """Return (coefficients, intercept) of what predicts one linear score; None of anything else."""
    coef = np.asarray(getattr(regressor, "coef_", 0.0))
    intercept = np.asarray(getattr(regressor, "intercept_", 0.0))
    if coef.shape[-1:] != (coef.size,) or intercept.size != 1:
        return None
    coef = coef.ravel()
    rows = np.random.default_rng(0).standard_normal((3, coef.size)) / np.sqrt(coef.size)
    linear = np.allclose(np.ravel(regressor.predict(rows)), rows @ coef + intercept.item())
    return (coef, float(intercept.item())) if linear else None


def load(path: _types.Path, *, trusted: Iterable[str] = ()) -> Any:
    """Load what :func:`~skiqa.persistence.save` wrote; nothing in the file is executed.

    Parameters
    ----------
    path : str or path
        A ``.skiqa`` or ``.skops`` file.
    trusted : sequence of str, default=()
        Further types, by full name, that a skops file may hold. Trust only types you know.

    Returns
    -------
    estimator

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is neither kind of file, is damaged, or holds types that are not trusted.
    """
    return _load(Path(path), trusted)


def _load(path: Path, trusted: Iterable[str]) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"There is no model file {os.fspath(path)!r}.")
    with open(path, "rb") as file:
        magic = file.read(9)
    if magic[:4] == b"PK\x03\x04":
        return _load_skops(path, trusted)
    # safetensors begin with a length, whose first byte may well be a pickle's
    pickled = magic[:1] == b"\x80" and magic[8:] != b"{"
    if pickled or path.suffix in (".joblib", ".pkl", ".pickle"):
        raise ValueError(
            f"{os.fspath(path)!r} is a pickle, which can run any code when it is loaded. If you "
            "trust it, load it in Python with joblib.load and save it with skiqa.persistence.save."
        )
    return _load_bundle(path, os.fspath(path))


def _load_skops(path: Path, trusted: Iterable[str]) -> Any:
    import skops.io

    known = {*_trusted_types(), *trusted}
    try:
        with zipfile.ZipFile(path) as archive:
            _check_skops(path, archive)
        if unknown := sorted(set(skops.io.get_untrusted_types(file=path)) - known):
            raise ValueError(
                f"{os.fspath(path)!r} holds types that are not trusted: {unknown}. If you know "
                "them, pass them as trusted=."
            )
        return skops.io.load(path, trusted=sorted(known))
    except ValueError as error:
        if os.fspath(path) in str(error):
            raise
        raise ValueError(f"{os.fspath(path)!r} is damaged: {error}") from error
    except Exception as error:  # of any kind: skops follows the file wherever it leads
        raise ValueError(f"{os.fspath(path)!r} is damaged: {error!r}") from error


def _check_skops(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise ValueError if an archive is no model, damaged, or unpacks to far more than it is."""
    name = os.fspath(path)
    if "schema.json" not in archive.namelist():
        raise ValueError(
            f"{name!r} holds no model of skops. If it holds the weights of CONTRIQUE, ARNIQA or "
            "Re-IQA, pass it to ContrastiveQualityEncoder as weights=."
        )
    members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    schema = archive.getinfo("schema.json").file_size
    if schema > _LARGEST_SCHEMA or unpacked > _LARGEST_FACTOR * max(path.stat().st_size, 2**20):
        raise ValueError(
            f"{name!r} unpacks to {unpacked / 2**20:.0f} MiB, {schema / 2**20:.0f} of them schema: "
            "no model does."
        )
    if (damaged := archive.testzip()) is not None:
        raise ValueError(f"{name!r} is damaged: the checksum of {damaged!r} in it is another")


def _load_bundle(path: Path, weights: str) -> ContrastiveQualityEncoder | Pipeline:
    """Rebuild an encoder, or a pipeline, from the arrays of a file."""
    tensors, header = read_file(path)
    arrays = encoder_tensors(path, tensors)
    with reading(path):
        state = tensors_to_state(arrays, header["encoder"])
        # nothing else: a file decides what a photo's features are, not what this machine does
        parameters: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in header["parameters"].items()
            if name in _FEATURE_PARAMETERS
        }
        encoder = ContrastiveQualityEncoder(weights=weights, **parameters)
        encoder._validate_params()
        encoder._check_scales()
        encoder = encoder.with_state(state)
        model = encoder
        if "regressor.coef" in tensors:
            model = make_pipeline(encoder, _ridge(tensors, header, encoder))
        saved_with = dict(header["saved_with"])
    if path != BUNDLED:
        warn_of_versions(f"{os.fspath(path)!r} was saved", saved_with, stacklevel=4)
    return model


def _ridge(tensors: Arrays, header: dict[str, Any], encoder: ContrastiveQualityEncoder) -> Ridge:
    """Return the regressor of a file, which must fit the encoder."""
    coef, intercept = tensors["regressor.coef"], tensors["regressor.intercept"]
    width = len(encoder.get_feature_names_out())
    if coef.shape[-1] != width or intercept.shape != (coef.size // width,):
        raise ValueError(f"a regressor of {coef.shape} does not fit {width} features")
    ridge = fitted_ridge(
        coef, intercept if coef.ndim > 1 else intercept[0], header["regressor"]["alpha"]
    )
    ridge.card_ = dict(header["scorer"])
    return ridge


def model_card(model: BaseEstimator) -> dict[str, Any]:
    """Return what is known of a model: of its encoder's weights, and of the scorer made of them.

    Parameters
    ----------
    model : ContrastiveQualityEncoder or Pipeline
        Fitted.

    Returns
    -------
    dict
        "encoder": what the weights say of themselves. "encoder_digest": the hash of all that
        changes a feature. "scorer": what the regressor was fitted to, and how well it does; not
        there where nobody wrote it down, as for a pipeline fitted in Python. JSON can hold it.

    Examples
    --------
    >>> import skiqa
    >>> from skiqa.persistence import model_card
    >>> model_card(skiqa.load_model())["scorer"]["scale"]
    [0, 100, '100 x mean opinion score of BIQ2021']
    """
    check_is_fitted(model)
    encoder = model[0] if isinstance(model, Pipeline) else model
    card = {"encoder": encoder.state_.card, "encoder_digest": encoder.state_.digest}
    scorer = card_of(model[-1]) if isinstance(model, Pipeline) else None
    return card if not scorer else {"scorer": scorer, **card}
