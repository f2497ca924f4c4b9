import warnings

import pytest
import torch

from skiqa import ContrastiveQualityEncoder
from skiqa._network.device import resolve_device, training_dtype, transform_dtype


@pytest.fixture
def no_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.fixture
def one_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


@pytest.mark.usefixtures("no_cuda")
def test_auto_is_the_cpu_without_a_gpu():
    assert resolve_device("auto", strict=True) == torch.device("cpu")
    assert resolve_device("cpu", strict=True) == torch.device("cpu")


@pytest.mark.usefixtures("one_gpu")
def test_gpus_are_counted():
    assert resolve_device("auto", strict=True) == torch.device("cuda")
    assert resolve_device("cuda:0", strict=True) == torch.device("cuda:0")
    with pytest.raises(ValueError, match="device='cuda:1' was asked for"):
        resolve_device("cuda:1", strict=True)


@pytest.mark.usefixtures("no_cuda")
def test_a_missing_gpu_stops_training_and_not_scoring():
    with pytest.raises(ValueError, match=r"this machine has none.*device=\"auto\""):
        resolve_device("cuda", strict=True)
    with pytest.warns(UserWarning, match="the CPU is used, with equal results"):
        assert resolve_device("cuda", strict=False) == torch.device("cpu")
    encoder = ContrastiveQualityEncoder(device="cuda")
    with pytest.raises(ValueError, match="device='cuda' was asked for"):
        encoder.fit(["not opened.jpg"])
    encoder.set_params(device="cpu").fit(["not opened.jpg"]).set_params(device="cuda")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encoder.transform([torch.zeros(3, 32, 32)])
    assert len(caught) == 1
    assert caught[0].filename == __file__  # it points to the user's line


@pytest.mark.parametrize("strict", [True, False])
def test_unknown_devices(strict):
    with pytest.raises(ValueError, match="device='gpu' is no device"):
        resolve_device("gpu", strict=strict)


def test_arithmetic_of_training(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert training_dtype("float32", cpu) is None
    assert training_dtype("bfloat16", cpu) == torch.bfloat16
    for has, expected in ((True, torch.bfloat16), (False, None)):
        monkeypatch.setattr("skiqa._network.device.cpu_has_bfloat16", lambda has=has: has)
        assert training_dtype("auto", cpu) == expected
        assert training_dtype("auto", cpu, depthwise=True) is None
    for has, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has: has)
        assert training_dtype("auto", cuda) == expected


def test_arithmetic_of_transform_is_float32_unless_named():
    assert transform_dtype("auto") == transform_dtype("float32") == torch.float32
    assert transform_dtype("bfloat16") == torch.bfloat16
