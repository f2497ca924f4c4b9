"""Images to train and test with: generated here, from nothing."""

from skiqa.datasets._dead_leaves import make_dead_leaves

__all__ = ["make_dead_leaves"]
