"""Progress on standard error, for anything that takes more than two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Task
    from rich.text import Text

SECONDS_BETWEEN_LINES = 30.0


class Advance(Protocol):
    """What moves a bar on: `n` more units are done; `note`, unless None, is shown at its end."""

    def __call__(self, n: int = 1, note: str | None = None) -> None: ...


@contextmanager
def progress_bar(
    description: str, total: int | None, *, enabled: bool, unit: str = "images"
) -> Iterator[Advance]:
    """Show a bar with rate and time left while the block runs; in a log, a line now and then.

    Parameters
    ----------
    description : str
        What is being done.
    total : int or None
        How many units there are; None: nobody knows.
    enabled : bool
        False: nothing is shown, and rich is not even imported.
    unit : str, default="images"
        What is counted.

    Yields
    ------
    callable
        ``advance(n=1, note=None)``: `n` more units are done; `note`, unless None, is shown at the
        end.
    """
    if not enabled:
        yield _show_nothing
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not (sys.stderr.isatty() or console.is_jupyter):
        yield _lines(description, total, unit)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f} {unit}/s" if task.speed else f"- {unit}/s")

    what, note_at_end = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
    counts = BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn()
    with Progress(what, *counts, note_at_end, console=console) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(n: int = 1, note: str | None = None) -> None:
            bar.update(task, advance=n)
            if note is not None:
                bar.update(task, note=note)

        yield advance


def _lines(description: str, total: int | None, unit: str) -> Advance:
    """Return what writes a line each half minute, for a log that a bar would fill with rubbish."""
    start = last = time.monotonic()
    done = 0

    def advance(n: int = 1, note: str | None = None) -> None:
        nonlocal last, done
        done += n
        now = time.monotonic()
        if now - last < SECONDS_BETWEEN_LINES:
            return
        last = now
        rate = done / (now - start)
        end = f", {note}" if note else ""
        if total is None:
            line = f"{description}: {done} {unit}, {rate:.1f} {unit}/s{end}"
        else:
            left = f"{(total - done) / rate / 60:.1f} min left" if done else "nothing done yet"
            line = f"{description}: {done} of {total} {unit}, {rate:.1f} {unit}/s, {left}{end}"
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    return advance


def _show_nothing(n: int = 1, note: str | None = None) -> None:
    """Stand in for a bar that is not shown."""
