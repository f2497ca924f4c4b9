"""Training objectives, one file for each paper.

An objective says what a network is trained for: what of a photo it is shown, and which of these
views attract or repel each other. One of one's own derives from :class:`Objective`, which says what
it must define, and is given to the encoder as ``objective``.

A *window* is the square that is cut from a photo in each epoch, at a random place; it is what an
objective is given of a photo. A *view* is what enters the network: a square of a window, or all of
it at half scale, degraded. Papers call both crops.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the lazy names, for type checkers and editors
    from skiqa.objectives._base import Objective as Objective
    from skiqa.objectives._losses import info_nce as info_nce
    from skiqa.objectives._losses import nt_xent as nt_xent
    from skiqa.objectives._losses import weighted_nt_xent as weighted_nt_xent
    from skiqa.objectives.arniqa import Arniqa as Arniqa
    from skiqa.objectives.contrique import Contrique as Contrique
    from skiqa.objectives.qpt import Qpt as Qpt
    from skiqa.objectives.reiqa import Reiqa as Reiqa
    from skiqa.objectives.weighted import Weighted as Weighted

    OBJECTIVES: dict[str, type[Objective]]

# The name of an objective is that of its file, and with a capital that of its class.
NAMES = ("arniqa", "contrique", "qpt", "reiqa", "weighted")

# Public name -> the file that holds it. Resolved on first use, as those of skiqa itself, because
# the files import PyTorch, and to know the names of objectives nobody needs it.
_PUBLIC = {
    **{name.capitalize(): name for name in NAMES},
    "Objective": "_base",
    **dict.fromkeys(("info_nce", "nt_xent", "weighted_nt_xent"), "_losses"),
}

__all__ = ["OBJECTIVES", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name == "OBJECTIVES":
        value: Any = {key: __getattr__(key.capitalize()) for key in NAMES}
    elif name in _PUBLIC:
        value = getattr(import_module(f"skiqa.objectives.{_PUBLIC[name]}"), name)
    else:
        raise AttributeError(f"module 'skiqa.objectives' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
