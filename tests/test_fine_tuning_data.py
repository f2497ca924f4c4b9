"""What is trained on: the scale of ratings, batches, and partners."""

import numpy as np

from skiqa._fine_tuning.data import RatedImages, TrainingSet, level_and_spread


def test_equal_ratings_have_no_scale():
    y, datasets = np.array([0.1, 0.1, 0.1, 1, 3]), np.array([0, 0, 0, 1, 1])
    level, spread = level_and_spread(y, datasets)
    np.testing.assert_allclose(level, [0.1, 2])
    assert spread.tolist() == [1, 1]


def test_partners_are_of_equal_quality_across_datasets():
    """Equal standardised y on different levels: a bad database and a good one."""
    rng = np.random.default_rng(0)
    datasets = np.arange(400) % 2
    quality = rng.normal(size=400) + 4.0 * datasets
    rows = np.column_stack([quality, rng.normal(size=(400, 20))]).astype(np.float32)
    y = quality - 4.0 * datasets
    rated = RatedImages(None, y, np.arange(400), datasets)
    how = {"alpha": 1.0, "seed": 0, "with_partners": True}
    partners = TrainingSet.of(rated, np.arange(400), rows, **how).partners
    assert np.abs(quality[partners] - quality).mean() < 0.5


def batches(partners=None):
    """Return the batches of four of an epoch of twelve images."""
    training_set = TrainingSet(np.arange(12), np.zeros(12), np.zeros(12, int), None, partners)
    return training_set.batches(seed=0, epoch=0, size=4)


def test_an_epoch_sees_each_image_once_and_partners_beside_them():
    parts = batches()
    assert sorted(np.concatenate(parts)) == list(range(12))
    partners = np.roll(np.arange(12), 1)
    parts = batches(partners)
    assert sorted(np.concatenate([p[:2] for p in parts])) == list(range(12))
    assert all((partners[p[:2]] == p[2:]).all() for p in parts)
