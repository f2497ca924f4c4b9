"""Opinions, some of which a teacher gives: whose they are, what they count, who is held out."""

import numpy as np
import pytest
from fine_tuning_parts import windows

from skiqa._fine_tuning.confidence import confidence
from skiqa._fine_tuning.data import RatedImages
from skiqa._fine_tuning.opinions import Opinions, split_again
from skiqa._inputs.containers import as_image_list

NAN = float("nan")


def opinions(y, weight=None, groups=None, datasets=None, y_std=None):
    images = as_image_list(windows(len(y)))
    return Opinions.of(images, np.array(y), weight, groups, datasets, y_std)


def test_a_teacher_rates_on_the_scale_of_each_dataset_and_counts_by_its_confidence():
    given = {
        "y": [1.0, 2.0, NAN, 50.0, NAN, 70.0, NAN, NAN],
        "weight": [1.0, 1, 1, 1, 2, 1, 1, 0],
        "datasets": ["a", "a", "a", "b", "b", "b", "b", "b"],
        "y_std": [0.1, 0.3, NAN, 8.0, NAN, 4.0, 0.0, 0.0],
    }
    some = opinions(**given)
    assert some.unrated.tolist() == [2, 4, 6]
    scales = {"a": (1.0, 0.0), "b": (20.0, 10.0)}
    spread = np.array([0.1, 0.2, 0.6])
    done, sure = some.completed(np.array([1.5, 1.5, 3.0]), spread, 0.5, scales)
    np.testing.assert_array_equal(done.y, [1.0, 2.0, 1.5, 50.0, 40.0, 70.0, 70.0, NAN])
    of_teacher = np.array([1 / 1.25, 1 / 2, 1 / 10])
    np.testing.assert_allclose(sure[[2, 4, 6]], of_teacher)
    np.testing.assert_allclose(done.counts[[2, 4, 6]], 0.5 * of_teacher * [1, 2, 1])
    np.testing.assert_array_equal(np.delete(sure, [2, 4, 6]), 1)
    np.testing.assert_array_equal(np.delete(done.counts, [2, 4, 6]), [1, 1, 1, 1, 0])
    np.testing.assert_allclose(done.deviations[:7], [0.1, 0.3, 0.2, 8.0, 6.0, 4.0, 6.0])


def test_a_teacher_without_spread_is_sure():
    np.testing.assert_array_equal(confidence(np.zeros(3)), 1)


def test_images_of_weight_0_are_not_there():
    y, weight = [1.0, 2.0, 3.0, NAN], [1.0, 0.0, 1.0, 1.0]
    some = opinions(y, weight, y_std=[1.0, 0.0, 2.0, NAN])  # no rating, no deviation of it
    rated = some.ratings().images  # in any order; the scores' own deviation is 1
    assert dict(zip(rated.places, rated.deviations, strict=True)) == {0: 1, 2: 2}
    for weight in ([0.0, 0, 1, 1], [0.0, 0, 0, 1]):
        with pytest.raises(ValueError, match=rf"a score for {weight[2]:.0f} of n_samples = 4"):
            opinions(y, weight)
    with pytest.raises(ValueError, match=r"y_std\[2\] = -1.0"):
        opinions(y, y_std=[1.0, 1.0, -1.0, NAN])


def test_a_dataset_that_nobody_rated_is_refused_before_any_training():
    y, names = [1.0, 2.0, 3.0, NAN], ["a", "a", "b", "b"]
    opinions(y, datasets=names)
    with pytest.raises(ValueError, match=r"datasets \['b'\] have no rated image"):
        opinions(y, [1, 1, 0, 1], datasets=names)
    opinions(y, [1, 1, 0, 0], datasets=names)  # neither is there


def test_what_was_held_out_stays_so_and_its_content_is_neither():
    groups, places = np.array([4, 4, 7, 7, 9, 9]), np.array([0, 3, 5, 6, 8, 9])
    rated = RatedImages(None, np.zeros(6), groups, groups * 0, np.ones(6), places, np.ones(6))
    train, held_out = split_again(rated, np.array([5]))  # the place in X of the third
    assert (train.tolist(), held_out.tolist()) == ([0, 1, 4, 5], [2])
