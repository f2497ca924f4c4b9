"""Results as text: tables aligned for the screen, tables in Markdown, pandas where it is there."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np

METRICS = ("srocc", "plcc", "krocc", "rmse")


def format_score(metric: str, value: float) -> str:
    """Return three digits after the point; of RMSE, which has a unit, four in all."""
    if np.isnan(value):
        return "-"
    return f"{value:.4g}" if metric == "rmse" else f"{value:.3f}"


def aligned_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in (header, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def import_pandas() -> ModuleType:
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "A frame needs pandas, which is not installed: pip install pandas"
        ) from error
    return pd
