"""What the displays share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from skiqa._inputs.resizing import resize
from skiqa._types import Pixels
from skiqa.degradations import Bank, Operator, get_bank, list_operators
from skiqa.degradations._pillow import from_bytes, to_bytes

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVELS = (1, 2, 3, 4, 5)


def pyplot() -> ModuleType:
    """Return matplotlib.pyplot, or say how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            'Displays need matplotlib, which is not installed: pip install "skiqa[plot]"'
        ) from error
    return plt


def new_axes(size: tuple[float, float] | None) -> Axes:
    """Return the axes of a new figure of (width, height) inches."""
    figure: Figure = pyplot().figure(figsize=size, layout="constrained")
    return figure.add_subplot()


def figure_of(ax: Axes) -> Figure:
    """Return the figure of axes, which can be saved: around subfigures, if they are in one."""
    return ax.figure.figure


def keep_in_place(ax: Axes, beside: Sequence[Artist]) -> None:
    """Narrow axes until what stands `beside` them, on the right, ends where they ended.

    A figure that lays out its axes itself makes room for them; nothing is done there.
    """
    if not beside or figure_of(ax).get_layout_engine() is not None:
        return
    ends = [box.x1 for artist in beside if (box := artist.get_tightbbox()) is not None]
    excess = max(ends) - ax.bbox.x1
    place, whole = ax.get_position(), figure_of(ax).bbox.width
    width = max(place.width - excess / whole, 0.1 * place.width)
    ax.set_position((place.x0, place.y0, width, place.height))


def checked_operators(
    operators: str | Bank | Sequence[str], levels: Iterable[int]
) -> tuple[tuple[Operator, ...], tuple[int, ...]]:
    """Return the operators of a bank, or of names, and the levels, checked."""
    if isinstance(operators, str) and operators in list_operators():
        operators = (operators,)
    levels = tuple(levels)
    if not levels or any(level not in LEVELS for level in levels):
        raise ValueError(f"levels={levels!r}: give one or more of 1..5.")
    return get_bank(operators).operators, levels


def degrade_at_levels(
    image: Pixels, operator: Operator, levels: Sequence[int], seed: int | torch.Tensor
) -> Pixels:
    """Degrade one photo (h, w, 3) at several levels: (n_levels, h, w, 3) uint8."""
    photo = from_bytes(image[None]).expand(len(levels), -1, -1, -1)
    return to_bytes(operator(photo, torch.tensor(levels), seed))


def scale_down_to(image: Pixels, max_side: int | None) -> Pixels:
    """Return an image whose longer side is no longer than `max_side`, scaled down if need be."""
    longest = max(image.shape[:2])
    return image if max_side is None or longest <= max_side else resize(image, max_side / longest)
