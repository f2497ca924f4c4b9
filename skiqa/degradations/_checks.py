"""What the strength of a degradation may be, and how the error says so.

`what` names it, as in "jitter: std".
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["as_count", "check_above", "check_at_least", "check_between", "check_each_between"]


def check_at_least(what: str, value: float, low: float) -> None:
    """Raise unless ``value >= low``."""
    if not value >= low:
        raise ValueError(f"{what} must be {low} or more, not {value}.")


def check_above(what: str, value: float, low: float) -> None:
    """Raise unless ``value > low``."""
    if not value > low:
        raise ValueError(f"{what} must be above {low}, not {value}.")


def check_between(what: str, value: float, low: float, high: float) -> None:
    """Raise unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ValueError(f"{what} {value} is not in {low}..{high}.")


def check_each_between(what: str, values: Sequence[float], low: float, high: float) -> None:
    """Raise unless ``low <= value <= high`` for every value; the message names the first other."""
    for i, value in enumerate(values):
        if not low <= value <= high:
            raise ValueError(f"{what} {value} at index {i} is not in {low}..{high}.")


def as_count(what: str, value: float, low: int, high: int | None = None) -> int:
    """`value` as an int in low..high; without `high`, low or more."""
    if value != int(value) or value < low or (high is not None and value > high):
        range_ = f"above {low - 1}" if high is None else f"in {low}..{high}"
        raise ValueError(f"{what} must be a whole number {range_}, not {value}.")
    return int(value)
