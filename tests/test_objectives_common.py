import math

import torch

from skiqa.objectives._common import Projector, cut_at_offsets, patch_features


def test_patches_run_row_by_row():
    maps = torch.zeros(2, 3, 4, 4)
    maps[0, 0, :2, :2] = 1  # top left
    maps[0, 1, :2, 2:] = 2  # top right
    maps[0, 2, 2:, :2] = 3  # bottom left
    maps[0, :, 2:, 2:] = 4  # bottom right
    maps[1] = 5
    patches = patch_features(maps)
    assert patches.shape == (8, 3)
    thirds = [1 / math.sqrt(3)] * 3
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 1], thirds, *[thirds] * 4]
    torch.testing.assert_close(patches, torch.tensor(expected, dtype=torch.float32))


def test_offsets_reach_every_corner():
    image = torch.arange(25.0).reshape(1, 1, 5, 5).expand(2, -1, -1, -1)
    offsets = torch.tensor([[0.0, 0.0], [1 - 2**-24, 1 - 2**-24]])
    squares = cut_at_offsets(image, offsets, 3)
    assert squares[0, 0, 0, 0] == 0
    assert squares[1, 0, 2, 2] == 24


def test_projector():
    head = Projector(10, 4)
    kinds = [type(layer).__name__ for layer in head]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    assert head(torch.randn(3, 10)).shape == (3, 4)
    assert not any(name in ("0.bias", "3.bias") for name, _ in head.named_parameters())
