"""``skiqa evaluate``."""

import contextlib
import json
import math
import os
import sys

import click

from skiqa.cli._files import Failure, in_the_way, jobs_option, printable, unwritable, warnings_shown
from skiqa.cli._fit import column_options, load_table
from skiqa.cli._rows import csv_line
from skiqa.cli._score import load_scorer, scores_of_files

__all__ = ["evaluate"]

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
    " a .csv or .xlsx table, with or without a name of yours. As often as you like.",
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
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of the rows.")
@click.option("--cache-dir", metavar="DIR", help="Keep features there for another run.")
@jobs_option
def evaluate(
    model, sources, images, split, by, mapping, csv_path, as_json, cache_dir, jobs, **columns
):
    """Test a scorer, as it is, on databases of photos with opinion scores.

    MODEL is a file of skiqa.persistence.save, such as skiqa fit writes, or "default", the scorer
    that comes with skiqa. Prints a Markdown table: SROCC and how far it would move with other
    photos (95 % bootstrap interval, contents drawn as wholes), KROCC, and PLCC and RMSE after a
    logistic fitted to each database. Only photos that MODEL was not fitted to tell how good it
    is.

    Exit status: 0 if all images were scored, 1 if one could not be read (it is left out), 2 if the
    command could not be carried out.
    """
    if csv_path is not None and (problem := in_the_way(csv_path, overwrite=True)):
        raise Failure(problem)
    with warnings_shown():
        databases = [_load(source, images, split, columns) for source in sources]
        scorer = load_scorer(None if model == "default" else model)
        if cache_dir is not None:
            scorer[0].set_params(cache_dir=cache_dir)
        if model == "default":
            _warn_of_training_photos(databases)
        rows, failed = [], 0
        with _csv(csv_path) as write:
            for name, data in databases:
                scores, errors = _scored(scorer, name, data, jobs, write)
                failed += errors
                rows += _rows(name, data, scores, mapping, by)
    click.echo(json.dumps(rows, indent=1) if as_json else _table(rows, mapping))
    if failed:
        click.echo(f"{failed} images could not be read, left out", err=True)
    sys.exit(1 if failed else 0)


def _load(source, images, split, columns):
    """Return (name, Bunch) of what stands behind --on, images without a score left out."""
    import numpy as np
    from sklearn.utils import Bunch

    name, equals, place = source.partition("=")
    if not equals:
        name, place = os.path.basename(source), source
    try:
        if not place.lower().endswith((".csv", ".xlsx")):
            data = _loader(name)(place, split=split)
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
        click.echo(f"{printable(name)}: {(~rated).sum():,} images without a score, left out",
                   err=True)  # fmt: skip
    keys = ("data", "target", "groups", "degradation", "split")
    kept = {key: None if data[key] is None else data[key][rated] for key in keys}
    return name, Bunch(**kept, loader=_plain(name))


def _loader(name):
    from skiqa import datasets

    loaders = {
        loader.removeprefix("load_"): getattr(datasets, loader)
        for loader in datasets.__all__
        if loader.startswith("load_") and loader != "load_folder"
    }
    for known, loader in loaders.items():
        if _plain(name) == _plain(known):
            return loader
    raise ValueError(
        f"there is no database {printable(name)!r}. Known are {', '.join(loaders)}; or give a "
        "table of ratings of your own, --on RATINGS.csv --images DIR"
    )


def _plain(name):
    return "".join(filter(str.isalnum, name.lower()))  # KADID-10k is kadid10k


def _warn_of_training_photos(databases):
    for _, data in databases:
        if data.loader == "biq2021" and set(data.split.tolist()) != {"test"}:
            click.echo(
                "Note: the bundled scorer was fitted to photos of BIQ2021's training part; only "
                "--split test is new to it",
                err=True,
            )


@contextlib.contextmanager
def _csv(path):
    """Yield what writes a row to the --csv file, if there is one."""
    if path is None:
        yield lambda fields: None
        return
    try:
        with open(path, "wb") as stream:

            def write(fields):
                stream.write(csv_line(["" if field is None else str(field) for field in fields]))

            write(CSV_HEADER)
            yield write
    except OSError as error:
        raise unwritable(path, error) from None


def _scored(model, name, data, jobs, write):
    """Return (scores, NaN where there is none; the number of these), each written to the CSV."""
    import numpy as np

    from skiqa._progress import progress_bar

    files, scores = data.data.tolist(), np.full(len(data.data), np.nan)
    types = [None] * len(files) if data.degradation is None else data.degradation.tolist()
    with progress_bar(printable(name), len(files), enabled=sys.stderr.isatty()) as advance:
        for index, (file, score, error) in enumerate(scores_of_files(model, files, jobs)):
            write([name, file, data.target[index], score, types[index], error])
            if error is None:
                scores[index] = score
            else:
                click.echo(f"cannot be read: {printable(file)}: {error}", err=True)
            advance()
    return scores, int(np.isnan(scores).sum())


def _rows(name, data, scores, mapping, by):
    """Return the rows of the table for one database."""
    import numpy as np

    from skiqa.model_selection import Evaluation, srocc_interval

    if np.isfinite(scores).sum() < 2:
        raise Failure(f"{printable(name)}: fewer than two of its images can be read")
    y = np.where(np.isnan(scores), np.nan, data.target)
    found = Evaluation.from_predictions(
        y, scores, groups=data.groups, degradation=data.degradation if by else None,
        mapping=None if mapping == "none" else mapping,
    )  # fmt: skip
    rows = []
    for kind, values in {None: found.scores, **found.by_degradation}.items():
        of_kind = np.isfinite(y) & (True if kind is None else data.degradation == kind)
        low = high = None
        if len(set(data.groups[of_kind])) > 1:
            interval = srocc_interval(
                scores[of_kind], y[of_kind], groups=data.groups[of_kind], confidence=CONFIDENCE
            )
            low, high = interval.low, interval.high
        measured = {
            key: None if math.isnan(value[0]) else float(value[0]) for key, value in values.items()
        }
        rows.append({"database": name, "degradation": kind, "images": int(of_kind.sum()),
                     **measured, "srocc_low": low, "srocc_high": high})  # fmt: skip
    return rows


def _table(rows, mapping):
    from skiqa.model_selection._tables import markdown, number

    def cell(metric, value):
        return "-" if value is None else number(metric, value)

    lines = []
    for row in rows:
        name = row["database"] if row["degradation"] is None else f"- {row['degradation']}"
        interval = " to ".join(cell("srocc", row[key]) for key in ("srocc_low", "srocc_high"))
        lines.append([
            printable(name), f"{row['images']:,}", cell("srocc", row["srocc"]),
            "-" if row["srocc_low"] is None else interval,
            *(cell(metric, row[metric]) for metric in ("plcc", "krocc", "rmse")),
        ])  # fmt: skip
    header = ["", "images", "SROCC", f"{100 * CONFIDENCE:g} % interval", "PLCC", "KROCC", "RMSE"]
    note = "" if mapping == "none" else f"\n\nPLCC and RMSE after {mapping}."
    return markdown(header, lines) + note
