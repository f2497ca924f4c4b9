"""A progress bar on standard error, for anything that takes more than two seconds."""

from contextlib import contextmanager


@contextmanager
def progress_bar(description, total, *, enabled, unit="images"):
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
        ``advance(n=1, note="")``: `n` more units are done; `note` is shown at the end.
    """
    if not enabled:
        yield lambda n=1, note="": None
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
        def render(self, task):
            return Text(f"{task.speed:.1f} {unit}/s" if task.speed else f"- {unit}/s")

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(),
               TimeRemainingColumn(), TextColumn("{task.fields[note]}")]  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total, note="")

        def advance(n=1, note=None):
            bar.update(task, advance=n, **({} if note is None else {"note": note}))

        yield advance
