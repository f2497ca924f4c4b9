from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skiqa._inputs.forms import describe, is_array_like, is_missing, is_single, is_tensor

torch = pytest.importorskip("torch")
pd = pytest.importorskip("pandas")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("a.jpg", "'a.jpg'"),
        (Path("a.jpg"), "'a.jpg'"),
        (b"abc", "<3 bytes>"),
        (Image.new("L", (3, 2)), "<PIL image L 3x2>"),
        (np.zeros((2, 3), np.uint8), "<array (2, 3) uint8>"),
        (torch.zeros(3, 2, 2), "<tensor (3, 2, 2) float32>"),
        (None, "None"),
        ([[0.0]], "<list>"),
    ],
)
def test_description_says_what_stands_there(image, words):
    assert describe(image) == words


@pytest.mark.parametrize("gap", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT])
def test_gaps_are_missing(gap):
    assert is_missing(gap)
    assert not is_single(gap)


def test_each_kind_is_told_from_the_others():
    paths_bytes_pil = ["a.jpg", Path("a.jpg"), b"abc", bytearray(b"abc"), Image.new("L", (3, 2))]
    array, tensor, series = np.zeros((2, 3)), torch.zeros(2, 3), pd.Series([0.0])
    assert all(map(is_single, paths_bytes_pil))
    assert not any(map(is_single, [array, tensor, series, [array], 0.0]))
    assert is_tensor(tensor)
    assert is_tensor(torch.nn.Parameter(tensor))
    assert not any(map(is_tensor, [array, series, "a.jpg"]))
    assert all(map(is_array_like, [array, tensor, series]))
    assert not any(map(is_array_like, ["a.jpg", [0.0]]))
    assert not any(map(is_missing, [array, tensor, "", 0.0]))
