"""What the displays share."""

import torch

from skiqa._inputs.resizing import resize
from skiqa.degradations import get_bank, list_operators
from skiqa.degradations._pillow import from_bytes, to_bytes

LEVELS = (1, 2, 3, 4, 5)


def pyplot():
    """Return matplotlib.pyplot, or say how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            'Displays need matplotlib, which is not installed: pip install "skiqa[plot]"'
        ) from error
    return plt


def new_axes(size):
    """Return the axes of a new figure of (width, height) inches."""
    return pyplot().figure(figsize=size, layout="constrained").add_subplot()


def checked_operators(operators, levels):
    """Return the operators of a bank, or of names, and the levels, checked."""
    if isinstance(operators, str) and operators in list_operators():
        operators = (operators,)
    levels = tuple(levels)
    if not levels or any(level not in LEVELS for level in levels):
        raise ValueError(f"levels={levels!r}: give one or more of 1..5.")
    return get_bank(operators).operators, levels


def degraded(image, operator, levels, seed):
    """One photo (h, w, 3) uint8 at several levels: (n_levels, h, w, 3) uint8."""
    photo = from_bytes(image[None]).expand(len(levels), -1, -1, -1)
    return to_bytes(operator(photo, torch.tensor(levels), seed))


def at_most(image, max_side):
    """Return an image whose longer side is no longer than `max_side`, scaled down if need be."""
    longest = max(image.shape[:2])
    return image if max_side is None or longest <= max_side else resize(image, max_side / longest)
