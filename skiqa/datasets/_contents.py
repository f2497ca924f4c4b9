"""Which images show one content, by the names that people give it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from skiqa._types import Integers

_NO_NAME = {"", "None", "nan", "<NA>", "NaT"}  # how Python writes what stands where nothing does


def content_numbers(groups: npt.ArrayLike) -> Integers:
    """Return a number from 0 on for the content of each image, in the order of the names.

    Parameters
    ----------
    groups : array-like of shape (n,)
        Names or numbers of contents. What has none (None, NaN, "") is a content of its own.

    Returns
    -------
    ndarray of shape (n,), int

    Examples
    --------
    >>> from skiqa.datasets._contents import content_numbers
    >>> content_numbers(["sea", "", "beach", "sea", ""])
    array([1, 2, 0, 1, 3])
    """
    labels = np.asarray(groups, dtype=object)
    unnamed = np.array([str(label) in _NO_NAME for label in labels], bool)
    numbers = np.empty(len(labels), np.intp)
    named = np.asarray(labels[~unnamed].tolist())
    numbers[~unnamed] = np.unique(named, return_inverse=True)[1]
    numbers[unnamed] = len(set(numbers[~unnamed].tolist())) + np.arange(unnamed.sum())
    return numbers
