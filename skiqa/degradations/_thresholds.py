"""Otsu's thresholds, any number of them, exactly."""

from __future__ import annotations

import torch

__all__ = ["otsu_thresholds"]


def otsu_thresholds(histogram: torch.Tensor, n_thresholds: int) -> list[int]:
    """Thresholds that maximise the variance between classes.

    Maximises ``sum_k S_k^2 / P_k`` over all ways to cut the histogram into classes, with S_k the
    sum of values and P_k the count of class k, by dynamic programming.

    Parameters
    ----------
    histogram : int64 tensor of shape (n_bins,)
        Counts; bin i holds value i.
    n_thresholds : int
        Number of thresholds. At most one less than there are occupied bins is used.

    Returns
    -------
    list of int
        The last bin of every class but the last, ascending.

    Notes
    -----
    Time n_thresholds * n_bins^2: 1 ms for 20 thresholds of 256 bins.

    References
    ----------
    N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. Systems, Man,
    and Cybernetics 9(1), 1979, eq. 21 ff.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations._thresholds import otsu_thresholds
    >>> otsu_thresholds(torch.tensor([5, 4, 0, 0, 6, 0, 9]), 2)
    [1, 4]
    """
    # Empty bins cannot hold a cut of their own: work on the occupied ones.
    occupied = torch.nonzero(histogram)[:, 0]
    n_bins = len(occupied)
    n_thresholds = min(n_thresholds, n_bins - 1)
    if n_thresholds < 1:
        return []
    counts = histogram[occupied].to(torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    p = torch.cat([zero, counts.cumsum(0)])
    # Values counted from the mean: shifts change no threshold, and small sums lose no digits.
    values = occupied - (counts * occupied).sum() / counts.sum()
    s = torch.cat([zero, (counts * values).cumsum(0)])
    # gain[i, j]: of a class of bins i..j-1
    gain = (s[None] - s[:, None]).square() / (p[None] - p[:, None]).clamp(min=1)
    gain[torch.ones_like(gain, dtype=torch.bool).tril()] = -torch.inf
    best = gain[0]  # best[j]: of bins 0..j-1 in k classes
    choices = []
    for _ in range(n_thresholds):
        best, choice = (best[:, None] + gain).max(0)
        choices.append(choice)
    cuts, j = [], n_bins
    for choice in reversed(choices):
        j = int(choice[j])
        cuts.append(int(occupied[j - 1]))
    return cuts[::-1]
