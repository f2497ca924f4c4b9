"""Files of named tensors, of PyTorch or of safetensors; nothing in them is executed."""

from __future__ import annotations

import io
import os
import pickletools
import re
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from skiqa import _types
from skiqa._network.pickles import is_torch_file

LONGEST_NAME = 1000  # that of a tensor is no longer, by far


def read_tensors(path: _types.Path) -> dict[str, torch.Tensor]:
    """Return {name: tensor} of a file of torch.save, out of its wrappers, or of safetensors.

    Raises
    ------
    ValueError
        If it is damaged, or holds anything but tensors.
    """
    if is_torch_file(path):
        return _of_torch(Path(path))
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)!r} is damaged, or no safetensors: {error}") from error


def _of_torch(path: Path) -> dict[str, torch.Tensor]:
    """Return {name: tensor} of a file of torch.save, out of its wrappers."""
    name = os.fspath(path)
    try:
        _check_names(path)
        is_script = _is_script(path)
        found = None if is_script else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of any kind: its own unpickler follows the file wherever it leads
        function = re.search(r"GLOBAL (\S+)", str(error))
        raise ValueError(
            f"{name!r} holds {function[1]}; expected are tensors alone, and nothing in it was "
            "executed. Of a whole training run, save the state dict."
            if function
            else f"{name!r} is damaged, or was not written by torch.save."
        ) from error
    if is_script:
        raise ValueError(
            f"{name!r} is a TorchScript file, not the weights of an encoder. ARNIQA's regressors "
            "are such files: skiqa.persistence.load_regressor reads them."
        )
    for wrapper in ("state_dict", "model", "model_state_dict"):
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
            break
    if not isinstance(found, dict):
        raise ValueError(f"{name!r} holds a {type(found).__name__}, expected a dict of tensors.")
    return {
        str(key).removeprefix("module."): value
        for key, value in found.items()
        if isinstance(value, torch.Tensor)
    }


def _check_names(path: Path) -> None:
    """Raise ValueError for a text too long to be a name: PyTorch takes hours to refuse it."""
    with open(path, "rb") as file:
        streams: list[IO[bytes]] = [file] * 5  # before torch 1.6: one pickle behind the other
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(file) as archive:
                names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
                streams = [io.BytesIO(archive.read(name)) for name in names]
        for stream in streams:
            for _, argument, _ in pickletools.genops(stream):
                if isinstance(argument, str) and len(argument) > LONGEST_NAME:
                    raise ValueError(f"a name of {len(argument)} characters")


def _is_script(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def to_array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Return a tensor as an array, float32 where floating."""
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
