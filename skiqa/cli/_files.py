"""Which files a command is about, and how their names and errors are shown."""

import glob
import os
import sys

import click

__all__ = ["EXTENSIONS", "Failure", "find_images", "printable", "reason", "unwritable"]

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


class Failure(click.ClickException):
    """What a user can mend, in one line and without a traceback."""

    exit_code = 2


def _images_in(folder, recursive):
    try:
        with os.scandir(folder) as entries:
            entries = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise Failure(f"cannot read folder {printable(folder)}: {error.strerror}") from None
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
                raise Failure(f"no file matches {printable(path)}")
            for match in matches:
                if os.path.isdir(match):
                    found += _images_in(match, recursive)
                elif os.path.splitext(match)[1].lower() in EXTENSIONS:
                    found.append(match)
        else:
            raise Failure(f"no such file or folder: {printable(path)}")
    if not found:
        where = ", ".join(map(printable, paths))
        hint = "" if recursive else " (folders are searched below only with --recursive)"
        raise Failure(f"no images found in {where}{hint}")
    return list(dict.fromkeys(found))


def printable(name):
    """Make a file name safe for a terminal: no control characters, no broken encoding."""
    name = os.fspath(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def unwritable(name, error):
    return Failure(f"cannot write {printable(name)}: {error.strerror or error}")


def reason(error, index, file):
    """Say what is wrong with a file without the words meant for Python programs."""
    from skiqa._decode import describe
    from skiqa._images import REMEDY

    text = str(error).removeprefix(f"X[{index}] = {describe(file)}: ").removesuffix(f"; {REMEDY}")
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())
