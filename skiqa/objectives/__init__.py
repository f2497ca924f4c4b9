"""Training objectives, one file for each paper.

An objective says what a network is trained for: what of a photo it is shown, and which of these
views attract or repel each other. One of one's own derives from :class:`Objective`, which says what
it must define, and is given to the encoder as ``objective``.

A *window* is the square that is cut from a photo in each epoch, at a random place; it is what an
objective is given of a photo. A *view* is what enters the network: a square of a window, or all of
it at half scale, degraded. Papers call both crops.
"""

from skiqa.objectives._base import Objective
from skiqa.objectives._losses import info_nce, nt_xent, weighted_nt_xent
from skiqa.objectives.arniqa import Arniqa
from skiqa.objectives.contrique import Contrique
from skiqa.objectives.qpt import Qpt
from skiqa.objectives.reiqa import Reiqa
from skiqa.objectives.weighted import Weighted

OBJECTIVES: dict[str, type[Objective]] = {
    "arniqa": Arniqa,
    "contrique": Contrique,
    "qpt": Qpt,
    "reiqa": Reiqa,
    "weighted": Weighted,
}

__all__ = [
    "OBJECTIVES",
    "Arniqa",
    "Contrique",
    "Objective",
    "Qpt",
    "Reiqa",
    "Weighted",
    "info_nce",
    "nt_xent",
    "weighted_nt_xent",
]
