"""Training objectives, one file for each paper."""

from skiqa.objectives.contrique import Contrique

OBJECTIVES = {"contrique": Contrique}

__all__ = ["OBJECTIVES", "Contrique"]
