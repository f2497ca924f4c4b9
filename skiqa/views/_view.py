"""A picture by which something larger is judged."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from skiqa._inputs.decode import check_file
from skiqa._types import Path, Pixels
from skiqa.exceptions import ImageError

__all__ = ["View", "check_count", "missing_extra", "naming", "reading", "spread"]


class View(NamedTuple):
    """A picture by which something larger is judged, such as a frame of a film.

    Parameters
    ----------
    image : ndarray of shape (h, w, 3), uint8
        RGB, in sRGB.
    name : str
        Which view it is, such as "t=1.500" or "front".
    weight : float, default=1.0
        What it counts in a mean.
    time : float or None, default=None
        Seconds from the start; None: it has no time.
    """

    image: Pixels
    name: str
    weight: float = 1.0
    time: float | None = None


def check_count(count: int | None, what: str) -> None:
    """Refuse a number of views that is of no use; None: all of them."""
    if count is not None and count < 1:
        raise ValueError(f"count={count} must be a number of {what}, 1 or more")


def spread(length: int, count: int | None) -> list[int]:
    """Return the indices in the middle of `count` equal parts of a row; None: all of it.

    Examples
    --------
    >>> from skiqa.views._view import spread
    >>> spread(10, 2), spread(3, 8), spread(2, None)
    ([2, 7], [0, 1, 2], [0, 1])
    """
    if count is None or count >= length:
        return list(range(length))
    return [(2 * part + 1) * length // (2 * count) for part in range(count)]


def missing_extra(source: Path, kind: str, extra: str) -> ImageError:
    """Return the error that says which extra reads a kind of file."""
    reason = f"{kind} need an extra: pip install 'skiqa[{extra}]'"
    return naming(repr(os.fspath(source)), ImageError(reason, kind="format"))


def naming(source: object, error: ImageError) -> ImageError:
    """Return an error whose message begins with what it is about."""
    return ImageError(f"{source}: {error}", kind=error.kind, reason=error.reason)


@contextlib.contextmanager
def reading(path: Path, form: str, kind: str) -> Iterator[None]:
    """Check a file for a block that reads it as `form`; errors, of any class, name the file."""
    try:
        check_file(path)
        yield
    except ImageError as error:
        raise naming(repr(os.fspath(path)), error) from error
    except Exception as error:  # what the library stumbles over
        told = ImageError(f"this cannot be read as {form} ({error})", kind=kind)
        raise naming(repr(os.fspath(path)), told) from error
