"""``skiqa report``."""

import base64
import contextlib
import hashlib
import importlib.resources
import io
import json
import math
import os
import re
import sys
import time
from pathlib import Path
from urllib.parse import quote

import click

from skiqa import __version__
from skiqa.cli._files import (
    Failure,
    find_images,
    in_the_way,
    jobs_option,
    printable,
    reason,
    recursive_option,
    unwritable,
    warnings_shown,
)
from skiqa.cli._score import load_scorer, model_option

__all__ = ["report"]

SIDE = 160  # pixels: the page shows thumbnails at this size
JPEG_QUALITY = 70
GRID = (16, 16)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option("--html", required=True, metavar="FILE.html", help="Page to write.")
@model_option
@click.option("--no-maps", is_flag=True, help="Leave out the quality maps.")
@recursive_option
@jobs_option
@click.option(
    "--on-error",
    type=click.Choice(["nan", "raise"]),
    default="nan",
    show_default=True,
    help="An unreadable file is listed apart, or the end.",
)
@click.option("--overwrite", is_flag=True, help="Replace the --html FILE of an earlier run.")
@click.pass_context
def report(context, paths, html, model, no_maps, recursive, jobs, on_error, overwrite):
    """Write a page that shows photos and their scores, for any browser.

    PATHS are image files, folders, patterns, or - for a list of paths on standard input. The page
    is one file that loads nothing else: thumbnails to be ordered and filtered by score and name,
    with a quality map under the pointer that says where a photo is better or worse, as far as the
    model is linear in its features. Photos are linked relative to the page: keep both together.

    Interrupted, it writes a page of the photos done until then, which says so.

    Exit status: 0 if the page shows all files, 1 if one could not be read, 2 if the command could
    not be carried out.
    """
    if not html.lower().endswith((".html", ".htm")):
        raise click.BadParameter(f"{printable(html)} must end in .html", param_hint="--html")
    files = find_images(paths, recursive)
    if problem := in_the_way(html, overwrite, "--html"):
        raise Failure(problem)
    source = ", ".join(map(printable, paths)) if len(paths) < 4 else f"{len(paths)} arguments"
    about = {
        "source": source,
        "model": printable(model) if model else "the scorer that comes with skiqa",
        "made": f"skiqa {__version__}, {time.strftime('%Y-%m-%d %H:%M')}",
    }
    with warnings_shown():
        scorer = load_scorer(model)
        try:
            status = _run(scorer, files, html, jobs, on_error, not no_maps, about)
        except OSError as error:  # the disk is full
            raise unwritable(html, error) from None
    context.exit(status)


def _run(model, files, html, jobs, on_error, maps, about):
    """Score `files` into the page `html`; return the exit status."""
    from skiqa._progress import progress_bar
    from skiqa.exceptions import ImageError

    folder = os.path.dirname(html) or "."
    photos = _with_thumbnails(files)
    unreadable, notes, status = [], [], 0
    if problem := _not_linear(model) if maps else "left out by --no-maps.":
        notes.append(f"No quality maps: {problem}")
        maps = False
    with _Page(html) as page:
        try:
            with (
                progress_bar("scoring", len(files), enabled=sys.stderr.isatty()) as advance,
                contextlib.closing(_scored(model, photos, jobs, maps)) as rows,
            ):
                for index, score, cells, error in rows:
                    file = files[index]
                    shown = {"name": printable(file), "link": _link(file, folder)}
                    try:
                        if error is not None:
                            raise error
                        shown["thumbnail"], shown["size"] = photos.thumbnail(index)
                        problem = None if math.isfinite(score) else f"the model gave {score}"
                    except ImageError as error:
                        problem = reason(error, index, file)
                    if problem is None:
                        page.add(shown | {"score": round(score, 6)} | _encoded(cells))
                    elif on_error == "raise":
                        click.echo(f"Error: {printable(file)}: {printable(problem)}", err=True)
                        return 1
                    else:
                        unreadable.append({**shown, "reason": printable(problem)})
                    advance()
        except KeyboardInterrupt:
            done = page.n + len(unreadable)
            click.echo(f"interrupted after {done} of {len(files)} files", err=True)
            if not page.n:
                return 130
            notes.append(f"Interrupted: {done} of {len(files)} files were looked at.")
            status = 130
        page.close(**about, grid=GRID if maps else None, unreadable=unreadable, notes=notes)
    if unreadable:
        click.echo(f"{len(unreadable)} of {len(files)} files could not be read", err=True)
    click.echo(f"{printable(html)}: {page.n} photos, {os.path.getsize(html) / 1e6:.1f} MB")
    return status or int(bool(unreadable))


def _not_linear(model):
    """Return why the scores of a model cannot be split over a photo; None if they can."""
    from skiqa.inspection._score_split import iter_quality_maps

    try:
        iter_quality_maps(model, [b""], GRID).close()
    except TypeError as error:
        return str(error)
    return None


def _scored(model, photos, jobs, maps):
    """Yield (index, score, map or None, ImageError or None)."""
    from skiqa.inspection._score_split import iter_quality_maps
    from skiqa.persistence import iter_quality

    if maps:
        yield from iter_quality_maps(model, photos, GRID, n_jobs=jobs)
    else:
        for index, score, error in iter_quality(model, photos, n_jobs=jobs):
            yield index, score, None, error


def _with_thumbnails(files):
    """Return the files as images that keep a thumbnail of each photo when it is decoded."""
    from PIL import Image

    from skiqa._inputs.images import ImageList

    class Photos(ImageList):
        def __init__(self, files):
            super().__init__(files)
            self.made = {}  # of the few that are decoded ahead

        def load(self, index):
            pixels = super().load(index)
            photo = Image.fromarray(pixels)
            photo.thumbnail((SIDE, SIDE))
            data = io.BytesIO()
            photo.save(data, "JPEG", quality=JPEG_QUALITY)
            self.made[index] = base64.b64encode(data.getvalue()).decode(), pixels.shape[1::-1]
            return pixels

        def thumbnail(self, index):
            """Return (JPEG in base64, (width, height) of the photo), once."""
            if index not in self.made:  # its features were in the model's cache
                self.load(index)
            return self.made.pop(index)

    return Photos(files)


def _encoded(cells):
    """Return a map as the page draws it: a byte for each cell, its share of the largest difference.

    The differences are to the mean, the largest one in units of the score is its `reach`.
    """
    if cells is None:
        return {}
    difference = cells * cells.size - cells.sum()
    reach = float(abs(difference).max()) or 1.0
    bytes_ = (128 + 127 * difference / reach).round().astype("uint8").tobytes()
    return {"map": base64.b64encode(bytes_).decode(), "reach": float(f"{reach:.4g}")}


def _link(file, folder):
    """Return a photo's address for a page in `folder`."""
    try:
        path = os.path.relpath(file, folder)
    except ValueError:  # another drive of Windows
        return Path(os.path.abspath(file)).as_uri()
    return quote(os.fsencode(path.replace(os.sep, "/")))


class _Page:
    """The page while it is written, photo by photo; it appears whole, in `close`, or not at all."""

    def __init__(self, html):
        template = importlib.resources.files("skiqa.cli").joinpath("report.html")
        template = template.read_text(encoding="utf-8")
        self.before, self.between, self.after = re.split(
            r"\{\{photos\}\}|\{\{report\}\}", template.replace("{{policy}}", _policy(template))
        )
        self.html, self.temporary, self.n = html, f"{html}.{os.getpid()}.tmp", 0

    def __enter__(self):
        self.file = open(self.temporary, "w", encoding="utf-8", newline="\n")
        self.file.write(self.before + "[")
        return self

    def __exit__(self, kind, error, traceback):
        self.file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.temporary)

    def add(self, photo):
        self.file.write((",\n" if self.n else "") + _json(photo))
        self.n += 1

    def close(self, **report):
        self.file.write("]" + self.between + _json(report) + self.after)
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        os.replace(self.temporary, self.html)


def _policy(template):
    """Return what the page may do: run this script and show its own pictures, nothing else."""
    sources = {}
    for tag in ("script", "style"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", template, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        sources[tag] = f"'sha256-{digest}'"
    return (
        f"default-src 'none'; img-src data:; script-src {sources['script']}; "
        f"style-src {sources['style']}; base-uri 'none'; form-action 'none'"
    )


def _json(value):
    """Return JSON that can stand in a script element: no text in it ends the element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
