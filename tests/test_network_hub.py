"""Weights of timm with no network: found among earlier downloads, or refused at once."""

import http.server
import threading
import time

import numpy as np
import pytest
from conftest import TINY
from huggingface_hub import constants
from safetensors.numpy import save_file

from skiqa._network import hub
from skiqa._network.build import random_state_of, timm_state


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path


def test_no_network_is_an_error_at_once(cache):
    start = time.monotonic()
    with pytest.raises(
        ValueError, match=r"model\.safetensors of timm/.*weights='default'"
    ) as error:
        timm_state(TINY)
    assert time.monotonic() - start < 5  # the hub's client tries for 50 s
    assert str(cache) in str(error.value)
    assert "refused" in str(error.value)


def test_offline_is_said(cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        timm_state(TINY)


def test_earlier_downloads_need_no_network(cache):
    expected = random_state_of(TINY, 3)
    folder = cache / f"models--timm--{TINY}"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    head = {"fc.weight": np.zeros((1000, 320), "f4"), "fc.bias": np.zeros(1000, "f4")}
    save_file(expected.networks[0] | head, folder / "snapshots" / "abc" / "model.safetensors")
    assert timm_state(TINY).digest == expected.digest


def test_a_hub_that_answers_is_asked_no_further(cache, monkeypatch):
    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(403)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        hub.check_hub("timm/any")
