"""``skiqa degrade``."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO, cast

import click

from skiqa._disk import whole_file
from skiqa._progress import progress_bar
from skiqa.cli._files import (
    Failure,
    find_images,
    printable,
    recursive_option,
    unwritable,
    warnings_shown,
)
from skiqa.cli._outputs import WholeStream, csv_line, to_spreadsheet
from skiqa.cli._stopping import exit_status, told_to_end
from skiqa.cli._variants import Variant, find_bank, plan_variants
from skiqa.distributed._rows import reason
from skiqa.exceptions import ImageError

if TYPE_CHECKING:
    from skiqa._types import Pixels
    from skiqa.degradations import Bank

__all__ = ["degrade"]

TABLE = "degradations.csv"
HEADER = ["file", "source", "sequence", "seed"]
LEVELS = (1, 2, 3, 4, 5)


def _parse_levels(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    if value is None:
        return None
    levels = [part.strip() for part in value.split(",")]
    if not all(level in map(str, LEVELS) for level in levels):
        raise click.BadParameter(f"{value!r} is not of the form 1,3,5 with levels 1..5")
    return tuple(dict.fromkeys(map(int, levels)))


def _run_scripts(
    context: click.Context, parameter: click.Parameter, scripts: tuple[str, ...]
) -> None:
    """Run Python files, for what they register."""
    for script in scripts:
        loader = SourceFileLoader("skiqa_own_degradations", script)
        module = ModuleType(loader.name)
        module.__file__ = script
        try:
            loader.exec_module(module)
        except Exception as error:  # whatever a user's own code may raise
            text = f"{type(error).__name__}: {error}"
            raise Failure(f"cannot register {printable(script)}: {text}") from None


def _print_operators(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from skiqa.degradations import get_operator, list_operators

    columns = ("operator", "group", "family", "levels 1 to 5", "monotone", "random", "source")
    click.echo(f"| {' | '.join(columns)} |")
    click.echo(f"| {' | '.join(['---'] * len(columns))} |")
    for operator in map(get_operator, list_operators()):
        levels = ", ".join(f"{value:.4g}" for value in operator.levels)
        flags = ["yes" if flag else "no" for flag in (operator.monotone, operator.random)]
        row = (
            operator.name,
            operator.group,
            operator.family or "",
            levels,
            *flags,
            operator.source,
        )
        click.echo(f"| {' | '.join(row)} |")
    context.exit()


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option("--out", required=True, metavar="DIR", help="Folder to write to; made if need be.")
@click.option(
    "--operators",
    metavar="A,B",
    help="Degradations, groups (blur, noise, ...) or banks (kadis, arniqa, ...); without it all.",
)
@click.option(
    "--levels", callback=_parse_levels, metavar="1,3,5", help="Levels; without it 1 to 5."
)
@click.option(
    "--sequence",
    "texts",
    multiple=True,
    metavar="TEXT",
    help='Such as "gaussian_blur:3 > jpeg:2"; may be given several times.',
)
@click.option(
    "--space",
    type=click.Choice(["arniqa", "contrique", "qpt", "qpt_small", "reiqa"]),
    help="Draw sequences from the space of a paper; of --operators, if these are given.",
)
@click.option(
    "--register",
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=_run_scripts,
    metavar="FILE.py",
    help="Python file that registers degradations of your own; may be given several times.",
)
@click.option("--n", type=click.IntRange(1), help="How many to draw for each photo; 10.")
@click.option(
    "--seed",
    type=click.IntRange(-(2**63), 2**63 - 1),
    default=0,
    show_default=True,
    help="The same seed gives the same pictures.",
)
@click.option(
    "--gallery",
    metavar="FILE",
    help="Also draw one photo's grid, operators by levels; needs skiqa[plot].",
)
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_operators,
    help="Print a table of the degradations, in Markdown, and exit.",
)
@recursive_option
@click.option("--overwrite", is_flag=True, help="Replace pictures of an earlier run.")
@click.pass_context
def degrade(
    context: click.Context,
    /,
    paths: tuple[str, ...],
    out: str,
    operators: str | None,
    levels: tuple[int, ...] | None,
    texts: tuple[str, ...],
    space: str | None,
    n: int | None,
    seed: int,
    gallery: str | None,
    recursive: bool,
    overwrite: bool,
) -> None:
    """Degrade photos, and write them to a folder as PNG.

    PATHS are image files, folders, patterns, or - for a list of paths on standard input. Each photo
    is written once for every operator and level, for every --sequence, or for --n random sequences
    of a --space. DIR/degradations.csv says what was done: file, source, sequence, seed, from which
    skiqa.degradations.apply_sequences makes the same pixels again. No input is ever overwritten.

    Exit status: 0 if all photos were degraded, 1 if one could not be read, 2 if the command could
    not be carried out.
    """
    if texts and (space or operators or levels):
        raise click.UsageError("--sequence goes with none of --space, --operators and --levels")
    if space and levels:
        raise click.UsageError("--space draws the levels: leave out --levels")
    if n is not None and not space:
        raise click.UsageError("--n is the number of draws from a --space")
    files = find_images(paths, recursive)
    if gallery and (texts or space or len(files) > 1):
        raise click.UsageError("--gallery shows operators by levels of one photo")
    if gallery:
        _load_matplotlib()
    levels = levels or LEVELS
    try:
        bank = find_bank(operators)
        plan = plan_variants(files, bank, levels, texts, space, n or 10, seed)
    except ValueError as error:  # an unknown operator, text or bank
        raise Failure(str(error)) from None
    _refuse_to_overwrite(files, out, [v.file for _, vs in plan for v in vs], gallery, overwrite)
    with warnings_shown(), told_to_end():
        try:
            status = _write_variants(files, plan, Path(out))
            if gallery and status == 0:
                _draw_gallery(files[0], bank, levels, seed, gallery)
        except KeyboardInterrupt as error:
            click.echo(f"interrupted; {TABLE} lists what was written", err=True)
            status = exit_status(error)
    context.exit(status)


# ---------------------------------------------------------------- what is not overwritten


def _identity(path: str) -> tuple[int, int] | None:
    """Return what two names of one file have in common; None if there is no such file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _refuse_to_overwrite(
    files: Sequence[str], out: str, written: Sequence[str], gallery: str | None, overwrite: bool
) -> None:
    """Fail before anything is written if something of value is in the way."""
    if os.path.lexists(out) and not os.path.isdir(out):
        raise Failure(f"{printable(out)} is a file: --out takes a folder")
    inputs = {_identity(file) for file in files} - {None}
    targets = [os.path.join(out, name) for name in [TABLE, *written]]
    for target in [*targets, *([gallery] if gallery else [])]:
        if _identity(target) in inputs:
            raise Failure(f"{printable(target)} is one of the photos: give another folder")
        if os.path.lexists(target) and not overwrite:
            raise Failure(
                f"{printable(target)} exists: give another folder, or --overwrite to replace it"
            )


# ---------------------------------------------------------------- writing


def _write_variants(
    files: Sequence[str], plan: Sequence[tuple[str, Sequence[Variant]]], out: Path
) -> int:
    """Write all variants and the table of them; return the exit status."""
    from skiqa._inputs.containers import as_image_list
    from skiqa._inputs.prefetch import iter_decoded
    from skiqa.degradations import format_sequence

    errors: list[str] = []
    total = sum(len(variants) for _, variants in plan)
    with contextlib.ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            opened = stack.enter_context(open(out / TABLE, "wb", buffering=0))
        except OSError as error:
            raise unwritable(out, error) from None
        table = WholeStream(cast("BinaryIO", opened), out / TABLE)
        table.write(csv_line(HEADER))
        bar = progress_bar("degrading", total, enabled=True)
        advance = stack.enter_context(bar)
        photos = stack.enter_context(
            contextlib.closing(iter_decoded(as_image_list(files), prefetch=1, on_error="nan"))
        )
        for p, photo in photos:
            file, variants = plan[p]
            if isinstance(photo, ImageError):
                errors.append(f"{printable(file)}: {printable(reason(photo))}")
                advance(len(variants))
                continue
            for variant in variants:
                try:
                    _write_picture(photo, variant, out)
                except OSError as error:  # the disk is full
                    raise unwritable(out / variant.file, error) from None
                names = map(to_spreadsheet, (variant.file, file))
                text = format_sequence(variant.sequence)
                table.write(csv_line([*names, text, str(variant.seed)]))
                advance()
    for message in errors:
        click.echo(f"Error: {message}", err=True)
    if errors:
        click.echo(f"{len(errors)} of {len(files)} photos could not be read", err=True)
    return 1 if errors else 0


def _write_picture(photo: Pixels, variant: Variant, out: Path) -> None:
    """Write one picture; it appears whole or not at all."""
    from PIL import Image

    from skiqa.degradations import apply_sequences
    from skiqa.degradations._pillow import from_bytes, to_bytes

    degraded = apply_sequences(from_bytes(photo[None]), [variant.sequence], variant.seed)
    target = out / variant.file
    with whole_file(target) as file:
        Image.fromarray(to_bytes(degraded)[0]).save(file, format="PNG")


# ---------------------------------------------------------------- the gallery


def _load_matplotlib() -> None:
    try:
        import matplotlib
    except ImportError:
        raise Failure('--gallery needs matplotlib: pip install "skiqa[plot]"') from None
    matplotlib.use("Agg")  # no window, no display


def _draw_gallery(
    file: str, bank: Bank | None, levels: Sequence[int], seed: int, target: str
) -> None:
    from skiqa.inspection import DegradationGalleryDisplay

    display = DegradationGalleryDisplay.from_photo(
        file, operators=bank or "all", levels=levels, seed=seed, verbose=sys.stderr.isatty()
    )
    try:
        display.figure_.savefig(target, dpi=170)  # enough for every pixel of the pictures
    except OSError as error:
        raise unwritable(target, error) from None
    except ValueError as error:  # a format that matplotlib does not write
        raise Failure(f"cannot write {printable(target)}: {error}") from None
