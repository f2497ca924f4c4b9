"""``skiqa evaluate``."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

import click

from skiqa._progress import progress_bar
from skiqa.cli._files import Failure, in_the_way, jobs_option, printable, unwritable, warnings_shown
from skiqa.cli._fit import column_options, load_table
from skiqa.cli._outputs import WholeStream, csv_line, to_spreadsheet
from skiqa.cli._score import load_scorer
from skiqa.distributed._rows import iter_rows

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from sklearn.pipeline import Pipeline
    from sklearn.utils import Bunch

__all__ = ["evaluate"]

WriteLine: TypeAlias = Callable[[Sequence[object]], None]

CONFIDENCE = 0.95
CSV_HEADER = ["database", "file", "target", "score", "degradation", "error"]


@click.command()
@click.argument("model", default="default", type=click.Path())
@click.option(
    "--on",
    "sources",
    multiple=True,
    required=True,
    metavar="NAME=PLACE",
    help="A database of skiqa.datasets and its folder, such as kadid10k=/data/kadid10k, or RATINGS,"
    " a table (.csv, .tsv, .txt or .xlsx), with or without a name of yours. As often as you like.",
)
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False),
    help="Folder that the file names of RATINGS are relative to.",
)
@column_options
@click.option("--split", metavar="PART", help="Only this part of each: train, val or test.")
@click.option("--by", type=click.Choice(["degradation"]), help="A row for each type, too.")
@click.option(
    "--mapping",
    type=click.Choice(["logistic4", "logistic5", "none"]),
    default="logistic4",
    show_default=True,
    help="Curve before PLCC and RMSE.",
)
@click.option("--csv", "csv_path", metavar="FILE", help="Write the score of each image to FILE.")
@click.option("--overwrite", is_flag=True, help="Replace the --csv FILE of an earlier run.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of the rows.")
@click.option("--cache-dir", metavar="DIR", help="Keep features there for another run.")
@jobs_option
def evaluate(
    model: str,
    sources: tuple[str, ...],
    images: str | None,
    split: str | None,
    by: str | None,
    mapping: str,
    csv_path: str | None,
    overwrite: bool,
    as_json: bool,
    cache_dir: str | None,
    jobs: int,
    **columns: Any,
) -> None:
    """Test a scorer, as it is, on databases of photos with opinion scores.

    MODEL is a file of skiqa.persistence.save, such as skiqa fit writes, or "default", the scorer
    that comes with skiqa. Prints a Markdown table: SROCC and how far it would move with other
    photos (95 % bootstrap interval, contents drawn as wholes), KROCC, and PLCC and RMSE after a
    logistic fitted to each database (PLCC is negative where that falls). Of fewer than 30 photos
    nothing can be told, and the table says so. Only photos that MODEL was not fitted to tell how
    good it is.

    Exit status: 0 if all images were scored, 1 if one could not be read (it is left out), 2 if the
    command could not be carried out.
    """
    if csv_path is not None and (problem := in_the_way(csv_path, overwrite, "--csv")):
        raise Failure(problem)
    with warnings_shown():
        databases = [_load_database(source, images, split, columns) for source in sources]
        scorer = load_scorer(None if model == "default" else model)
        if cache_dir is not None:
            scorer[0].set_params(cache_dir=cache_dir)
        if model == "default":
            _warn_of_training_photos(databases)
        measures: list[dict[str, Any]] = []
        n_unreadable = 0
        with _csv_lines(csv_path) as write_line:
            for name, data in databases:
                scores = _score_database(scorer, name, data, jobs, write_line)
                n_unreadable += sum(map(math.isnan, scores))
                measures += _measure(name, data, scores, mapping, by)
    click.echo(json.dumps(measures, indent=1) if as_json else _format_table(measures, mapping))
    if n_unreadable:
        click.echo(f"{n_unreadable} images could not be read, left out", err=True)
    sys.exit(1 if n_unreadable else 0)


def _load_database(
    source: str, images: str | None, split: str | None, columns: dict[str, Any]
) -> tuple[str, Bunch]:
    """Return (name, Bunch) of what stands behind --on, images without a score left out."""
    import numpy as np
    from sklearn.utils import Bunch

    name, equals, place = source.partition("=")
    if not equals:
        name, place = os.path.basename(source), source
    try:
        if not place.lower().endswith((".csv", ".tsv", ".txt", ".xlsx")):
            data = _find_loader(name)(place, split=split)
        elif images is None:
            raise Failure(f"--images is missing: the folder of the images in {printable(place)}")
        else:
            data = load_table(images, place, **columns, split=split)
    except (OSError, ValueError, ImportError) as error:
        raise Failure(f"--on {printable(source)}: {error}") from None
    rated = np.isfinite(data.target)
    if not rated.any():
        raise Failure(f"--on {printable(source)}: none of its images has an opinion score")
    if not rated.all():
        message = f"{(~rated).sum():,} images without a score, left out"
        click.echo(f"{printable(name)}: {message}", err=True)
    keys = ("data", "target", "groups", "degradation", "split")
    kept = {key: None if data[key] is None else data[key][rated] for key in keys}
    return name, Bunch(**kept, loader=_letters_and_digits(name))


def _find_loader(name: str) -> Callable[..., Bunch]:
    from skiqa import datasets

    loaders = {
        loader.removeprefix("load_"): getattr(datasets, loader)
        for loader in datasets.__all__
        if loader.startswith("load_") and loader != "load_folder"
    }
    for known, loader in loaders.items():
        if _letters_and_digits(name) == _letters_and_digits(known):
            return loader
    raise ValueError(
        f"there is no database {printable(name)!r}. Known are {', '.join(loaders)}; or give a "
        "table of ratings of your own, --on RATINGS.csv --images DIR"
    )


def _letters_and_digits(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))  # KADID-10k is kadid10k


def _warn_of_training_photos(databases: Sequence[tuple[str, Bunch]]) -> None:
    for _, data in databases:
        if data.loader == "biq2021" and set(data.split.tolist()) != {"test"}:
            click.echo(
                "Note: the bundled scorer was fitted to photos of BIQ2021's training part; only "
                "--split test is new to it",
                err=True,
            )
        elif data.loader == "clive":
            click.echo("Note: the bundled scorer was fitted to the photos of CLIVE", err=True)


@contextlib.contextmanager
def _csv_lines(path: str | None) -> Iterator[WriteLine]:
    """Yield what writes a line to the --csv file, if there is one."""
    if path is None:
        path = os.devnull
    try:
        opened = open(path, "wb", buffering=0)  # noqa: SIM115 - closed below
    except OSError as error:
        raise unwritable(path, error) from None
    with opened:
        stream = WholeStream(cast("BinaryIO", opened), path)

        def write_line(fields: Sequence[object]) -> None:
            cells = ["" if field is None else field for field in fields]
            texts = [to_spreadsheet(c) if isinstance(c, str) else str(c) for c in cells]
            stream.write(csv_line(texts))

        write_line(CSV_HEADER)
        yield write_line


def _score_database(
    model: Pipeline, name: str, data: Bunch, jobs: int, write_line: WriteLine
) -> npt.NDArray[np.float64]:
    """Return the scores, NaN of images that cannot be read; each is written to the CSV."""
    import numpy as np

    from skiqa.sources import Named

    files, scores = data.data.tolist(), np.full(len(data.data), np.nan)
    pictures = [Named(file, file) for file in files]
    types = [None] * len(files) if data.degradation is None else data.degradation.tolist()
    with progress_bar(printable(name), len(files), enabled=True) as advance:
        for index, row in enumerate(iter_rows(model, pictures, jobs)):
            write_line([name, row.file, data.target[index], row.score, types[index], row.error])
            if row.error is None:
                scores[index] = row.score
            else:
                click.echo(f"cannot be read: {printable(row.file)}: {row.error}", err=True)
            advance()
    return scores


def _measure(
    name: str, data: Bunch, scores: npt.NDArray[np.float64], mapping: str, by: str | None
) -> list[dict[str, Any]]:
    """Return the rows of the table for one database."""
    import numpy as np

    from skiqa.model_selection import Evaluation, srocc_interval
    from skiqa.model_selection._evaluation import FEW

    if np.isfinite(scores).sum() < 2:
        raise Failure(f"{printable(name)}: fewer than two of its images can be read")
    y = np.where(np.isnan(scores), np.nan, data.target)
    found = Evaluation.from_predictions(
        y,
        scores,
        groups=data.groups,
        degradation=data.degradation if by else None,
        mapping=None if mapping == "none" else mapping,
    )
    rows = []
    for kind, values in {None: found.scores, **found.by_degradation}.items():
        of_kind = np.isfinite(y) & (True if kind is None else data.degradation == kind)
        low = high = None
        if len(set(data.groups[of_kind])) > 1:
            interval = srocc_interval(
                scores[of_kind], y[of_kind], groups=data.groups[of_kind], confidence=CONFIDENCE
            )
            low, high = interval.low, interval.high
        few = int(of_kind.sum()) < FEW
        what = {"database": name, "degradation": kind, "images": int(of_kind.sum())}
        measured = {
            key: None if math.isnan(value[0]) else float(value[0]) for key, value in values.items()
        }
        rows.append(what | measured | {"srocc_low": low, "srocc_high": high, "few": few})
    return rows


def _format_table(rows: Sequence[dict[str, Any]], mapping: str) -> str:
    from skiqa.model_selection._evaluation import FEW
    from skiqa.model_selection._tables import format_score, markdown_table

    def cell(metric: str, value: float | None) -> str:
        return "-" if value is None else format_score(metric, value)

    lines = []
    for row in rows:
        name = row["database"] if row["degradation"] is None else f"- {row['degradation']}"
        interval = " to ".join(cell("srocc", row[key]) for key in ("srocc_low", "srocc_high"))
        interval = "-" if row["srocc_low"] is None else interval
        srocc, *others = (cell(key, row[key]) for key in ("srocc", "plcc", "krocc", "rmse"))
        images = f"{row['images']:,}{' *' * row['few']}"
        lines.append([printable(name), images, srocc, interval, *others])
    header = ["", "images", "SROCC", f"{100 * CONFIDENCE:g} % interval", "PLCC", "KROCC", "RMSE"]
    notes = [] if mapping == "none" else [f"PLCC and RMSE after {mapping}."]
    if any(row["few"] for row in rows):
        notes.append(f"* Of fewer than {FEW} images nothing can be told.")
    return "\n\n".join([markdown_table(header, lines), *notes])
