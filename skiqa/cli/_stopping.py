"""A command that is told to end does so as if it were interrupted from the keyboard."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["exit_status", "told_to_end"]


class ToldToEnd(KeyboardInterrupt):
    """SIGTERM or SIGHUP: what a job scheduler, `timeout` or a closed terminal sends."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def told_to_end() -> Iterator[None]:
    """Raise a KeyboardInterrupt within the block when the process is told to end.

    What ends well when it is interrupted, keeping rows and closing lists, then does so here, too.
    A second signal ends it at once, as ever.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise ToldToEnd(number)

    # not what somebody ignores, such as nohup, or handles
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [n for n in map(signal.Signals.__getitem__, names) if _ends_us(n)]
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _ends_us(number: signal.Signals) -> bool:
    in_main = threading.current_thread() is threading.main_thread()  # the only one that is told
    return in_main and signal.getsignal(number) is signal.SIG_DFL


def exit_status(error: KeyboardInterrupt) -> int:
    """Return the status of what the interrupt ended, as shells count: 128 + the signal's number."""
    return 128 + (error.number if isinstance(error, ToldToEnd) else signal.SIGINT)
