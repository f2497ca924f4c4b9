"""What ``skiqa degrade`` writes of each photo: the degradations that its options stand for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from skiqa.degradations import Bank
    from skiqa.degradations.sequences import Steps

__all__ = ["Variant", "find_bank", "plan_variants"]


class Variant(NamedTuple):
    """One picture to be written."""

    file: str
    source: str
    sequence: Steps
    seed: int


def plan_variants(
    files: Sequence[str],
    bank: Bank | None,
    levels: Sequence[int],
    texts: Sequence[str],
    space: str | None,
    n: int,
    seed: int,
) -> list[tuple[str, list[Variant]]]:
    """Return [(photo's path, its variants)]."""
    import torch

    from skiqa.degradations import get_bank, get_space, parse_sequence
    from skiqa.degradations._random import spawn

    plan = []
    for p, (file, stem) in enumerate(zip(files, _stems(files), strict=True)):
        own = spawn(torch.tensor([seed]), p)  # each photo draws numbers of its own
        if space:
            drawn = get_space(space)
            if bank:
                drawn.set_params(bank=bank)
            seeds = torch.cat([spawn(own, k) for k in range(n)])
            labels = [f"{space}_{k + 1:0{len(str(n))}}" for k in range(n)]
            sequences = drawn.sample(seeds)
        else:
            if texts:
                labels = [f"sequence_{k + 1}" for k in range(len(texts))]
                sequences = [parse_sequence(text) for text in texts]
            else:
                names = (bank or get_bank("all")).names
                steps = [(name, level) for name in names for level in levels]
                labels = [f"{name}_{level}" for name, level in steps]
                sequences = [(step,) for step in steps]
            seeds = own.expand(len(labels))
        variants = [
            Variant(f"{stem}__{label}.png", file, sequence, number)
            for label, sequence, number in zip(labels, sequences, seeds.tolist(), strict=True)
        ]
        plan.append((file, variants))
    return plan


def find_bank(operators: str | None) -> Bank | None:
    """Return the bank of all that the option names - operators, groups, banks -, None of None."""
    from skiqa.degradations import get_bank, get_operator, list_operators

    if operators is None:
        return None
    known = list_operators()
    groups = {get_operator(name).group for name in known}
    names: list[str] = []
    for word in map(str.strip, operators.split(",")):
        if word in known:
            names.append(word)
        elif word in groups:
            names += list_operators(word)
        else:
            try:
                names += get_bank(word).names
            except ValueError:
                near = difflib.get_close_matches(word, [*known, *groups], 1)
                hint = f"did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
                raise ValueError(f"{word!r} is no degradation, group or bank: {hint}") from None
    return get_bank(tuple(dict.fromkeys(names)))


def _stems(files: Sequence[str]) -> list[str]:
    """Return a name for each photo's pictures; photos of one name in several folders get numbers.

    Case does not tell names apart, as some file systems do not.
    """
    taken: set[str] = set()
    stems: list[str] = []
    for file in files:
        stem = wanted = Path(file).stem
        number = 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{wanted}_{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems
