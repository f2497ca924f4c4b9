"""``skiqa report``."""

from __future__ import annotations

import base64
import contextlib
import math
import os
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import click

from skiqa import __version__
from skiqa._inputs.addresses import is_address
from skiqa._progress import progress_bar
from skiqa._sources.films import Films, time_of
from skiqa._sources.kinds import is_film, is_shard, is_table
from skiqa.cli._files import (
    Failure,
    find_images,
    in_the_way,
    jobs_option,
    printable,
    recursive_option,
    unwritable,
    warnings_shown,
)
from skiqa.cli._page import Page
from skiqa.cli._score import (
    allow_damaged_option,
    column_option,
    describe_scale,
    every_option,
    frames_option,
    load_scorer,
    max_pixels_option,
    model_option,
    out_of,
)
from skiqa.cli._stopping import exit_status, told_to_end
from skiqa.distributed._rows import reason
from skiqa.exceptions import ImageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from sklearn.pipeline import Pipeline

    from skiqa._types import Images
    from skiqa.cli._thumbnails import PhotosWithThumbnails

    _Scored = tuple[int, float, npt.NDArray[np.float64] | None, ImageError | None, tuple[str, ...]]

__all__ = ["report"]

GRID = (16, 16)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option("--html", required=True, metavar="FILE.html", help="Page to write.")
@model_option
@max_pixels_option
@click.option("--no-maps", is_flag=True, help="Leave out the quality maps.")
@recursive_option
@jobs_option
@allow_damaged_option
@click.option(
    "--on-error",
    type=click.Choice(["nan", "raise"]),
    default="nan",
    show_default=True,
    help="An unreadable file is listed apart, or the end.",
)
@click.option("--overwrite", is_flag=True, help="Replace the --html FILE of an earlier run.")
@column_option
@frames_option
@every_option
@click.pass_context
def report(
    context: click.Context,
    /,
    paths: tuple[str, ...],
    html: str,
    model: str | None,
    max_pixels: int | str | None,
    no_maps: bool,
    recursive: bool,
    jobs: int,
    allow_damaged: bool,
    on_error: str,
    overwrite: bool,
    column: str | None,
    frames: int,
    every: float | None,
) -> None:
    """Write a page that shows photos and their scores, for any browser.

    PATHS are image files, folders, patterns, addresses, shards, or - for a list on standard input,
    as of skiqa score. The page is one file that loads nothing else: thumbnails to be ordered and
    filtered by score and name, with a quality map under the pointer that says where a photo is
    better or worse, as far as the model is linear in its features. Photos are linked relative to
    the page: keep both together.

    Of a film the page shows frames, their scores as a curve over time, and the worst of them.

    Interrupted, it writes a page of the photos done until then, which says so.

    Exit status: 0 if the page shows all files, 1 if one could not be read, 2 if the command could
    not be carried out.
    """
    if not html.lower().endswith((".html", ".htm")):
        raise click.BadParameter(f"{printable(html)} must end in .html", param_hint="--html")
    files = find_images(paths, recursive, films=True)
    if problem := in_the_way(html, overwrite, "--html"):
        raise Failure(problem)
    source = ", ".join(map(printable, paths)) if len(paths) < 4 else f"{len(paths)} arguments"
    about = {
        "source": source,
        "model": printable(model) if model else "the scorer that comes with skiqa",
        "made": f"skiqa {__version__}, {time.strftime('%Y-%m-%d %H:%M')}",
    }
    with warnings_shown(), told_to_end():
        scorer = load_scorer(model, max_pixels, allow_damaged)
        about["scale"] = describe_scale(model, scorer)
        try:
            how = (jobs, on_error, not no_maps, about, column, Films(frames, every))
            status = _write_page(scorer, files, html, *how)
        except OSError as error:  # the disk is full
            raise unwritable(html, error) from None
    context.exit(status)


def _write_page(
    model: Pipeline,
    files: Sequence[str],
    html: str,
    jobs: int,
    on_error: str,
    maps: bool,
    about: dict[str, str],
    column: str | None,
    films: Films,
) -> int:
    """Score `files` into the page `html`; return the exit status."""
    from skiqa.cli._thumbnails import PhotosWithThumbnails
    from skiqa.sources import iter_images

    folder = os.path.dirname(html) or "."
    pictures = iter_images(files, column=column, films=films)
    photos = PhotosWithThumbnails(pictures)
    count = None if any(is_shard(file) or is_film(file) for file in files) else len(files)
    unreadable: list[dict[str, Any]] = []
    notes: list[str] = []
    status = 0
    if problem := _why_no_maps(model) if maps else "left out by --no-maps.":
        notes.append(f"No quality maps: {problem}")
        maps = False
    with Page(html) as page:
        try:
            with (
                progress_bar("scoring", count, enabled=True) as advance,
                contextlib.closing(pictures),
                contextlib.closing(_iter_scores(model, photos, jobs, maps)) as rows,
            ):
                for row in rows:
                    file = photos.names[row[0]]
                    shown, problem = _shown(file, folder, photos, row)
                    if problem is None:
                        page.add(shown)
                    elif on_error == "raise":
                        click.echo(f"Error: {printable(file)}: {printable(problem)}", err=True)
                        return 1
                    else:
                        unreadable.append({**shown, "reason": printable(problem)})
                    advance()
        except KeyboardInterrupt as error:
            n_seen = page.n_photos + len(unreadable)
            seen = out_of(n_seen, count)
            click.echo(f"interrupted after {seen}", err=True)
            if not page.n_photos:
                return exit_status(error)
            notes.append(f"Interrupted: {seen} were looked at.")
            status = exit_status(error)
        page.close(**about, grid=GRID if maps else None, unreadable=unreadable, notes=notes)
    if unreadable:
        n_seen = page.n_photos + len(unreadable)
        click.echo(f"{out_of(len(unreadable), count or n_seen)} could not be read", err=True)
    click.echo(f"{printable(html)}: {page.n_photos} photos, {os.path.getsize(html) / 1e6:.1f} MB")
    return status or int(bool(unreadable))


def _shown(
    file: str, folder: str, photos: PhotosWithThumbnails, row: _Scored
) -> tuple[dict[str, Any], str | None]:
    """Return what a page in `folder` shows of a photo, and why it has no score, if it has none."""
    index, score, cells, error, flags = row
    shown: dict[str, Any] = {"name": printable(file), "link": _link(file, folder)}
    try:
        if error is not None:
            raise error
        shown["thumbnail"], shown["size"] = photos.thumbnail(index)
    except ImageError as error:
        return shown, reason(error)
    if not math.isfinite(score):
        return shown, f"the model gave {score}"
    shown |= {"score": round(score, 6)} | ({"flags": flags} if flags else {})
    if frame := time_of(file):
        shown |= {"film": printable(frame[0]), "time": frame[1]}
    return shown | _encode_map(cells), None


def _why_no_maps(model: Pipeline) -> str | None:
    """Return why the scores of a model cannot be split over a photo; None if they can."""
    from skiqa.inspection._score_split import iter_quality_maps

    try:
        iter_quality_maps(model, [b""], GRID).close()
    except TypeError as error:
        return str(error)
    return None


def _iter_scores(
    model: Pipeline, photos: PhotosWithThumbnails, jobs: int, maps: bool
) -> Generator[_Scored, None, None]:
    """Yield (index, score or NaN, map or None, ImageError or None, flags)."""
    from skiqa.inspection._score_split import iter_quality_maps
    from skiqa.persistence import iter_quality

    X = cast("Images", photos)  # which the encoder takes, too
    if maps:
        with contextlib.closing(iter_quality_maps(model, X, GRID, n_jobs=jobs)) as splits:
            for index, score, cells, error, flags in splits:
                yield index, math.nan if score is None else score, cells, error, flags
    else:
        with contextlib.closing(iter_quality(model, X, n_jobs=jobs)) as scores:
            for index, score, error, flags, _ in scores:
                yield index, score, None, error, flags


def _encode_map(cells: npt.NDArray[np.float64] | None) -> dict[str, Any]:
    """Return a map as the page draws it: a byte for each cell, its part of the largest difference.

    The differences are to the mean, the largest one in units of the score is its `reach`.
    """
    if cells is None:
        return {}
    difference = cells * cells.size - cells.sum()
    reach = float(abs(difference).max()) or 1.0
    bytes_ = (128 + 127 * difference / reach).round().astype("uint8").tobytes()
    return {"map": base64.b64encode(bytes_).decode(), "reach": float(f"{reach:.4g}")}


def _link(file: str, folder: str) -> str:
    """Return a photo's address for a page in `folder`; of one in a shard, that of the shard.

    That of a frame is that of the film, which browsers open at that time.
    """
    if frame := time_of(file):
        film = _link(frame[0], folder)
        return film if film == "#" else f"{film}#t={frame[1]:g}"
    if file.startswith(("http://", "https://")):
        return file
    if is_address(file):
        file = file.rpartition("::")[2].removeprefix("file://")
    elif is_table(table := file.rpartition("#")[0]):
        file = table
    if is_address(file):  # no browser opens these
        return "#"
    try:
        path = os.path.relpath(file, folder)
    except ValueError:  # another drive of Windows
        return Path(os.path.abspath(file)).as_uri()
    return quote(os.fsencode(path.replace(os.sep, "/")))
