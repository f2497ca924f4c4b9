"""Degradations: what spoils a picture, in five levels, on batches of tensors.

One function per degradation (``blur.gaussian_blur(images, sigma)``), one :class:`Operator` per
function and its five levels, one :class:`Bank` per set of operators, one :class:`Space` per
distribution over sequences of them. :func:`degrade` is for the prompt: any image, a name, a level.
"""

from skiqa.degradations import blur, brightness, color, compression, noise, sharpness, spatial
from skiqa.degradations._batching import batched
from skiqa.degradations._degrade import degrade
from skiqa.degradations._registry import Operator, get_operator, list_operators, register
from skiqa.degradations.bank import ARNIQA, KADIS, QPT, REIQA, Bank, get_bank
from skiqa.degradations.sequences import apply_sequences, format_sequence, parse_sequence
from skiqa.degradations.spaces import BankSpace, SequenceSpace, ShuffleSpace, Space, get_space

__all__ = [
    "ARNIQA",
    "KADIS",
    "QPT",
    "REIQA",
    "Bank",
    "BankSpace",
    "Operator",
    "SequenceSpace",
    "ShuffleSpace",
    "Space",
    "apply_sequences",
    "batched",
    "blur",
    "brightness",
    "color",
    "compression",
    "degrade",
    "format_sequence",
    "get_bank",
    "get_operator",
    "get_space",
    "list_operators",
    "noise",
    "parse_sequence",
    "register",
    "sharpness",
    "spatial",
]
