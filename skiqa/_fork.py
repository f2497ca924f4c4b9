"""What a forked process inherits, made fit to use: locks, and PyTorch's threads."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable


class ForkSafeLock:
    """A lock that nobody holds in a forked process, whoever held it in the parent.

    For the lifetime of the process: it is never collected. A thread may take it twice.
    """

    def __init__(self) -> None:
        self._renew()
        _after_fork(self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *raised: object) -> None:
        self._lock.release()


def _one_torch_thread() -> None:
    """Let PyTorch do without the threads that were not forked, for which it would wait for ever."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)


def _after_fork(function: Callable[[], None]) -> None:
    if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
        os.register_at_fork(after_in_child=function)


_after_fork(_one_torch_thread)
