"""Scores of collections that are larger than one machine."""

from skiqa.distributed._rows import Row

__all__ = ["Row"]
