"""``skiqa score``."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import click

from skiqa._inputs.addresses import is_address, public_name
from skiqa._progress import progress_bar
from skiqa._sources.films import EVENLY, Films
from skiqa._sources.kinds import is_film, is_shard
from skiqa.cli._csv_file import about_scores, is_replaceable, locked
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
from skiqa.cli._outputs import (
    HEADER,
    WITH_BOUNDS,
    CsvOutput,
    JsonOutput,
    Output,
    TableOutput,
    Together,
    WorstFirst,
    drop_standard_output,
)
from skiqa.cli._parquet_folder import ParquetFolder
from skiqa.cli._stopping import exit_status, told_to_end
from skiqa.cli._worst import Destination, worst_options
from skiqa.distributed._rows import Row, iter_rows

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from skiqa._types import Path as AnyPath

__all__ = [
    "allow_damaged_option",
    "column_option",
    "describe_scale",
    "every_option",
    "frames_option",
    "load_scorer",
    "max_pixels_option",
    "model_option",
    "out_of",
    "score",
]

model_option = click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False),
    help="A scorer of your own, as skiqa fit writes it; without it the one that comes with skiqa.",
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


allow_damaged_option = click.option(
    "--allow-damaged",
    is_flag=True,
    help="Score damaged files as far as they decode, flagged; without it they are unreadable.",
)


def load_scorer(
    path: AnyPath | None,
    max_pixels: int | str | None = None,
    allow_damaged: bool = False,
    interval: float | None = None,
) -> Pipeline:
    """Load the model in a file, or the one that comes with skiqa, with options of commands.

    One that has no intervals of the level `interval` is refused.
    """
    from skiqa.persistence import load_model

    try:
        model = load_model(path)
    except (OSError, ValueError, TypeError) as error:
        raise Failure(f"cannot load the model {printable(path or '')}: {error}") from error
    if interval is not None:
        from skiqa._intervals import Intervals
        from skiqa._quality import card_of

        try:
            Intervals(card_of(model[-1]), interval)
        except ValueError as error:
            raise Failure(f"--interval: {error}") from None
    if max_pixels is not None:
        model[0].set_params(max_pixels=None if max_pixels == "native" else max_pixels)
    if allow_damaged:
        model[0].set_params(allow_damaged=True)
    return model


def describe_scale(path: AnyPath | None, model: Pipeline | None) -> str:
    """Say on what scale the scores of the model in a file are."""
    if path is None:
        return "Scores are about 0 (bad) to 100 (excellent); higher is better."
    from skiqa._quality import card_of

    which = f"the ratings that {printable(path)} was fitted to"
    match None if model is None else card_of(model[-1]).get("scale"):
        case [int() | float() as low, int() | float() as high, str(name)]:
            which = f"{printable(name)}, where ratings are from {low:g} to {high:g}"
    return f"Scores are on the scale of {which}; higher is better."


def _parse_interval(
    context: click.Context, parameter: click.Parameter, value: float | None
) -> float | None:
    if value is not None and not 0 < value < 1:
        raise click.BadParameter(f"{value:g} is not between 0 and 1, such as 0.8")
    return value


def _check_finite(
    context: click.Context, parameter: click.Parameter, value: float | None
) -> float | None:
    if value is not None and not math.isfinite(value):  # nan is in every range of click's
        raise click.BadParameter(f"{value:g} is not a finite number")
    return value


def _parse_shard(context: click.Context, parameter: click.Parameter, value: str | None) -> slice:
    if value is None:
        return slice(None)
    first, _, count = value.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise click.BadParameter(f"{value!r} is not of the form i/n with 1 <= i <= n, such as 2/8")
    return slice(int(first) - 1, None, int(count))


column_option = click.option(
    "--column",
    metavar="NAME",
    help="Of Parquet and Arrow tables, where pictures are: bytes, or paths and addresses.",
)


frames_option = click.option(
    "--frames",
    type=click.IntRange(1),
    default=EVENLY.frames,
    show_default=True,
    help="Frames of a film that are scored, spread evenly.",
)


every_option = click.option(
    "--every",
    type=click.FloatRange(0, min_open=True),
    callback=_check_finite,
    metavar="SECONDS",
    help="Score a frame of a film every so often, in place of --frames.",
)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option(
    "--csv", "csv_path", metavar="FILE", help="Write rows to FILE as they come; `-` for the output."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
@click.option(
    "--parquet",
    metavar="DIR",
    help="Write a Parquet file into DIR for each shard and for each 10,000 files.",
)
@model_option
@max_pixels_option
@recursive_option
@jobs_option
@allow_damaged_option
@click.option(
    "--interval",
    type=float,
    metavar="P",
    callback=_parse_interval,
    help="Say, too, between which numbers opinions are with probability P, such as 0.8: columns "
    "low and high.",
)
@click.option(
    "--on-error",
    type=click.Choice(["nan", "raise"]),
    default="nan",
    show_default=True,
    help="An unreadable file is a row without a score, or the end.",
)
@click.option(
    "--resume", is_flag=True, help="Keep the scores in the --csv file or the --parquet DIR, go on."
)
@click.option("--overwrite", is_flag=True, help="Replace the scores of an earlier run there.")
@click.option("--sort", is_flag=True, help="Rows worst first, at the end; as a table always is.")
@worst_options
@click.option(
    "--shard",
    metavar="I/N",
    callback=_parse_shard,
    help="Score every N-th file or shard only, from the I-th.",
)
@click.option(
    "--dask",
    metavar="ADDRESS|auto",
    help="Let a Dask cluster's workers score, or those of one on this machine.",
)
@column_option
@click.option("--per-view", is_flag=True, help="A row for each frame of a film, with its time.")
@frames_option
@every_option
@click.pass_context
def score(
    context: click.Context,
    /,
    paths: tuple[str, ...],
    csv_path: str | None,
    as_json: bool,
    parquet: str | None,
    recursive: bool,
    resume: bool,
    overwrite: bool,
    sort: bool,
    worst: Callable[[int], int] | None,
    destination: Destination | None,
    shard: slice,
    per_view: bool,
    frames: int,
    every: float | None,
    **how: Any,
) -> None:
    """Score images: higher is better.

    PATHS are image files, folders, patterns such as "photos/*.jpg", or - for a list of paths on
    standard input, one a line; addresses such as s3://bucket/photos/, where folders end in a slash;
    and shards: tar archives, Parquet and Arrow tables, by name or by pattern.

    A film is a row, whose score is the mean of its frames'; with --per-view each frame is, called
    FILM#t=SECONDS. The scorer knows photos: its scores of films were never compared with people's.

    On a terminal the result is a table, worst first; else it is CSV with the columns file, score,
    error, flags, in the order of PATHS. Flags say what is odd about an image, so that its score
    says little: blank, nearly uniform, tiny, extreme shape, upscaled,
    animated, damaged, or unlike the photos that the scorer was fitted to.

    With --interval 0.8 the columns low and high follow: four opinions in five are between them, of
    photos such as the model was calibrated with. They are wider for photos unlike these.

    The scores of the model that comes with skiqa are 100 x the predicted mean opinion score, about
    0 (bad) to 100 (excellent); those of a --model are on the scale of the ratings it was fitted to.

    An interrupted run keeps the rows of its --csv file, and the same command with --resume goes on
    from there; files that could not be read are tried again. FILE.skiqa.json says which model,
    viewing size, interval and column the scores are of, and other ones are refused. Of a --parquet
    DIR whole files are kept, errors and all, and pictures that have no row in them are scored.

    Exit status: 0 if all files have a score, 1 if one could not be read, now or earlier, 2 if the
    command could not be carried out.
    """
    if sum((bool(csv_path), as_json, bool(parquet))) > 1:
        raise click.UsageError("choose one of --csv, --json and --parquet")
    if parquet and (sort or worst):
        raise click.UsageError("--parquet writes rows in order: neither --sort nor --worst")
    if resume and overwrite:
        raise click.UsageError("choose one of --resume and --overwrite")
    if resume and not parquet and csv_path in (None, "-"):
        raise click.UsageError("--resume needs the --csv FILE or --parquet DIR to go on with")
    if destination and not worst:
        raise click.UsageError("--copy-to and --move-to are about the --worst photos")
    # a pipe or a device is written to as the standard output is
    file = Path(csv_path) if csv_path not in (None, "-") and is_replaceable(csv_path) else None
    if file and not resume and (problem := in_the_way(str(file), overwrite, "--csv")):
        hint = ", or --resume to go on with it" if file.is_file() else ""
        raise Failure(problem + hint)
    if destination:
        destination.check()
    scoring = _Scoring(
        files=find_images(paths, recursive, films=True)[shard],
        films=Films(frames, every, per_view),
        **how,
    )
    if destination and any(is_shard(file) or is_address(file) for file in scoring.files):
        raise click.UsageError("--copy-to and --move-to are about files, no addresses and shards")
    if destination and per_view:
        raise click.UsageError("--copy-to and --move-to are about files, no frames: no --per-view")
    with warnings_shown():
        try:
            with told_to_end():
                if parquet:
                    ended = _score_into_parts(scoring, parquet, resume, overwrite)
                elif file:
                    ended = _score_into_file(scoring, file, resume, sort, worst)
                else:
                    ended = _score_to_output(scoring, csv_path, as_json, sort, worst)
                if ended.complete and destination:
                    destination.copy_or_move([row.file for row in ended.shown])
                status = ended.status
        except KeyboardInterrupt as error:
            status = exit_status(error)
        except BrokenPipeError:  # `skiqa score photos | head`: nobody listens any more
            drop_standard_output()
            status = 141  # as for any program that SIGPIPE ends
    context.exit(status)


@dataclass(frozen=True)
class _Scoring:
    """What is scored, and how."""

    files: Sequence[str]
    model: str | None
    max_pixels: int | str | None
    jobs: int
    on_error: str
    allow_damaged: bool
    interval: float | None
    column: str | None
    films: Films
    dask: str | None

    def count_but(self, known: Container[str]) -> int | None:
        """Return how many pictures are not `known`; None: only reading the shards will tell."""
        if any(map(is_shard, self.files)) or (
            self.films.per_view and any(map(is_film, self.files))
        ):
            return None
        return sum(public_name(file) not in known for file in self.files)

    @property
    def about(self) -> dict[str, str]:
        """What decides scores."""
        return about_scores(*self._scorer, self.films, self.column)

    @property
    def _scorer(self) -> tuple[str | None, int | str | None, bool, float | None]:
        return self.model, self.max_pixels, self.allow_damaged, self.interval

    @property
    def reading(self) -> dict[str, Any]:
        """How pictures are read, and worked on."""
        return {"interval": self.interval, "column": self.column, "films": self.films} | {
            "n_jobs": self.jobs
        }

    def rows(
        self, model: Pipeline | None, known: Mapping[str, Row], meet: Callable[[Row], None]
    ) -> Generator[Row, None, None]:
        """Yield the rows of pictures, in order; where one is `known` already, `meet` gets it."""

        def wanted(name: str) -> bool:
            if name in known:
                meet(known[name])
            return name not in known

        if model is None or self.dask is None:
            from skiqa.sources import iter_images

            pictures = iter_images(self.files, column=self.column, films=self.films, wanted=wanted)
            with contextlib.closing(pictures):
                if model is not None:
                    yield from iter_rows(
                        model, pictures, self.jobs, self.interval, self.films.per_view
                    )
                for _ in pictures:  # all are known
                    pass
            return
        from skiqa.distributed._parts import parts_of
        from skiqa.distributed._score import FILES, iter_parts

        left = [file for file in self.files if is_shard(file) or wanted(public_name(file))]
        with self.client() as client:
            found = iter_parts(parts_of(left, FILES), client, model, **self.reading)
            with contextlib.closing(found):
                for _, rows in found:
                    yield from (row for row in rows if wanted(row.file))

    @contextlib.contextmanager
    def client(self) -> Iterator[Any]:
        """Connect to the cluster that is asked for, or make one; None: none is."""
        if self.dask is None:
            yield None
            return
        try:
            from distributed import Client
        except ImportError:
            raise Failure("--dask needs an extra: pip install 'skiqa[dask]'") from None
        from joblib import effective_n_jobs

        how: dict[str, Any] = {"address": self.dask}
        if self.dask == "auto":
            how = {"n_workers": effective_n_jobs(self.jobs), "threads_per_worker": 1}
            how["dashboard_address"] = ":0"  # whatever is free
        try:
            client = Client(**how)
        except (OSError, ValueError) as error:
            raise Failure(f"--dask {printable(self.dask)}: {error}") from None
        with client:
            yield client

    @property
    def columns(self) -> Sequence[str]:
        """What rows consist of."""
        return HEADER if self.interval is None else WITH_BOUNDS

    def load(self) -> Pipeline | None:
        """Load the model, if there is anything to score."""
        return load_scorer(*self._scorer) if self.files else None

    def output(self, as_json: bool, as_csv: bool, note: str) -> Output:
        """Return what shows rows on standard output."""
        stdout = sys.stdout.buffer
        if as_json:
            return JsonOutput(stdout, self.columns)
        if as_csv or not sys.stdout.isatty():
            return CsvOutput(stdout, columns=self.columns)
        return TableOutput(note, self.columns)


class _Ended(NamedTuple):
    """How a run ended: exit status, whether all files were looked at, the worst rows."""

    status: int
    complete: bool
    shown: Sequence[Row] = ()


def _score_into_file(
    scoring: _Scoring,
    path: Path,
    resume: bool,
    sort: bool,
    worst: Callable[[int], int] | None,
) -> _Ended:
    """Score into a CSV file that may hold scores already; show the worst of all, if asked to."""
    with locked(path, scoring.about) as run:
        if resume:
            run.read()
        # before the file is opened, and emptied
        loaded = None if scoring.count_but(run.scored) == 0 else scoring.load()
        note = describe_scale(scoring.model, loaded)
        shown = WorstFirst(scoring.output(False, False, note), worst) if worst else None
        with run.opened() as rows:
            outputs: list[Output] = [rows] if shown is None else [rows, shown]
            ended = _score_files(loaded, scoring, Together(outputs), run.scored, shown)
        if sort and ended.complete:
            run.sort()
    return ended._replace(shown=shown.shown()) if shown else ended


def _score_to_output(
    scoring: _Scoring,
    csv_path: str | None,
    as_json: bool,
    sort: bool,
    worst: Callable[[int], int] | None,
) -> _Ended:
    """Score to the standard output, or to a pipe or device that `csv_path` names."""
    try:
        loaded = scoring.load()
    except KeyboardInterrupt:
        if as_json:  # a list also of nothing
            JsonOutput(sys.stdout.buffer).close()
        raise
    with contextlib.ExitStack() as stack:
        output: Output
        if csv_path in (None, "-"):
            note = describe_scale(scoring.model, loaded)
            output = scoring.output(as_json, csv_path == "-", note)
        else:
            try:
                stream = stack.enter_context(open(str(csv_path), "wb", buffering=0))
            except OSError as error:
                raise unwritable(str(csv_path), error) from None
            output = CsvOutput(cast("BinaryIO", stream), str(csv_path), scoring.columns)
        if not (sort or worst or isinstance(output, TableOutput)):
            return _score_files(loaded, scoring, output)
        shown = WorstFirst(output, worst)
        ended = _score_files(loaded, scoring, shown)
        return ended._replace(shown=shown.shown())


def _score_files(
    model: Pipeline | None,
    scoring: _Scoring,
    output: Output,
    known: Mapping[str, Row] | None = None,
    shown: Output | None = None,
) -> _Ended:
    """Score into `output`; `known` are the rows that its file holds, which are `shown`, too."""
    # rows that run over the terminal leave no place for a bar
    over_terminal = output.streams and known is None and sys.stdout.isatty()
    hint = "" if known is None else "; --resume goes on from there"
    known = known or {}
    rows = scoring.rows(model, known, shown.add if shown else lambda row: None)
    count = scoring.count_but(known)
    try:
        ended = _take_rows(scoring, rows, count, output.add, hint, bar=not over_terminal)
    except (ValueError, MemoryError, ImportError):  # not of a photo: what is scored is kept
        output.close()
        raise
    output.close()
    return ended


def _score_into_parts(scoring: _Scoring, folder: str, resume: bool, overwrite: bool) -> _Ended:
    """Score into a folder of Parquet files, a part each."""
    from skiqa._sources.tables import require_pyarrow
    from skiqa.distributed._parts import parts_of
    from skiqa.distributed._score import iter_parts

    require_pyarrow()
    out = ParquetFolder(folder, scoring.about, resume, overwrite)
    parts, n_errors = out.left_of(parts_of(scoring.files))
    files = [place for part in parts for place in part.places]
    model = scoring.load() if files else None
    out.open()

    def rows() -> Generator[Row, None, None]:
        if model is None:
            return
        with scoring.client() as client:
            found = iter_parts(parts, client, model, **scoring.reading)
            with contextlib.closing(found):
                for part, some in found:
                    yield from out.write(part, some)

    count = replace(scoring, files=files).count_but(())
    hint = "; --resume keeps the parts that are whole"
    ended = _take_rows(scoring, rows(), count, lambda row: None, hint, bar=True)
    if n_errors:
        hint = "delete the files of these parts to try again"
        click.echo(f"{n_errors} pictures of earlier parts could not be read: {hint}", err=True)
    return ended._replace(status=ended.status or int(n_errors > 0))


def _take_rows(
    scoring: _Scoring,
    rows: Generator[Row, None, None],
    count: int | None,
    add: Callable[[Row], None],
    hint: str,
    *,
    bar: bool,
) -> _Ended:
    """Give each row to `add`, and say on standard error what is to be said."""
    n_scored, failed = 0, 0
    stopped: str | None = None
    try:
        with progress_bar("scoring", count, enabled=bar) as advance, contextlib.closing(rows):
            for row in rows:
                if row.error is not None:
                    failed += 1
                    if scoring.on_error == "raise":
                        stopped = f"{printable(row.file)}: {row.error}"
                        break
                add(row)
                n_scored += 1
                advance()
    except KeyboardInterrupt as error:
        click.echo(f"interrupted after {out_of(n_scored, count)}{hint}", err=True)
        return _Ended(exit_status(error), complete=False)
    if stopped:
        click.echo(f"Error: {stopped}", err=True)
    elif failed:
        click.echo(f"{out_of(failed, count or n_scored)} could not be read", err=True)
    return _Ended(1 if failed else 0, complete=not stopped)


def out_of(n: int, count: int | None) -> str:
    """Say how many pictures of how many; None: nobody knows."""
    return f"{n} pictures" if count is None else f"{n} of {count} files"
