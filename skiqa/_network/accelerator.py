"""Where features are computed, found out without PyTorch on machines that have only a CPU."""

from __future__ import annotations

import os
import sys
from ctypes.util import find_library

# The driver's doors: Nvidia's, that of Windows' Linux, of Nvidia's small boards, and AMD's.
_DOORS = ("/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-ctrl", "/dev/nvmap", "/dev/kfd")


def extraction_device(device: str, *, strict: bool) -> str:
    """Return the name of the device that `device` means; see `skiqa._network.device`."""
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return "cpu"
    from skiqa._network.device import resolve_device  # imports PyTorch

    return str(resolve_device(device, strict=strict))


def _may_have_gpu() -> bool:
    """Whether PyTorch might find a GPU that it calls CUDA: where not, it need not be asked."""
    if "torch" in sys.modules:
        return True
    if sys.platform == "win32":
        return any(map(find_library, ("nvcuda", "amdhip64")))
    return any(map(os.path.exists, _DOORS))
