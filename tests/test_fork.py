"""Forked workers of a process that has loaded, used or is just building networks. Real forks."""

import os
import subprocess
import sys

import pytest
import ready_python

from skiqa._fork import ForkSafeLock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")

START = """
import multiprocessing, threading
import numpy as np
import skiqa

photos = list(np.random.default_rng(0).integers(0, 256, (3, 96, 128, 3), np.uint8))
model = skiqa.load_model()

def work(photo):
    return model.predict([photo])[0]

def check(expected=None):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(work, photos).get(timeout=50)
    np.testing.assert_allclose(found, model.predict(photos) if expected is None else expected)
"""


# two threads each, whatever the machine: with one there is nothing that a fork could lose
TWO_THREADS = os.environ | {"OMP_NUM_THREADS": "2"}


def _run_python(code):
    command = [sys.executable, "-c", START + code]
    subprocess.run(command, check=True, timeout=100, env=TWO_THREADS)


def test_after_loading():
    _run_python("check()")


def test_after_scoring_in_pytorch():
    code = """
model.set_params(contrastivequalityencoder__precision="bfloat16")
expected = model.predict(photos)
import torch
assert torch.get_num_threads() == 2
check(expected)
"""
    done = ready_python.run("-c", START + code, env=TWO_THREADS)
    assert done.returncode == 0, done.stderr


def test_while_another_thread_builds_a_network():
    _run_python(
        """
from skiqa._network import live_engines
entered, go_on = threading.Event(), threading.Event()
real = live_engines._engines
def slow(*args):
    if threading.current_thread() is builder:
        entered.set()
        go_on.wait()
    return real(*args)
live_engines._engines = slow
builder = threading.Thread(target=model.predict, args=(photos,))
builder.start()
entered.wait()  # it holds the lock
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map_async(work, photos).get(timeout=50)
go_on.set()
builder.join()
np.testing.assert_allclose(found, model.predict(photos))
"""
    )


def test_a_lock_is_free_in_the_child():
    lock = ForkSafeLock()
    with lock:
        child = os.fork()
        if not child:
            with lock:
                os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        with lock:  # a second time in the same thread
            pass
