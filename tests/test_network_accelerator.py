import subprocess
import sys

import pytest

from skiqa._network import accelerator
from skiqa._network.accelerator import extraction_device


def test_pytorch_is_asked_where_there_may_be_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert extraction_device("auto", strict=False) == "cuda"  # PyTorch is there: it knows
    assert extraction_device("cuda:0", strict=True) == "cuda:0"
    assert extraction_device("cpu", strict=True) == "cpu"


@pytest.mark.parametrize("door", [True, False])
def test_a_driver_opens_a_door(door, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(accelerator.os.path, "exists", lambda path: door and path == "/dev/kfd")
    assert accelerator._may_have_gpu() is door


@pytest.mark.parametrize("library", ["nvcuda", "amdhip64", None])
def test_on_windows_a_library_says_so(library, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(accelerator, "find_library", lambda name: name if name == library else None)
    assert accelerator._may_have_gpu() is (library is not None)


def test_what_is_no_device():
    code = (
        "from skiqa._network.accelerator import extraction_device\n"
        "extraction_device('gpu', strict=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "device='gpu' is no device" in done.stderr
