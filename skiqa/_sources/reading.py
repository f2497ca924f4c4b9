"""The pictures of files, addresses and shards, read ahead, one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing

from skiqa._inputs.addresses import is_address, public_name, read_address
from skiqa._inputs.prefetch import iter_ahead, iter_in_thread
from skiqa._sources.films import EVENLY, Films, iter_film
from skiqa._sources.kinds import is_film, is_shard, is_table
from skiqa._sources.named import Named
from skiqa._sources.tables import iter_table
from skiqa._sources.tar import iter_tar
from skiqa._types import Path
from skiqa.exceptions import ImageError

__all__ = ["iter_images"]

N_READERS = 16  # addresses that are read at a time: most of reading one is waiting
BYTES_AHEAD = 2**27  # what has been read of shards, and of addresses, and waits; each


def iter_images(
    places: Path | Iterable[Path],
    *,
    column: str | None = None,
    films: Films = EVENLY,
    wanted: Callable[[str], bool] | None = None,
) -> Generator[Named, None, None]:
    """Yield the pictures of files, addresses and shards, in order, read ahead of the consumer.

    Parameters
    ----------
    places : str, path, or iterable of these
        Paths or addresses of pictures and of shards. What ends in .tar, .tar.gz, .tgz, .tar.bz2 or
        .tar.xz is a tar archive; in .parquet, .arrow or .feather, a table; in .mp4, .mov, .mkv,
        .webm and the like, a film, whose frames are the pictures. Files by path are opened when
        they are decoded.
    column : str or None, default=None
        Of tables, where pictures are: bytes, rows {"bytes", "path"} as of Hugging Face data sets,
        or paths and addresses. None: the column that can be it.
    films : Films
        Which frames of films are looked at: 32, spread evenly, unless something else is said.
    wanted : callable or None, default=None
        From a name to whether this picture is to be read. None: all are.

    Yields
    ------
    Named
        (name, image). Where a picture could not be had, the image is the
        :class:`~skiqa.exceptions.ImageError` that says why.

    Raises
    ------
    ImportError
        If the package is missing that reads a place.
    ValueError
        If it cannot be told which column of a table holds pictures.

    Notes
    -----
    Memory does not grow with the number of pictures: 128 MiB of shards and 128 MiB of addresses are
    read ahead, and what each of 16 readers has in hand. Faults that pass (busy, cut off, slow) are
    waited for, some eight seconds.

    Examples
    --------
    >>> import io, tarfile, tempfile
    >>> from skiqa.sources import iter_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with tarfile.open(f"{folder}/photos.tar", "w") as shard:
    ...         for key in ("000", "001"):
    ...             for extension in ("jpg", "json"):
    ...                 shard.addfile(tarfile.TarInfo(f"{key}.{extension}"))
    ...     [name.partition("::")[0] for name, image in iter_images(f"{folder}/photos.tar")]
    ['tar://000.jpg', 'tar://001.jpg']
    """
    listed = [places] if isinstance(places, str | os.PathLike) else places
    return _iter_images([os.fspath(place) for place in listed], column, films, wanted or _all)


def _all(name: str) -> bool:
    return True


def _iter_images(
    places: Sequence[str], column: str | None, films: Films, wanted: Callable[[str], bool]
) -> Generator[Named, None, None]:
    entries = _entries(places, column, films, wanted)
    if not any(is_address(place) or is_shard(place) or is_film(place) for place in places):
        yield from entries
        return
    with closing(iter_in_thread(entries, limit=BYTES_AHEAD)) as drawn:
        ahead = iter_ahead(
            _with_bytes,
            drawn,
            n_threads=N_READERS,
            n_ahead=2 * N_READERS,
            on_error="nan",
            limit=BYTES_AHEAD,
        )
        with closing(ahead):
            for (name, _), found in ahead:
                yield Named(name, found) if isinstance(found, ImageError) else found


def _entries(
    places: Sequence[str], column: str | None, films: Films, wanted: Callable[[str], bool]
) -> Generator[Named, None, None]:
    """Yield pictures; those at addresses are yet to be read."""
    for place in places:
        if is_table(place):
            yield from iter_table(place, column, wanted)
        elif is_shard(place):
            yield from iter_tar(place, wanted)
        elif is_film(place):
            yield from iter_film(place, films, wanted)
        elif wanted(name := public_name(place)):
            yield Named(name, place)


def _with_bytes(entry: Named) -> Named:
    """Return a picture with its bytes where it was an address."""
    if is_address(entry.image):
        return Named(entry.name, read_address(entry.image))
    return entry
