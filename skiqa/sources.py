"""Pictures where they lie: files, addresses, tar shards, Parquet and Arrow.

Addresses and tables need an extra: ``pip install "skiqa[sources]"``.
"""

from skiqa._sources.films import Films
from skiqa._sources.named import Named
from skiqa._sources.reading import iter_images

__all__ = ["Films", "Named", "iter_images"]
