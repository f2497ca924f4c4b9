"""What a network in training sees of photos, and in how much memory."""

import numpy as np
import pytest
import torch
from fine_tuning_parts import network, photos, plan, windows

from skiqa._fine_tuning.kept_maps import KeptMaps
from skiqa._fine_tuning.tuner import parameter_groups
from skiqa.exceptions import ImageError


def test_windows_are_mirrored_at_even_odds():
    (image,) = windows(1)
    inputs = list(photos([image], window_size=64).inputs([0] * 40, range(40)))
    mirrored = [np.array_equal(window, image[:, ::-1]) for window in inputs]
    plain = [np.array_equal(window, image) for window in inputs]
    assert all(a or b for a, b in zip(mirrored, plain, strict=True))
    assert 10 < sum(mirrored) < 30


def test_inputs_of_any_size_and_one_size_agree():
    images = windows(3)
    mixed = photos().features(network(), [*images, images[0][:40]])[:3]
    torch.testing.assert_close(mixed, photos().features(network(), images))


@pytest.mark.parametrize("kind", ["photos", "maps"])
def test_large_batches_have_the_same_slopes_in_the_memory_of_one(tmp_path, monkeypatch, kind):
    images = photos()
    if kind == "maps":
        images = KeptMaps(images.images, images.extraction, None, 2, tmp_path)
    slopes, sizes = [], []

    def note_size(tensor):
        sizes[-1] += tensor.nbytes
        return tensor

    for budget in (10**9, 0):
        monkeypatch.setattr("skiqa._fine_tuning.sources._BATCH_BUDGET", budget)
        trained = network()
        groups = parameter_groups(trained, plan())
        inputs = list(images.inputs(range(4), range(4)))
        sizes.append(0)  # of what waits for the slopes
        with torch.autograd.graph.saved_tensors_hooks(note_size, lambda tensor: tensor):
            rows = images.features(trained, inputs)
        rows.square().sum().backward()
        slopes.append([p.grad for group in groups for p in group["params"]])
    for a, b in zip(*slopes, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-4 * float(a.abs().max()))
    assert sizes[1] < 0.1 * sizes[0]


def test_a_photo_that_memory_cannot_hold_is_named(monkeypatch):
    monkeypatch.setattr("skiqa._network.tiles.available_memory", lambda: 1000)
    monkeypatch.setattr("skiqa._network.tiles.TILED_ABOVE", 64 * 64)
    images = [*windows(2), np.zeros((96, 96, 3), np.uint8)]
    with pytest.raises(ImageError, match=r"X\[2\] = .* 96 x 96 .* window_size"):
        list(photos(images).inputs([0, 1, 2], [0] * 3))
    assert len(list(photos(images, window_size=64).inputs([0, 1, 2], [0] * 3))) == 3
