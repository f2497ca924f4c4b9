"""What is known of one picture, by its name: a row."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

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
    model: Pipeline, pictures: Iterable[Named], n_jobs: int | None, interval: float | None = None
) -> Generator[Row, None, None]:
    """Yield a row for each picture, in order.

    Parameters
    ----------
    model : Pipeline
        As of :func:`~skiqa.persistence.iter_quality`; `n_jobs` and `interval`, too.
    pictures : iterable of Named
        Such as :func:`~skiqa.sources.iter_images` yields. A list goes by the encoder's cache.
    """
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
