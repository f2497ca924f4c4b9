"""Scores of collections that are larger than one machine: on Dask, Ray Data and Spark.

Dask needs an extra: ``pip install "skiqa[dask]"``.
"""

from typing import TYPE_CHECKING, Any

from skiqa.distributed._rows import Row

if TYPE_CHECKING:
    from skiqa.distributed._batches import QualityScorer
    from skiqa.distributed._score import score

__all__ = ["QualityScorer", "Row", "score"]

_FILES = {"QualityScorer": "_batches", "score": "_score"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _FILES:  # on first use: the command line imports rows and little else
        return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
