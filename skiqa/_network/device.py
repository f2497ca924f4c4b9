"""Which device and which arithmetic: "auto" -> something torch can run."""

from __future__ import annotations

import warnings

import torch

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(device: str, *, strict: bool) -> torch.device:
    """Return the ``torch.device`` that `device` names.

    Parameters
    ----------
    device : str
        "auto" (the first CUDA device if there is one, else the CPU) or anything torch accepts.
    strict : bool
        What to do when the device is not there: raise (training), or warn and use the CPU
        (scoring, where a model made on a GPU must still give its numbers).

    Returns
    -------
    torch.device
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f'device={device!r} is no device; use "auto", "cpu" or "cuda".') from error
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    if resolved.type == "mps":
        available["mps"] = torch.backends.mps.is_available()
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        available["cuda"] = False
    if available.get(resolved.type, False):
        return resolved
    message = f"device={device!r} was asked for, but this machine has none that torch can use"
    if strict:
        raise ValueError(f'{message}. Set device="auto" or device="cpu".')
    warnings.warn(f"{message}; the CPU is used, with equal results.", UserWarning, stacklevel=6)
    return torch.device("cpu")


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in probes)


def training_dtype(
    precision: str, device: torch.device, *, depthwise: bool = False
) -> torch.dtype | None:
    """Return the autocast dtype of a training run, or None for plain float32.

    "auto" takes the short floats only where the device gains by them: bfloat16 on GPUs that have
    it (float16, with a gradient scaler, on older ones), and on CPUs with bfloat16 instructions for
    networks without depthwise convolutions. Measured with torch 2.14 (benchmarks/precision.py): a
    step of ResNet-18 or -50 is 1.7 to 2.3 times as fast with them, one of MobileNetV3-Small about
    half as fast, and one of EfficientNet-Lite0 0.8 to 1.2 times.
    """
    if precision == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        gains = device.type == "cpu" and cpu_has_bfloat16() and not depthwise
        return torch.bfloat16 if gains else None
    dtype = _DTYPES[precision]
    return None if dtype == torch.float32 else dtype


def transform_dtype(precision: str) -> torch.dtype:
    """Return the dtype of a forward pass in `transform`: float32 unless another is named."""
    return torch.float32 if precision == "auto" else _DTYPES[precision]
