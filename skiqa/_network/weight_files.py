"""Weight files -> the state of an encoder."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from skiqa import _types
from skiqa._disk import whole_file
from skiqa._inputs.digests import file_key
from skiqa._network.graph import Graph
from skiqa._network.open_clip_names import TOWER
from skiqa._network.pickles import is_torch_file
from skiqa._network.state import EncoderState, hash_array
from skiqa._types import Arrays

FORMAT = 1
BUNDLED = Path(__file__).parents[1] / "weights" / "default.skiqa"
# Without its weights no graph comes near it: the bundled network's has 0.14 MB.
_LARGEST_GRAPH = 2**24
_LONGEST_HEADER = 10**8  # as safetensors has it
# Fields of a state that are no arrays.
_IN_HEADER = (
    "backbone",
    "mean",
    "std",
    "card",
    "unit_norm",
    "reference_scales",
    "max_pixels",
    "versions",
)


def write_file(path: _types.Path, tensors: Arrays, header: dict[str, Any]) -> None:
    """Write named arrays and a JSON header as safetensors, in one piece or not at all."""
    header = json.loads(json.dumps({"format": FORMAT, **header}))  # as it will be read
    header["digest"] = _digest(tensors, header)
    data = save_tensors(tensors, metadata={"skiqa": json.dumps(header)})
    with whole_file(path) as file:
        file.write(data)


def read_file(path: _types.Path) -> tuple[Arrays, dict[str, Any]]:
    """Return the (arrays, header) of a skiqa file; nothing in it is ever executed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a skiqa file, was written by a later version, or is not what was written.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {str(path)!r} to read weights from.")
    data = Path(path).read_bytes()
    with reading(path):
        tensors = load_tensors(data)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["skiqa"])
        later, written = header["format"] > FORMAT, header.pop("digest")
        found = _digest(tensors, header)
    if later:
        raise ValueError(
            f"{str(path)!r} has format {header['format']}; this skiqa reads up to {FORMAT}. "
            "Upgrade skiqa."
        )
    if found != written:
        raise ValueError(
            f"{str(path)!r} is damaged: what it holds is not what was written. Copy or download it "
            "again."
        )
    return tensors, header


@contextmanager
def reading(path: _types.Path) -> Iterator[None]:
    """Turn whatever is raised by a file that does not hold what it should into a ValueError."""
    try:
        yield
    except (
        SafetensorError,
        zlib.error,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"{str(path)!r} is not a file of skiqa (safetensors with a skiqa header), or it is "
            f"damaged: {error or type(error).__name__}"
        ) from error


def _digest(tensors: Arrays, header: dict[str, Any]) -> str:
    """Return the hash of all that a file holds, whatever the order in which it lies there."""
    h = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, array in sorted(tensors.items()):
        hash_array(h, name, array)
    return h.hexdigest()


def state_to_tensors(
    state: EncoderState, dtype: npt.DTypeLike = np.float32
) -> tuple[Arrays, dict[str, Any]]:
    """Return a state as (flat named arrays, JSON-able header); weights rounded to `dtype`."""
    tensors: Arrays = {}
    for expert, arrays in enumerate(state.networks):
        for name, array in arrays.items():
            may_round = array.dtype.kind == "f" and not name.endswith("running_var")
            tensors[f"network.{expert}.{name}"] = array.astype(dtype) if may_round else array
    tensors |= {f"head.{name}": array for name, array in state.head.items()}
    if state.center is not None and state.scale is not None:
        tensors |= {"center": state.center, "scale": state.scale}
    header = {name: getattr(state, name) for name in _IN_HEADER}
    header["graphs"] = {}
    for pooling, graph in state.graphs.items():
        tensors[f"graph.{pooling}"] = np.frombuffer(zlib.compress(graph.structure, 9), np.uint8)
        kept = {"stride": graph.stride, "width": graph.width}
        header["graphs"][pooling] = kept | {"shapes": dict(graph.shapes)}
    if state.content is not None:
        content, header["content"] = state_to_tensors(state.content, dtype)
        tensors |= {f"content.{name}": array for name, array in content.items()}
    return {k: np.asarray(v, order="C") for k, v in tensors.items()}, header


def tensors_to_state(tensors: Arrays, header: dict[str, Any]) -> EncoderState:
    """Return the state that `state_to_tensors` took apart, in float32."""
    tensors = {
        key: array.astype(np.float32) if array.dtype.kind == "f" else array
        for key, array in tensors.items()
    }
    parts = _by_first_name(tensors)
    content = None
    if "content" in header:
        content = tensors_to_state(parts["content"], header["content"])
    networks = _by_first_name(parts["network"])
    return EncoderState(
        networks=[networks[expert] for expert in sorted(networks, key=int)],
        head=parts.get("head", {}),
        center=tensors.get("center"),
        scale=tensors.get("scale"),
        content=content,
        graphs={
            pooling: _graph(parts["graph"][pooling], fields)
            for pooling, fields in header.get("graphs", {}).items()
        },
        **{name: header[name] for name in _IN_HEADER},
    )


def _graph(structure: npt.NDArray[np.uint8], fields: dict[str, Any]) -> Graph:
    shapes = {name: tuple(shape) for name, shape in fields["shapes"].items()}
    unpacking = zlib.decompressobj()
    unpacked = unpacking.decompress(structure.tobytes(), _LARGEST_GRAPH)
    if not unpacking.eof:
        raise ValueError(f"its graph is cut off, or unpacks to more than {_LARGEST_GRAPH} bytes")
    return Graph(structure=unpacked, **fields | {"shapes": shapes})


def _by_first_name(tensors: Arrays) -> dict[str, Arrays]:
    """Group arrays by what stands before the first dot in their names, which keep the rest."""
    groups: dict[str, Arrays] = {}
    for key, array in tensors.items():
        first, _, rest = key.partition(".")
        groups.setdefault(first, {})[rest] = array
    return groups


def load_state(path: _types.Path, backbone: str | None = None) -> EncoderState:
    """Return the encoder state in a file of skiqa, CONTRIQUE, ARNIQA, Re-IQA or open_clip.

    A skiqa bundle's regressor is left aside. A file that has not changed since is not read again:
    a search fits its encoder a hundred times.

    Parameters
    ----------
    path : str or path
    backbone : str or None, default=None
        timm's name of the network, which weights of open_clip do not tell.
    """
    try:
        found = os.stat(path)
    except OSError:
        return _read_state(path, backbone)  # which says what is wrong with it
    return _read_state_once(os.fspath(path), backbone, file_key(found))


@lru_cache(maxsize=2)
def _read_state_once(path: str, backbone: str | None, key: tuple[int, ...]) -> EncoderState:
    """Read a file again only if `key`, which changes with it, is another."""
    return _read_state(path, backbone)


def _read_state(path: _types.Path, backbone: str | None) -> EncoderState:
    if os.path.isfile(path) and (is_torch_file(path) or _is_of_open_clip(path)):
        from skiqa._network.others_weights import others_state  # imports PyTorch

        return others_state(path, backbone)
    arrays, header = read_file(path)
    arrays = encoder_tensors(path, arrays)
    with reading(path):
        return tensors_to_state(arrays, header["encoder"])


def _is_of_open_clip(path: _types.Path) -> bool:
    """Is it a file of safetensors without skiqa's header, but with an image tower?"""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length if length < _LONGEST_HEADER else 0)
    try:
        found = json.loads(header)
    except (ValueError, RecursionError):
        return False
    if not isinstance(found, dict) or "skiqa" in (found.get("__metadata__") or {}):
        return False
    return any(name.startswith(TOWER) for name in found)


def encoder_tensors(path: _types.Path, tensors: Arrays) -> Arrays:
    """Return the arrays of a file's encoder; ValueError if it holds none."""
    groups = _by_first_name(tensors)
    if "encoder" not in groups:
        raise ValueError(f"{os.fspath(path)!r} is a file of skiqa, but holds no encoder.")
    return groups["encoder"]
