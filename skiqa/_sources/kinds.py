"""Which files hold pictures, and which hold many: shards. Told by their names."""

from __future__ import annotations

import os
from typing import BinaryIO
from urllib.parse import urlsplit

from skiqa._inputs.addresses import is_address, open_address
from skiqa._inputs.formats import EXTENSIONS

__all__ = [
    "SHARDS",
    "is_film",
    "is_picture",
    "is_shard",
    "is_table",
    "open_place",
    "path_of",
]

TABLES = (".parquet", ".arrow", ".feather")
_FILMS = """.3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .webm .wmv"""
FILMS = tuple(_FILMS.split())
SHARDS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", *TABLES)


def path_of(place: str) -> str:
    """Return the path of a file in an address, a path as it is.

    Examples
    --------
    >>> from skiqa._sources.kinds import path_of
    >>> path_of("tar://a.jpg::https://example.org/photos.tar?version=2")
    'a.jpg'
    """
    if not is_address(place):
        return place
    link = next(link for link in place.split("::") if "://" in link)
    if link.startswith(("http://", "https://")):
        return urlsplit(link).path
    return link.partition("://")[2]


def is_picture(name: str) -> bool:
    """Is it a picture, to judge by the extension, or a link to one, or anything of that name?"""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def is_film(place: str) -> bool:
    """Is it a film?"""
    return path_of(place).lower().endswith(FILMS)


def is_shard(place: str) -> bool:
    """Does it hold many pictures: is it a tar archive or a table?"""
    return path_of(place).lower().endswith(SHARDS)


def is_table(place: str) -> bool:
    """Is it a table: Parquet or Arrow?"""
    return path_of(place).lower().endswith(TABLES)


def open_place(place: str) -> BinaryIO:
    """Open a file, or what is at an address, for reading."""
    return open_address(place) if is_address(place) else open(place, "rb")
