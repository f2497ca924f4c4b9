"""A picture and what it is called."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Named"]


class Named(NamedTuple):
    """A picture and its name.

    Parameters
    ----------
    name : str
        The path of a file, or an address without what lets others in. Of a member of a tar shard
        ``tar://MEMBER::SHARD``, which fsspec opens; of a row of a table ``TABLE#NUMBER``;
        of a frame of a film ``FILM#t=SECONDS``.
    image : str, bytes, ndarray or ImageError
        A path, an address, the bytes of an encoded file, a frame, or why it could not be had;
        None for a gap in a table.
    """

    name: str
    image: Any

    @property
    def nbytes(self) -> int:
        """What it holds in memory, as far as that matters."""
        if isinstance(self.image, bytes):
            return len(self.image)
        return int(getattr(self.image, "nbytes", 0))
