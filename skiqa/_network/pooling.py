"""Feature maps -> a vector: the statistics of every stage, or the mean of the last map."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch


def stage_statistics(maps: Iterable[torch.Tensor]) -> torch.Tensor:
    """Pool feature maps into their spatial means and population standard deviations.

    Parameters
    ----------
    maps : iterable of tensors (n, c_s, h_s, w_s)
        One map for each stage s.

    Returns
    -------
    tensor of shape (n, 2 * sum_s c_s), float32
        For each stage the c_s means, then the c_s standard deviations.
    """
    pooled = []
    for x in maps:
        variance, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0)
        varies = variance > 0  # the root has no slope at 0: training would get NaN from dead maps
        pooled += [mean, torch.where(varies, variance, 1.0).sqrt() * varies]
    return torch.cat(pooled, dim=1)


def last_average(maps: Iterable[torch.Tensor]) -> torch.Tensor:
    """Pool the last of some feature maps into its spatial mean: (n, c), float32."""
    *_, last = maps
    return last.float().mean(dim=(2, 3))


POOLINGS: dict[str, Callable[[Iterable[torch.Tensor]], torch.Tensor]] = {
    "stages": stage_statistics,
    "avg": last_average,
}
