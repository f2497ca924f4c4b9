"""Files of weights -> the state of an encoder."""

import json
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from skiqa._inputs.digests import file_key
from skiqa._network.authors_files import is_torch_file, official_state
from skiqa._network.state import EncoderState

FORMAT = 1
BUNDLED = Path(__file__).parents[1] / "weights" / "default.skiqa"


def write_file(path, tensors, header):
    """Write named arrays and a JSON header as safetensors, in one piece or not at all."""
    path = Path(path)
    metadata = {"skiqa": json.dumps({"format": FORMAT, **header})}
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(save_tensors(tensors, metadata=metadata))
    temporary.replace(path)


def read_file(path):
    """Return the (arrays, header) of a skiqa file; nothing in it is ever executed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a skiqa file, is damaged, or was written by a later version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r} to read weights from.")
    data = path.read_bytes()
    try:
        tensors = load_tensors(data)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["skiqa"])
        later = header["format"] > FORMAT
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} is not a file of skiqa (safetensors with a skiqa header), or it is "
            f"damaged: {error}"
        ) from error
    if later:
        raise ValueError(
            f"{str(path)!r} has format {header['format']}; this skiqa reads up to {FORMAT}. "
            "Upgrade skiqa."
        )
    return tensors, header


def state_to_tensors(state, dtype=np.float32):
    """Return a state as (flat named arrays, JSON-able header); weights rounded to `dtype`."""
    tensors = {}
    for expert, arrays in enumerate(state.networks):
        for name, array in arrays.items():
            small = array.dtype.kind == "f" and not name.endswith("running_var")
            tensors[f"network.{expert}.{name}"] = array.astype(dtype) if small else array
    tensors |= {f"head.{name}": array for name, array in state.head.items()}
    if state.center is not None:
        tensors |= {"center": state.center, "scale": state.scale}
    header = {
        "backbone": state.backbone, "mean": state.mean, "std": state.std, "card": state.card,
        "unit_norm": state.unit_norm, "reference_scales": state.reference_scales,
        "versions": state.versions,
    }  # fmt: skip
    if state.content is not None:
        content, header["content"] = state_to_tensors(state.content, dtype)
        tensors |= {f"content.{name}": array for name, array in content.items()}
    return {k: np.asarray(v, order="C") for k, v in tensors.items()}, header


def tensors_to_state(tensors, header):
    """Return the state that `state_to_tensors` took apart, in float32."""
    parts = {}
    for key, array in tensors.items():
        kind, _, name = key.partition(".")
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        parts.setdefault(kind, {})[name] = array
    content = None
    if "content" in header:
        content = tensors_to_state(parts["content"], header["content"])
    networks = {}
    for key, array in parts["network"].items():
        expert, _, name = key.partition(".")
        networks.setdefault(int(expert), {})[name] = array
    return EncoderState(
        backbone=header["backbone"],
        networks=[networks[k] for k in sorted(networks)],
        mean=header["mean"],
        std=header["std"],
        head=parts.get("head"),
        unit_norm=header.get("unit_norm", True),  # files of skiqa 0.1.0 do not say
        center=parts.get("center", {}).get(""),
        scale=parts.get("scale", {}).get(""),
        reference_scales=header["reference_scales"],
        versions=header["versions"],
        card=header["card"],
        content=content,
    )


def load_state(path):
    """Return the encoder state in a file of skiqa, CONTRIQUE, ARNIQA or Re-IQA.

    A skiqa bundle's regressor is left aside. A file that has not changed since is not read again:
    a search fits its encoder a hundred times.
    """
    try:
        found = os.stat(path)
    except OSError:
        return _load_state(path)  # which says what is wrong with it
    return _load_state_again(os.fspath(path), file_key(found))


@lru_cache(maxsize=2)
def _load_state_again(path, _):
    return _load_state(path)


def _load_state(path):
    if os.path.isfile(path) and is_torch_file(path):
        return official_state(path)
    tensors, header = read_file(path)
    encoder = {
        k.removeprefix("encoder."): v for k, v in tensors.items() if k.startswith("encoder.")
    }
    if not encoder:
        raise ValueError(f"{str(path)!r} is a file of skiqa, but holds no encoder.")
    return tensors_to_state(encoder, header["encoder"])
