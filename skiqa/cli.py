"""The command line: ``skiqa score``.

Only click is imported at the top, so that help, completion and usage errors are instant; torch
comes in with the model, when there are images to score.
"""

import contextlib
import csv
import glob
import io
import json
import math
import os
import sys
import warnings
from pathlib import Path

import click

__all__ = ["main"]

# What a folder is searched for; Pillow may be built without some of them. Files named one by one
# may have any extension.
EXTENSIONS = frozenset(
    [
        ".apng",
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".j2k",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".jpx",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".qoi",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
HEADER = ["file", "score", "error"]


class Failure(click.ClickException):
    """What a user can mend, in one line and without a traceback."""

    exit_code = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="skiqa", message="%(prog)s %(version)s")
def main():
    """Image quality without a reference."""


# ---------------------------------------------------------------- finding images


def _images_in(folder, recursive):
    try:
        with os.scandir(folder) as entries:
            entries = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise Failure(f"cannot read folder {_printable(folder)}: {error.strerror}") from None
    for entry in entries:
        if entry.name.startswith("."):  # hidden, and the ._*.jpg that macOS leaves about
            continue
        if entry.is_dir():
            if recursive and not entry.is_symlink():
                yield from _images_in(entry.path, recursive)
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS and (
            entry.is_file() or not os.path.exists(entry.path)  # a dead link: a row with an error
        ):
            yield entry.path


def _listed(stream):
    """Return the paths of a list, one a line, or separated by NUL (``find -print0``)."""
    data = stream.read()
    lines = data.split(b"\0") if b"\0" in data else data.replace(b"\r\n", b"\n").split(b"\n")
    return [os.fsdecode(line) for line in lines if line]


def find_images(paths, recursive=False):
    """Return the image files that the arguments of a command stand for, each once, in order."""
    found = []
    for path in paths:
        if path == "-":
            for line in _listed(sys.stdin.buffer):
                found += _images_in(line, recursive) if os.path.isdir(line) else [line]
        elif os.path.isdir(path):
            found += _images_in(path, recursive)
        elif os.path.exists(path):
            found.append(path)
        elif glob.has_magic(path):  # a shell that does not expand, such as cmd.exe
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                raise Failure(f"no file matches {_printable(path)}")
            for match in matches:
                if os.path.isdir(match):
                    found += _images_in(match, recursive)
                elif os.path.splitext(match)[1].lower() in EXTENSIONS:
                    found.append(match)
        else:
            raise Failure(f"no such file or folder: {_printable(path)}")
    if not found:
        where = ", ".join(map(_printable, paths))
        hint = "" if recursive else " (folders are searched below only with --recursive)"
        raise Failure(f"no images found in {where}{hint}")
    return list(dict.fromkeys(found))


def _printable(name):
    """Make a file name safe for a terminal: no control characters, no broken encoding."""
    name = os.fspath(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


# ---------------------------------------------------------------- writing rows


def _csv_line(fields):
    """Encode a row; bytes of file names that are no UTF-8 come out as they went in."""
    fields = [
        '"' + field.replace('"', '""') + '"' if any(c in field for c in ',"\r\n') else field
        for field in fields
    ]
    return (",".join(fields) + "\n").encode("utf-8", "surrogateescape")


def _unwritable(name, error):
    return Failure(f"cannot write {_printable(name)}: {error.strerror or error}")


class CsvOutput:
    """One line a file, written as soon as it is known."""

    streams = True

    def __init__(self, stream, name="the output", header=True):
        self._stream, self._name = stream, name
        if header:
            self._write(HEADER)

    def add(self, file, score, error):
        self._write([file, "" if score is None else repr(score), error or ""])

    def close(self):
        pass

    def _write(self, fields):
        try:
            self._stream.write(_csv_line(fields))
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:  # the disk is full
            raise _unwritable(self._name, error) from None


class JsonOutput:
    """One list of objects; whole also after an interruption."""

    streams = True

    def __init__(self, stream):
        self._stream = stream
        self._separator = b"[\n"

    def add(self, file, score, error):
        # ASCII: file names that are no UTF-8 become \udc80.. and load as Python spells them
        row = json.dumps(dict(zip(HEADER, (file, score, error), strict=True)))
        self._stream.write(self._separator + row.encode("ascii"))
        self._stream.flush()
        self._separator = b",\n"

    def close(self):
        self._stream.write(b"[]\n" if self._separator == b"[\n" else b"\n]\n")
        self._stream.flush()


class TableOutput:
    """A table for people, worst first, unreadable files last."""

    streams = False

    def __init__(self):
        self._rows = []

    def add(self, file, score, error):
        self._rows.append((file, score, error))

    def close(self):
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        if not self._rows:
            return
        table = Table("score", "file", box=None, pad_edge=False)
        table.columns[0].justify = "right"
        table.columns[1].overflow = "fold"
        for file, score, error in sorted(self._rows, key=lambda row: (row[1] is None, row[1] or 0)):
            name = Text(_printable(file))
            if error:
                name.append(f"  {_printable(error)}", style="red")
            table.add_row("-" if score is None else f"{score:.1f}", name)
        Console().print(table)


def _read_scored(path):
    """Return the rows with a score of an earlier run, and whether there is anything else.

    The last line of a run that was killed may be torn. It ends in no newline, or in one that is
    within quotes: every whole row has an even number of these.
    """
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    whole = text[: text.rfind("\n") + 1]
    while whole.count('"') % 2:
        whole = whole[: whole.rfind("\n", 0, -1) + 1]
    rows = list(csv.reader(io.StringIO(whole, newline="")))
    header = ",".join(HEADER)
    ours = rows[0] == HEADER if rows else header.startswith(text)
    if not ours or any(len(row) != len(HEADER) for row in rows):
        raise Failure(
            f"{_printable(path)} was not written by `skiqa score`: its lines are not "
            f"`{header}`. Give another --csv file, or leave out --resume."
        )
    scored = [row for row in rows[1:] if row[1]]
    return scored, whole != text or len(scored) < len(rows) - 1 or not rows


@contextlib.contextmanager
def _csv_file(path, scored, rewrite):
    """Open the CSV file for more rows behind those `scored` (None: a new file)."""
    try:
        if rewrite:  # without the torn and the failed rows, which come again
            temporary = path.with_name(path.name + ".tmp")
            temporary.write_bytes(b"".join(map(_csv_line, [HEADER, *scored])))
            os.replace(temporary, path)
        stream = open(path, "wb" if scored is None else "ab")  # noqa: SIM115 - closed below
    except OSError as error:
        raise _unwritable(path, error) from None
    with stream:
        yield CsvOutput(stream, path, header=scored is None)


# ---------------------------------------------------------------- skiqa score


def _reason(error, index, file):
    """Say what is wrong with a file without the words meant for Python programs."""
    from skiqa._decode import describe
    from skiqa._images import REMEDY

    text = str(error).removeprefix(f"X[{index}] = {describe(file)}: ").removesuffix(f"; {REMEDY}")
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


def _scores(model, files, jobs):
    """Yield (file, score or None, error text or None) in order."""
    from skiqa.persistence import iter_quality

    with contextlib.closing(iter_quality(model, files, n_jobs=jobs)) as rows:
        for index, score, error in rows:
            if error is not None:
                yield files[index], None, _reason(error, index, files[index])
            elif not math.isfinite(score):
                yield files[index], None, f"the model gave {score}"
            else:
                yield files[index], score, None


def _load(path):
    from skiqa.persistence import load_model

    try:
        return load_model(path)
    except (OSError, ValueError, TypeError) as error:
        raise Failure(f"cannot load the model {_printable(path or '')}: {error}") from error


def _shard(context, parameter, value):
    if value is None:
        return slice(None)
    first, _, count = value.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise click.BadParameter(f"{value!r} is not of the form i/n with 1 <= i <= n, such as 2/8")
    return slice(int(first) - 1, None, int(count))


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option(
    "--csv", "csv_path", metavar="FILE", help="Write rows to FILE as they come; `-` for the output."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
@click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False),
    help="A scorer saved by skiqa.persistence.save; without it the one that comes with skiqa.",
)
@click.option("-r", "--recursive", is_flag=True, help="Search folders below, too.")
@click.option("-j", "--jobs", type=int, help="Threads that decode images; -1 for all cores.")
@click.option(
    "--on-error",
    type=click.Choice(["nan", "raise"]),
    default="nan",
    show_default=True,
    help="An unreadable file is a row without a score, or the end.",
)
@click.option("--resume", is_flag=True, help="Keep the scores in the --csv file, add the others.")
@click.option(
    "--shard", metavar="I/N", callback=_shard, help="Score every N-th file only, from the I-th."
)
@click.pass_context
def score(context, paths, csv_path, as_json, model, recursive, jobs, on_error, resume, shard):
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
    if resume and csv_path in (None, "-"):
        raise click.UsageError("--resume needs the --csv FILE to go on with")
    if jobs == 0:
        raise click.BadParameter("0 threads cannot decode", param_hint="--jobs")
    files = find_images(paths, recursive)[shard]
    scored, rewrite = None, False
    if resume and os.path.exists(csv_path):
        scored, rewrite = _read_scored(Path(csv_path))
        done = {row[0] for row in scored}
        files = [file for file in files if file not in done]

    to_file = csv_path not in (None, "-")
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: click.echo(f"Warning: {message}", err=True)
        try:
            loaded = _load(model) if files else None  # before the file is opened, and emptied
            if to_file:
                output = _csv_file(Path(csv_path), scored, rewrite)
            else:
                output = contextlib.nullcontext(_standard_output(as_json, csv_path == "-"))
            with output as rows:
                status = _run(loaded, files, jobs, on_error, rows, to_file)
        except KeyboardInterrupt:
            status = 130
        except BrokenPipeError:  # `skiqa score photos | head`: nobody listens any more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 141  # as for any program that SIGPIPE ends
    context.exit(status)


def _standard_output(as_json, as_csv):
    stdout = sys.stdout.buffer
    if as_json:
        return JsonOutput(stdout)
    return CsvOutput(stdout) if as_csv or not sys.stdout.isatty() else TableOutput()


def _run(model, files, jobs, on_error, output, to_file):
    """Score `files` into `output`; return the exit status."""
    from skiqa._progress import progress_bar

    if not files:
        output.close()
        return 0
    # rows that run over the terminal leave no place for a bar
    over_terminal = output.streams and not to_file and sys.stdout.isatty()
    bar = sys.stderr.isatty() and not over_terminal
    n_done, failed, stopped = 0, 0, None
    try:
        with progress_bar("scoring", len(files), enabled=bar) as advance:
            for file, value, error in _scores(model, files, jobs):
                if error is not None:
                    failed += 1
                    if on_error == "raise":
                        stopped = f"{_printable(file)}: {error}"
                        break
                output.add(file, value, error)
                n_done += 1
                advance()
    except KeyboardInterrupt:
        output.close()
        hint = "; --resume goes on from there" if to_file else ""
        click.echo(f"interrupted after {n_done} of {len(files)} files{hint}", err=True)
        return 130
    output.close()
    if stopped:
        click.echo(f"Error: {stopped}", err=True)
    elif failed:
        click.echo(f"{failed} of {len(files)} files could not be read", err=True)
    return 1 if failed else 0
