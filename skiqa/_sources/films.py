"""Films as places of many pictures: their frames."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import NamedTuple

from skiqa._inputs.addresses import is_address, public_name
from skiqa._sources.kinds import is_film, open_place
from skiqa._sources.named import Named
from skiqa.exceptions import ImageError

__all__ = ["EVENLY", "Films", "film_of", "iter_film", "time_of"]


class Films(NamedTuple):
    """How films are looked at.

    Parameters
    ----------
    frames : int, default=32
        How many of them, spread evenly over a film.
    every : float or None, default=None
        Seconds from frame to frame, in place of `frames`.
    per_view : bool, default=False
        Whether frames are pictures of their own, or parts of a film.
    """

    frames: int = 32
    every: float | None = None
    per_view: bool = False

    def __str__(self) -> str:
        which = f"{self.frames} a film" if self.every is None else f"every {self.every:g} seconds"
        return which + (", a row each" if self.per_view else "")


EVENLY = Films()


def time_of(name: str) -> tuple[str, float] | None:
    """Return the film and the time of a frame, in seconds; None: no frame.

    Examples
    --------
    >>> from skiqa._sources.films import time_of
    >>> time_of("a.mp4#t=1.500"), time_of("a.mp4"), time_of("a.jpg")
    (('a.mp4', 1.5), None, None)
    """
    film, _, time = name.rpartition("#t=")
    return (film, float(time)) if time.replace(".", "", 1).isdecimal() and is_film(film) else None


def film_of(name: str) -> str | None:
    """Return the film that a frame, or why there is none, belongs to; None: no film.

    Examples
    --------
    >>> from skiqa._sources.films import film_of
    >>> film_of("a.mp4#t=1.500"), film_of("a.mp4"), film_of("a.jpg")
    ('a.mp4', 'a.mp4', None)
    """
    if frame := time_of(name):
        return frame[0]
    return name if is_film(name) else None


def iter_film(
    place: str, films: Films, wanted: Callable[[str], bool]
) -> Generator[Named, None, None]:
    """Yield the frames of a film.

    Parameters
    ----------
    place : str
        Path or address.
    films : Films
    wanted : callable
        Whether a frame of this name, or with ``per_view=False`` the film, is to be read.

    Yields
    ------
    Named
        Of a frame ``FILM#t=SECONDS``. Where the film cannot be read further, the last one is the
        error that says so, under the film's name.
    """
    from skiqa.views import video_frames

    shown = public_name(place)
    if not films.per_view and not wanted(shown):
        return
    count = films.frames if films.every is None else None
    try:
        with contextlib.ExitStack() as stack:
            film = stack.enter_context(open_place(place)) if is_address(place) else place
            for view in video_frames(film, every=films.every, count=count):
                name = f"{shown}#{view.name}"
                if not films.per_view or wanted(name):
                    yield Named(name, view.image)
    except ImageError as error:
        yield Named(shown, ImageError(error.reason, kind=error.kind))
