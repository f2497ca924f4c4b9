"""What is trained on: the scale of ratings, batches, and partners."""

import numpy as np
import pytest

from skiqa._fine_tuning.data import (
    PartOfImages,
    RatedImages,
    TrainingSet,
    count_copies,
    level_and_spread,
    rate,
)
from skiqa._inputs.containers import as_image_list
from skiqa.exceptions import ImageError


def test_equal_ratings_have_no_scale():
    y, datasets = np.array([0.1, 0.1, 0.1, 1, 3]), np.array([0, 0, 0, 1, 1])
    level, spread = level_and_spread(y, datasets, np.ones(5))
    np.testing.assert_allclose(level, [0.1, 2])
    assert spread.tolist() == [1, 1]


def test_partners_are_of_equal_quality_across_datasets():
    """Equal standardised y on different levels: a bad database and a good one."""
    rng = np.random.default_rng(0)
    datasets = np.arange(400) % 2
    quality = rng.normal(size=400) + 4.0 * datasets
    rows = np.column_stack([quality, rng.normal(size=(400, 20))]).astype(np.float32)
    y = quality - 4.0 * datasets
    rated = RatedImages(None, y, np.arange(400), datasets, *[np.ones(400)] * 3)
    how = {"alpha": 1.0, "seed": 0, "with_partners": True}
    partners = TrainingSet.of(rated, np.arange(400), rows, **how).partners
    assert np.abs(quality[partners] - quality).mean() < 0.5


def batches(partners=None):
    """Return the batches of four of an epoch of twelve images."""
    training_set = TrainingSet(*[np.zeros(12, int)] * 3, None, partners, *[np.ones(12)] * 3)
    return training_set.batches(seed=0, epoch=0, size=4)


def test_an_epoch_sees_each_image_once_and_partners_beside_them():
    parts = batches()
    assert sorted(np.concatenate(parts)) == list(range(12))
    partners = np.roll(np.arange(12), 1)
    parts = batches(partners)
    assert sorted(np.concatenate([p[:2] for p in parts])) == list(range(12))
    assert all((partners[p[:2]] == p[2:]).all() for p in parts)


def counted(names, y, groups=None, weight=None):
    """Return (names, ratings, weights, groups) of what is kept of some images."""
    photos = [np.full((8, 8), ord(name), np.uint8) for name in names]
    groups, datasets = None if groups is None else np.array(groups), np.zeros(len(y), int)
    kept = count_copies(as_image_list(photos), np.array(y), groups, datasets, weight)
    names = "".join(names[k] for k in kept.places)
    return names, np.array(y)[kept.places].tolist(), kept.weights.tolist(), kept.groups.tolist()


def test_copies_are_one_row_and_what_weighs_nothing_is_not_there():
    y = [1.0, 2.0, 3.0]
    assert counted("cab", y) == ("cab", y, [1, 1, 1], [0, 1, 2])  # as they are
    assert counted("cab", y, weight=[1, 1, 1]) == counted("cab", y)
    assert counted("cab", y, groups=[1, 0, 1])[3] == [1, 0, 1]
    # one photo that was rated twice is two rows of one content
    assert counted("aba", y) == ("aba", y, [1, 1, 1], [0, 1, 0])
    # in whatever order, and however said: one of c, two of a, no b
    ways = [
        counted("cabd", [*y, 4.0], weight=[1, 2, 0, 1]),
        counted("acda", [2.0, 1.0, 4.0, 2.0]),
        counted("daac", [4.0, 2.0, 2.0, 1.0], weight=[1, 0.5, 1.5, 1]),
    ]
    assert ways[0] == ways[1] == ways[2]
    assert dict(zip(ways[0][0], ways[0][2], strict=True)) == {"c": 1, "a": 2, "d": 1}


def test_errors_call_images_by_their_places_in_x(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    images = as_image_list([np.zeros((8, 8)), np.ones((8, 8)), tmp_path / "bad.png"])
    part = PartOfImages(images, np.array([0, 2]))
    assert len(part) == 2
    with pytest.raises(ImageError, match=r"X\[2\] = .*bad\.png"):
        part.load(1)
    with pytest.raises(ValueError, match=r"X\[2\]"), part.naming_errors(1):
        raise ValueError("as any")
    np.testing.assert_array_equal(part.digests(), [images.digest(0), images.digest(2)])
    assert part.source(1) == images.source(2)


def test_contents_without_a_name_are_each_their_own():
    images = as_image_list([np.full((8, 8), k, np.uint8) for k in range(4)])
    rated, *_ = rate(images, np.arange(4.0), None, [np.nan, 1, np.nan, 1], None)
    assert rated.groups.tolist() == [1, 0, 2, 0]
