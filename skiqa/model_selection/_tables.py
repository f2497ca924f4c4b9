"""Results as text: tables aligned for the screen, tables in Markdown, pandas where it is there."""

import numpy as np

METRICS = ("srocc", "plcc", "krocc", "rmse")


def number(metric, value):
    if np.isnan(value):
        return "-"
    return f"{value:.4g}" if metric == "rmse" else f"{value:.3f}"


def aligned(header, rows):
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in (header, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def markdown(header, rows):
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def import_pandas():
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "A frame needs pandas, which is not installed: pip install pandas"
        ) from error
    return pd
