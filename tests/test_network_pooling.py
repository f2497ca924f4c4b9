import numpy as np
import torch

from skiqa._network.pooling import last_average, stage_statistics


def test_stage_statistics_against_numpy():
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, 5, 7, generator=generator), torch.randn(2, 4, 1, 1)]
    parts = []
    for x in maps:
        x = x.numpy().astype(np.float64)
        parts += [x.mean(axis=(2, 3)), x.std(axis=(2, 3))]
    np.testing.assert_allclose(stage_statistics(maps), np.hstack(parts), rtol=1e-5, atol=1e-6)
    last = maps[0].numpy().mean(axis=(2, 3))
    np.testing.assert_allclose(last_average([maps[1], maps[0]]), last, rtol=1e-5)


def test_dead_maps_have_no_slope():
    maps = torch.zeros(1, 2, 3, 3)
    maps[0, 1] = torch.arange(9.0).view(3, 3)
    maps.requires_grad_(True)
    stage_statistics([maps]).sum().backward()
    assert torch.isfinite(maps.grad).all()
    assert (maps.grad[0, 0] == 1 / 9).all()  # of the mean alone
    assert maps.grad[0, 1].unique().numel() > 1
