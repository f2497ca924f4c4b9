"""Sequences of degradations: what they are, how they are written, how they are applied.

A sequence is a tuple of steps ``(name, level)``, carried out from left to right; the empty tuple is
the pristine image. As text: ``"gaussian_blur:3 > jpeg:2"``, and ``"pristine"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch

from skiqa.degradations._batching import PerSample, as_samples, check_images
from skiqa.degradations._random import spawn
from skiqa.degradations._registry import N_LEVELS, get_operator

__all__ = ["PRISTINE", "Steps", "apply_sequences", "format_sequence", "parse_sequence"]

PRISTINE = "pristine"

# A sequence: names of operators and levels, carried out from left to right.
Steps: TypeAlias = tuple[tuple[str, int], ...]


def format_sequence(sequence: Sequence[tuple[str, int]]) -> str:
    """Write a sequence as text.

    Parameters
    ----------
    sequence : tuple of (str, int)
        Names of registered operators and levels 1..5.

    Returns
    -------
    str
        :func:`parse_sequence` reads it.

    Raises
    ------
    ValueError
        If there is no such operator or level.

    Examples
    --------
    >>> from skiqa.degradations import format_sequence
    >>> format_sequence((("gaussian_blur", 3), ("jpeg", 2)))
    'gaussian_blur:3 > jpeg:2'
    >>> format_sequence(())
    'pristine'
    """
    steps = _check_steps(sequence)
    return " > ".join(f"{name}:{level}" for name, level in steps) or PRISTINE


def parse_sequence(text: str) -> Steps:
    """Read a sequence from text; blanks do not matter.

    Parameters
    ----------
    text : str
        Such as ``"gaussian_blur:3 > jpeg:2"`` or ``"pristine"``.

    Returns
    -------
    tuple of (str, int)

    Raises
    ------
    ValueError
        If the text has another form, or names an operator or a level that there is not.

    Examples
    --------
    >>> from skiqa.degradations import parse_sequence
    >>> parse_sequence("gaussian_blur:3>jpeg:2")
    (('gaussian_blur', 3), ('jpeg', 2))
    >>> parse_sequence("pristine")
    ()
    """
    if not isinstance(text, str):
        raise TypeError(f"A sequence's text is a str, not {type(text).__name__}.")
    if text.strip() == PRISTINE:
        return ()
    steps = []
    for part in text.split(">"):
        name, _, level = (piece.strip() for piece in part.rpartition(":"))
        if not name or not (level.isascii() and level.isdecimal()):
            raise ValueError(
                f"{text!r} is no sequence: {part.strip()!r} is not of the form name:level. Write "
                f"such as 'gaussian_blur:3 > jpeg:2', or {PRISTINE!r}."
            )
        steps.append((name, int(level)))
    return _check_steps(steps)


def apply_sequences(
    images: torch.Tensor, sequences: str | Sequence[str | Steps], seeds: PerSample = 0
) -> torch.Tensor:
    """Degrade each image of a batch by a sequence of its own.

    Parameters
    ----------
    images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        RGB images, on any device. They are not changed.
    sequences : list of N sequences, or one for all images as text
        Each a tuple of (name, level) steps, or its text.
    seeds : int or int64 tensor of shape (N,), default=0
        Step s of image i draws from ``spawn(seeds[i], s)``: what becomes of an image depends on its
        own sequence and seed, and on nothing else in the batch.

    Returns
    -------
    torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
        New tensor on the device of `images`. After each step values are clipped to [0, 1].

    Raises
    ------
    ValueError
        If there are not N sequences, or one names what does not exist.

    Notes
    -----
    Images that take the same operator at the same step go through it together; on the CPU a batch
    equals its images bit for bit. Memory beyond the result: the images of one operator.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations import apply_sequences
    >>> images = torch.full((2, 3, 32, 32), 0.5)
    >>> degraded = apply_sequences(images, ["pristine", "darken:5 > white_noise:1"], seeds=7)
    >>> torch.equal(degraded[0], images[0]), round(float(degraded[1].mean()), 1)
    (True, 0.1)
    """
    check_images(images)
    n = len(images)
    if isinstance(sequences, str):
        sequences = [sequences] * n
    if not isinstance(sequences, Sequence) or len(sequences) != n:
        got = len(sequences) if isinstance(sequences, Sequence) else type(sequences).__name__
        raise ValueError(f"{n} images need a list of {n} sequences, not {got}.")
    texts = {s: parse_sequence(s) for s in {s for s in sequences if isinstance(s, str)}}
    parsed = [texts[s] if isinstance(s, str) else _check_steps(s) for s in sequences]
    seeds = as_samples(seeds, n, torch.int64, "seeds").cpu()
    result = images.clone(memory_format=torch.contiguous_format)
    for step in range(max(map(len, parsed), default=0)):
        members: dict[str, list[int]] = {}
        for i, steps in enumerate(parsed):
            if step < len(steps):
                members.setdefault(steps[step][0], []).append(i)
        step_seeds = spawn(seeds, step)
        for name, indices in members.items():
            index = torch.tensor(indices)
            levels = torch.tensor([parsed[i][step][1] for i in indices])
            place = index.to(images.device)
            result[place] = get_operator(name)(result[place], levels, step_seeds[index])
    return result


def _check_steps(sequence: Sequence[tuple[str, int]]) -> Steps:
    """The sequence as a tuple of (str, int), each known."""
    steps = []
    for step in sequence:
        if isinstance(step, str) or not isinstance(step, Sequence) or len(step) != 2:
            raise ValueError(f"A step is a pair (name, level), not {step!r}.")
        name, level = step
        get_operator(name)
        if not isinstance(level, (int, np.integer)) or isinstance(level, bool):
            raise TypeError(f"{name}: a level is an int, not {level!r}.")
        if not 1 <= level <= N_LEVELS:
            raise ValueError(f"{name}: level {level} is not in 1..{N_LEVELS}.")
        steps.append((name, int(level)))
    return tuple(steps)
