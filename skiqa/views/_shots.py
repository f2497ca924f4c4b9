"""Where a film cuts from one shot to the next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import av

__all__ = ["shot_middles"]

BINS = 32  # of gray
CUT = 0.35  # part of the pixels that change their bin from one frame to the next; our choice
SHORTEST = 0.5  # seconds: the end of a flash is no cut


def shot_middles(frames: Iterable[tuple[float, av.VideoFrame]]) -> list[float]:
    """Return the time in the middle of each shot of a film.

    Parameters
    ----------
    frames : iterable of (float, av.VideoFrame)
        All frames, with their times in seconds.

    Notes
    -----
    A cut is where the histograms of two frames that follow each other differ by more than a third
    of their pixels. Fades are missed: the shots that they join count as one.
    """
    before, cuts, time = None, [], 0.0
    for time, frame in frames:
        small = frame.reformat(64, 36, format="gray").to_ndarray()
        histogram = np.bincount(small.ravel() // (256 // BINS), minlength=BINS) / small.size
        changed = before is not None and np.abs(histogram - before).sum() / 2 > CUT
        if before is None or (changed and time - cuts[-1] >= SHORTEST):
            cuts.append(time)
        before = histogram
    return [(start + end) / 2 for start, end in zip(cuts, [*cuts[1:], time], strict=False)]
