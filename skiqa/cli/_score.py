"""``skiqa score``."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skiqa._progress import progress_bar
from skiqa.cli._files import (
    Failure,
    find_images,
    jobs_option,
    printable,
    reason,
    recursive_option,
    warnings_shown,
)
from skiqa.cli._outputs import (
    CsvOutput,
    JsonOutput,
    Output,
    TableOutput,
    csv_file,
    read_scored,
)

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from skiqa._types import Path as AnyPath

__all__ = ["load_scorer", "max_pixels_option", "model_option", "score", "scores_of_files"]

model_option = click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False),
    help="A scorer saved by skiqa.persistence.save; without it the one that comes with skiqa.",
)


def _parse_max_pixels(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> int | str | None:
    if value is None or value == "native":
        return value
    try:
        pixels = round(float(value))  # 1e6 is a megapixel
    except (ValueError, OverflowError):
        pixels = 0
    if pixels < 1024:
        raise click.BadParameter(
            f"{value!r} is neither a number of pixels, 1024 or more, nor native"
        )
    return pixels


max_pixels_option = click.option(
    "--max-pixels",
    metavar="N",
    callback=_parse_max_pixels,
    help="Look at photos at no more than N pixels (such as 1e6), or at their native size; without "
    "it at what the model says.",
)


def scores_of_files(
    model: Pipeline, files: Sequence[str], jobs: int
) -> Iterator[tuple[str, float | None, str | None]]:
    """Yield (file, score or None, error text or None) in order."""
    from skiqa.persistence import iter_quality

    with contextlib.closing(iter_quality(model, files, n_jobs=jobs)) as rows:
        for index, score, error in rows:
            if error is not None:
                yield files[index], None, reason(error, index, files[index])
            elif not math.isfinite(score):
                yield files[index], None, f"the model gave {score}"
            else:
                yield files[index], score, None


def load_scorer(path: AnyPath | None, max_pixels: int | str | None = None) -> Pipeline:
    """Load the model in a file, or the one that comes with skiqa, with a viewing size."""
    from skiqa.persistence import load_model

    try:
        model = load_model(path)
    except (OSError, ValueError, TypeError) as error:
        raise Failure(f"cannot load the model {printable(path or '')}: {error}") from error
    if max_pixels is not None:
        model[0].set_params(max_pixels=None if max_pixels == "native" else max_pixels)
    return model


def _parse_shard(context: click.Context, parameter: click.Parameter, value: str | None) -> slice:
    if value is None:
        return slice(None)
    first, _, count = value.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise click.BadParameter(f"{value!r} is not of the form i/n with 1 <= i <= n, such as 2/8")
    return slice(int(first) - 1, None, int(count))


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option(
    "--csv", "csv_path", metavar="FILE", help="Write rows to FILE as they come; `-` for the output."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
@model_option
@max_pixels_option
@recursive_option
@jobs_option
@click.option(
    "--on-error",
    type=click.Choice(["nan", "raise"]),
    default="nan",
    show_default=True,
    help="An unreadable file is a row without a score, or the end.",
)
@click.option("--resume", is_flag=True, help="Keep the scores in the --csv file, add the others.")
@click.option(
    "--shard",
    metavar="I/N",
    callback=_parse_shard,
    help="Score every N-th file only, from the I-th.",
)
@click.pass_context
def score(
    context: click.Context,
    /,
    paths: tuple[str, ...],
    csv_path: str | None,
    as_json: bool,
    model: str | None,
    max_pixels: int | str | None,
    recursive: bool,
    jobs: int,
    on_error: str,
    resume: bool,
    shard: slice,
) -> None:
    """Score images: 100 x the predicted mean opinion score, higher is better.

    PATHS are image files, folders, patterns such as "photos/*.jpg", or - for a list of paths on
    standard input, one a line. On a terminal the result is a table, worst first; else it is CSV
    with the columns file, score, error, in the order of PATHS.

    An interrupted run keeps the rows of its --csv file, and the same command with --resume goes on
    from there, with the same model; files that could not be read are tried again.

    Exit status: 0 if all files have a score, 1 if one could not be read, 2 if the command could
    not be carried out.
    """
    if csv_path and as_json:
        raise click.UsageError("choose one of --csv and --json")
    path = None if csv_path in (None, "-") else Path(csv_path)
    if resume and path is None:
        raise click.UsageError("--resume needs the --csv FILE to go on with")
    files = find_images(paths, recursive)[shard]
    scored: list[list[str]] | None = None
    rewrite = False
    if resume and path is not None and path.exists():
        scored, rewrite = read_scored(path)
        earlier = {row[0] for row in scored}
        files = [file for file in files if file not in earlier]

    with warnings_shown():
        try:
            # before the file is opened, and emptied
            loaded = load_scorer(model, max_pixels) if files else None
            opened: AbstractContextManager[Output]
            if path is not None:
                opened = csv_file(path, scored, rewrite)
            else:
                opened = contextlib.nullcontext(_standard_output(as_json, csv_path == "-"))
            with opened as output:
                to_file = path is not None
                status = _score_files(loaded, files, jobs, on_error, output, to_file)
        except KeyboardInterrupt:
            status = 130
        except BrokenPipeError:  # `skiqa score photos | head`: nobody listens any more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 141  # as for any program that SIGPIPE ends
    context.exit(status)


def _standard_output(as_json: bool, as_csv: bool) -> Output:
    stdout = sys.stdout.buffer
    if as_json:
        return JsonOutput(stdout)
    return CsvOutput(stdout) if as_csv or not sys.stdout.isatty() else TableOutput()


def _score_files(
    model: Pipeline | None,
    files: Sequence[str],
    jobs: int,
    on_error: str,
    output: Output,
    to_file: bool,
) -> int:
    """Score `files` into `output`; return the exit status."""
    if not files:
        output.close()
        return 0
    # rows that run over the terminal leave no place for a bar
    over_terminal = output.streams and not to_file and sys.stdout.isatty()
    bar = sys.stderr.isatty() and not over_terminal
    n_scored, failed = 0, 0
    stopped: str | None = None
    try:
        with progress_bar("scoring", len(files), enabled=bar) as advance:
            for file, value, error in scores_of_files(model, files, jobs):
                if error is not None:
                    failed += 1
                    if on_error == "raise":
                        stopped = f"{printable(file)}: {error}"
                        break
                output.add(file, value, error)
                n_scored += 1
                advance()
    except KeyboardInterrupt:
        output.close()
        hint = "; --resume goes on from there" if to_file else ""
        click.echo(f"interrupted after {n_scored} of {len(files)} files{hint}", err=True)
        return 130
    output.close()
    if stopped:
        click.echo(f"Error: {stopped}", err=True)
    elif failed:
        click.echo(f"{failed} of {len(files)} files could not be read", err=True)
    return 1 if failed else 0
