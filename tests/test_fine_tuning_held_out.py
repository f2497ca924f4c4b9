"""The held-out part: which network is chosen."""

import numpy as np
import pytest

from skiqa._fine_tuning.data import RatedImages
from skiqa._fine_tuning.held_out import HeldOut, mean_srocc, split_by_content


def test_content_groups_are_never_split():
    groups = np.repeat(np.arange(8), 3)
    train, held_out = split_by_content(groups, 0.15, 0)
    assert len(held_out)
    assert not set(groups[train]) & set(groups[held_out])


def test_the_error_of_a_rank_counts_contents_not_images():
    rng = np.random.default_rng(3)
    y, a, b = np.repeat(rng.normal(size=(3, 12)), 40, axis=1) + 0.3 * rng.normal(size=(3, 480))
    as_good = []
    for groups in (np.arange(480), np.repeat(np.arange(12), 40), np.arange(480) % 12):
        rated = RatedImages(None, y, groups, np.zeros(480, np.intp), *[np.ones(480)] * 3)
        held_out = HeldOut(y[:, None], rated, np.arange(480), np.arange(480), 1e-6)
        held_out.start_srocc, held_out.best_scores = -1.0, y + 0.5 * a
        as_good.append(held_out.is_as_good(held_out.scores((y + 0.8 * b)[:, None])))
    # .905 beside .952; the last contents are all alike: which are drawn is one
    assert as_good == [False, True, False]


def test_the_ridge_that_ranks_has_not_seen_what_is_held_out():
    rng = np.random.default_rng(0)
    rows, y, train, rest = (
        rng.normal(size=(20, 3)),
        rng.normal(size=20),
        np.arange(15),
        range(15, 20),
    )
    coefs = []
    for sign in (1, -1):
        y[rest] *= sign
        rated = RatedImages(None, y, np.arange(20), np.zeros(20, np.intp), *[np.ones(20)] * 3)
        coefs.append(HeldOut(rows, rated, train, np.array(rest), 1.0).coef)
    np.testing.assert_array_equal(*coefs)


def test_a_network_that_ranks_nothing_is_the_worst():
    y, datasets = np.array([1.0, 2, 3, 1, 2, 3]), np.array([0, 0, 0, 1, 1, 1])

    def mean(y, predicted, datasets):
        return mean_srocc(y, predicted, datasets, np.ones(len(y)))

    assert mean(y, np.array([1.0, 2, 3, 3, 2, 1]), datasets) == pytest.approx(0)
    assert mean(y, np.array([1.0, 2, 3, 5, 5, 5]), datasets) == pytest.approx(0)
    assert mean(y[:4], np.array([1.0, 3, 2, 0]), datasets[:4]) == pytest.approx(0.5)  # one alone
    assert mean(y[:1], y[:1], datasets[:1]) == -1


def test_a_later_network_is_chosen_unless_it_is_clearly_worse():
    rng = np.random.default_rng(0)
    y = rng.normal(size=200)
    rated = RatedImages(None, y, np.arange(200), np.zeros(200, np.intp), *[np.ones(200)] * 3)
    rows = (y + rng.normal(size=200))[:, None]
    held_out = HeldOut(rows, rated, np.arange(200), np.arange(200), 1.0)

    def noisy(scale, seed):
        noise = np.random.default_rng(seed).normal(size=200)
        return held_out.scores((y + scale * noise)[:, None])

    def chosen(scores):
        answer = held_out.is_as_good(scores)
        if held_out.is_better(scores):
            held_out.keep(scores)
        return answer

    good, as_good, worse = noisy(0.5, 1), noisy(0.55, 2), noisy(0.8, 3)
    better, fewer = held_out.srocc(good), held_out.srocc(as_good)
    assert better - 0.03 < fewer < better
    start = held_out.scores(rows)
    assert better > held_out.srocc(worse) + 0.05 > held_out.srocc(start) + 0.05
    assert not chosen(start)  # as good as the start is not better
    assert [chosen(s) for s in (good, as_good, worse, good)] == [True, True, False, True]
