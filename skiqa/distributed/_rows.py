"""What is known of one picture, by its name: a row."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from skiqa._sources.films import film_of, time_of
from skiqa.exceptions import ImageError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from skiqa._sources.named import Named

__all__ = ["FLAG_BREAK", "Row", "iter_rows", "reason"]

FLAG_BREAK = "; "


class Row(NamedTuple):
    """A picture, its score or why it has none, what is odd about it, and where its opinion is.

    Parameters
    ----------
    file : str
        Its name, as of :class:`~skiqa.sources.Named`.
    score : float or None
        The prediction, higher is better; None: it has none.
    error : str or None
        Why it has none.
    flags : tuple of str
        As of :class:`~skiqa.persistence.Quality`.
    low, high : float or None
        Between which numbers its opinion is, if that was asked for.
    """

    file: str
    score: float | None
    error: str | None
    flags: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def flag_text(self) -> str:
        """The flags as one text."""
        return FLAG_BREAK.join(self.flags)


def iter_rows(
    model: Pipeline,
    pictures: Iterable[Named],
    n_jobs: int | None,
    interval: float | None = None,
    per_view: bool = False,
) -> Generator[Row, None, None]:
    """Yield a row for each picture, in order; the frames of a film are one.

    Parameters
    ----------
    model : Pipeline
        As of :func:`~skiqa.persistence.iter_quality`; `n_jobs` and `interval`, too.
    pictures : iterable of Named
        Such as :func:`~skiqa.sources.iter_images` yields. A list goes by the encoder's cache.
    per_view : bool, default=False
        Whether each frame of a film has a row of its own.

    Notes
    -----
    A film's score is the mean of its frames', and its flags are those of half of them or more. It
    has no interval: those are calibrated by photos.
    """
    with contextlib.closing(_rows_of_pictures(model, pictures, n_jobs, interval)) as rows:
        if per_view:
            yield from rows
            return
        for (film, _), some in groupby(_numbered(rows), key=itemgetter(0)):
            if film is None:
                yield from (row for _, row in some)
            else:
                yield _row_of_film(film, [row for _, row in some])


def _numbered(rows: Iterable[Row]) -> Iterator[tuple[tuple[str | None, int], Row]]:
    """Yield rows with the film they belong to, which has another number than the one before it.

    Times rise within a film, and why it cannot be read further comes last: by that a film is told
    from the one of the same name before it.
    """
    before: tuple[str | None, float] = None, 0.0
    number = 0
    for row in rows:
        film, time = time_of(row.file) or (film_of(row.file), math.inf)
        number += film is not None and film == before[0] and time <= before[1]
        before = film, time
        yield (film, number), row


def _row_of_film(film: str, frames: Sequence[Row]) -> Row:
    from skiqa.views import pool_views

    for frame in frames:
        if frame.error is not None:
            return Row(film, None, frame.error, frame.flags)
    counts = Counter(flag for frame in frames for flag in frame.flags)
    flags = tuple(flag for flag, count in counts.items() if 2 * count >= len(frames))
    (score,) = pool_views([[frame.score or 0.0] for frame in frames])
    return Row(film, float(score), None, flags)


def _rows_of_pictures(
    model: Pipeline, pictures: Iterable[Named], n_jobs: int | None, interval: float | None
) -> Generator[Row, None, None]:
    from skiqa.persistence import iter_quality

    names: dict[int, str] = {}  # of those in work

    def images() -> Iterator[Any]:
        for index, (name, image) in enumerate(pictures):
            names[index] = name
            yield image

    X = list(images()) if isinstance(pictures, Sequence) else images()
    found = iter_quality(model, X, n_jobs=n_jobs, interval=interval)
    with contextlib.closing(found):
        for index, score, error, flags, bounds in found:
            name = names.pop(index)
            if error is not None:
                yield Row(name, None, reason(error), flags)
            elif not math.isfinite(score):
                yield Row(name, None, f"the model gave {score}", flags)
            else:
                yield Row(name, score, None, flags, *(bounds or ()))


def reason(error: ImageError) -> str:
    """Say what is wrong with a file, in one line."""
    return " ".join(error.reason.encode("utf-8", "backslashreplace").decode().split())
