"""The worst photos of a folder, and where they go."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from skiqa.cli._files import Failure, printable, unwritable

__all__ = ["Destination", "worst_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _parse_worst(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> Callable[[int], int] | None:
    """Return the number of the worst as a function of the number of all."""
    if value is None:
        return None
    text = value.removesuffix("%").strip()
    try:
        number = float(text) if value.endswith("%") else int(text)
    except ValueError:
        number = 0
    if not 0 < number < math.inf or (value.endswith("%") and number > 100):
        raise click.BadParameter(f"{value!r} is neither a number, such as 10, nor 0 to 100 %")
    if value.endswith("%"):
        return lambda n: math.ceil(n * number / 100)
    return lambda n: min(n, int(number))


_OPTIONS = (
    click.option(
        "--worst",
        metavar="N|P%",
        callback=_parse_worst,
        help="Show only the N worst, or P percent of all, worst first; a --csv FILE has all.",
    ),
    click.option("--copy-to", metavar="DIR", help="Copy the --worst to a folder; made if need be."),
    click.option("--move-to", metavar="DIR", help="Move them there."),
    click.option("--dry-run", is_flag=True, help="Only say what would be copied or moved."),
)


def worst_options(command: _Command) -> _Command:
    """Add the options that choose the worst photos, as `worst`, and their `destination`."""

    @functools.wraps(command)
    def with_destination(
        *args: Any, copy_to: str | None, move_to: str | None, dry_run: bool, **options: Any
    ) -> Any:
        if copy_to and move_to:
            raise click.UsageError("choose one of --copy-to and --move-to")
        folder = copy_to or move_to
        if dry_run and not folder:
            raise click.UsageError("--dry-run is about --copy-to and --move-to")
        destination = Destination(folder, bool(move_to), dry_run) if folder else None
        return command(*args, destination=destination, **options)

    wrapped: Any = with_destination
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


@dataclass(frozen=True)
class Destination:
    """Where photos are copied or moved to: a folder in which nothing is ever overwritten."""

    folder: str
    move: bool
    dry_run: bool

    def check(self) -> None:
        """Fail before the work if nothing can be put there."""
        folder = self.folder
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise Failure(f"{printable(folder)} is a file: photos are put into a folder")
        while folder and not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        if not os.access(folder or ".", os.W_OK):
            raise Failure(f"cannot write {printable(self.folder)}: no permission")

    def copy_or_move(self, files: Sequence[str]) -> None:
        """Copy or move files, and say so on standard error."""
        done = 0
        taken: set[str] = set()
        verb = "move" if self.move else "copy"
        for file in files:
            if _same_file(os.path.dirname(file) or ".", self.folder):
                click.echo(f"{printable(file)} is there already", err=True)
                continue
            if self.dry_run:
                target = _free_name(self.folder, file, taken)
                taken.add(target)
                click.echo(f"would {verb} {printable(file)} to {printable(target)}", err=True)
                continue
            try:
                self._copy_or_move_one(file)
            except OSError as error:
                click.echo(f"{done} of {len(files)} files were put there before:", err=True)
                raise unwritable(os.path.join(self.folder, os.path.basename(file)), error) from None
            done += 1
        if done:
            past = "moved" if self.move else "copied"
            photos = "1 photo" if done == 1 else f"{done} photos"
            click.echo(f"{photos} {past} to {printable(self.folder)}", err=True)

    def _copy_or_move_one(self, file: str) -> None:
        os.makedirs(self.folder, exist_ok=True)
        while True:
            target = _free_name(self.folder, file)
            with contextlib.suppress(FileExistsError):
                open(target, "xb").close()  # holds the name, whoever else writes there
                break
        try:
            if self.move and not os.path.islink(file):
                shutil.move(file, target)  # to another disk as well
                return
            shutil.copy2(file, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(target)
            raise
        if self.move:  # what a link points to stays: it is somebody else's
            os.unlink(file)


def _free_name(folder: str, file: str, taken: Sequence[str] | set[str] = ()) -> str:
    """Return a name in a folder that nothing has, on any file system: a.jpg, a-2.jpg, ..."""
    stem, extension = os.path.splitext(os.path.basename(file))
    target, number = os.path.join(folder, stem + extension), 1
    while os.path.lexists(target) or target in taken:
        number += 1
        target = os.path.join(folder, f"{stem}-{number}{extension}")
    return target


def _same_file(one: str, other: str) -> bool:
    return os.path.exists(other) and os.path.samefile(one, other)
