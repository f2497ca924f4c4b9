"""Degradations: what spoils a picture, in five levels, on batches of tensors.

One function per degradation (``blur.gaussian_blur(images, sigma)``), one :class:`Operator` per
function and its five levels, one :class:`Bank` per set of operators. :func:`degrade` is for the
prompt: any image, a name, a level.
"""

from . import blur, brightness, color, compression, noise, sharpness, spatial
from ._batching import batched
from ._degrade import degrade
from ._registry import Operator, get_operator, list_operators, register
from .bank import KADIS, Bank, get_bank

__all__ = [
    "KADIS",
    "Bank",
    "Operator",
    "batched",
    "blur",
    "brightness",
    "color",
    "compression",
    "degrade",
    "get_bank",
    "get_operator",
    "list_operators",
    "noise",
    "register",
    "sharpness",
    "spatial",
]
