"""A progress bar on standard error, for anything that takes more than two seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Task
    from rich.text import Text


class Advance(Protocol):
    """What moves a bar on: `n` more units are done; `note`, unless None, is shown at its end."""

    def __call__(self, n: int = 1, note: str | None = None) -> None: ...


@contextmanager
def progress_bar(
    description: str, total: int, *, enabled: bool, unit: str = "images"
) -> Iterator[Advance]:
    """Show a bar with rate and time left while the block runs.

    Parameters
    ----------
    description : str
        What is being done.
    total : int
        How many units there are.
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
    with Progress(what, *counts, note_at_end, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(n: int = 1, note: str | None = None) -> None:
            bar.update(task, advance=n)
            if note is not None:
                bar.update(task, note=note)

        yield advance


def _show_nothing(n: int = 1, note: str | None = None) -> None:
    """Stand in for a bar that is not shown."""
