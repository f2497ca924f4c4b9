"""Otsu's thresholds, against exhaustive search."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skiqa.degradations._thresholds import otsu_thresholds

QUICK = settings(max_examples=30)


@QUICK
@given(st.data(), st.integers(1, 3))
def test_otsu_finds_the_optimum(data, n_thresholds):
    n_bins = data.draw(st.integers(2, 9))
    counts = data.draw(st.lists(st.integers(0, 20), min_size=n_bins, max_size=n_bins))
    if not any(counts):
        counts[0] = 1
    p = np.array(counts, float)

    def between(cuts):
        bounds = [0, *(cut + 1 for cut in cuts), n_bins]
        parts = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        values = np.arange(n_bins)
        return sum((p[s] @ values[s]) ** 2 / p[s].sum() for s in parts if p[s].sum())

    found = otsu_thresholds(torch.tensor(counts), n_thresholds)
    n = min(n_thresholds, int((p > 0).sum()) - 1)
    assert len(found) == n
    assert found == sorted(set(found))
    best = max(between(cuts) for cuts in itertools.combinations(range(n_bins - 1), n))
    assert between(found) == pytest.approx(best, rel=1e-12)


def test_otsu_with_more_thresholds_than_values():
    assert otsu_thresholds(torch.tensor([0, 3, 0, 0, 2]), 7) == [1]
    assert otsu_thresholds(torch.tensor([0, 3, 0]), 7) == []
