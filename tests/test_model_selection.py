import pickle

import numpy as np
import pytest
import sklearn
from joblib import parallel_config
from scipy.stats import spearmanr
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, GroupShuffleSplit, KFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch

from skiqa import ContrastiveQualityEncoder, ReferenceDifference
from skiqa.metrics import fit_logistic, krocc_score, plcc_score, rmse_error, srocc_scorer
from skiqa.model_selection import Evaluation, compare, cross_database, evaluate, srocc_interval
from skiqa.model_selection._significance import weighted_srocc


def database(n_contents=40, per_content=10, n_features=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_contents * per_content, n_features))
    y = X @ [3, 2, 1, 0, 0] + rng.normal(0, 2, len(X))
    kinds = np.array(["blur", "jpeg"])[np.arange(len(X)) % 2]
    groups = np.repeat(np.arange(n_contents), per_content)
    return Bunch(data=X, target=y, groups=groups, degradation=kinds, name=f"made {seed}")


def strong_content(n_contents, seed, scale):
    """Degraded copies whose scores depend on their content more than on what features show."""
    rng = np.random.default_rng(seed)
    content = rng.standard_normal((n_contents, 8))  # recognizable,
    offset = rng.normal(0, 1.5, n_contents)  # rated higher or lower for reasons of its own
    groups = np.repeat(np.arange(n_contents), 20)
    level = rng.integers(1, 6, len(groups))
    X = np.column_stack([scale * content[groups], level + rng.normal(0, 0.5, len(groups))])
    return X, offset[groups] - level + rng.normal(0, 0.3, len(groups)), groups


def test_random_splits_leak_content_and_evaluate_does_not():
    model, found = KNeighborsRegressor(5), []
    for seed in range(4):
        X, y, groups = strong_content(60, seed, scale=2)
        leaking = evaluate(model, X, y, mapping=None)
        honest = evaluate(model, X, y, groups, mapping=None)
        for train, test in honest.splits:
            assert not set(groups[train]) & set(groups[test])
            assert len(train) + len(test) == len(X)
        # the truth: a model of all these contents meets contents that no one has seen
        new, opinions, _ = strong_content(300, seed + 100, scale=2)
        truth = spearmanr(opinions, model.fit(X, y).predict(new)).statistic
        found.append([np.median(e.scores["srocc"]) for e in (leaking, honest)] + [truth])
    leaking, honest, truth = np.mean(found, axis=0)
    print(f"random splits {leaking:.2f}, evaluate {honest:.2f}, new contents {truth:.2f}")
    assert leaking > truth + 0.4
    assert abs(honest - truth) < 0.1


def test_the_same_numbers_by_scikit_learn_alone():
    data = database()
    found = evaluate(Ridge(), data, n_repeats=4, random_state=3)
    cv = GroupShuffleSplit(4, test_size=0.2, random_state=3)
    for number, (train, test) in enumerate(cv.split(data.data, data.target, data.groups)):
        y = data.target[test]
        predicted = Ridge().fit(data.data[train], data.target[train]).predict(data.data[test])
        np.testing.assert_allclose(found.predictions[number], predicted, rtol=1e-12)
        mapped = fit_logistic(y, predicted)(predicted)
        expected = {
            "srocc": spearmanr(y, predicted).statistic,
            "plcc": np.corrcoef(y, mapped)[0, 1],
            "krocc": krocc_score(y, predicted),
            "rmse": np.sqrt(np.mean((y - mapped) ** 2)),
        }
        for name, value in expected.items():
            assert found.scores[name][number] == pytest.approx(value, abs=1e-12)
        jpeg = data.degradation[test] == "jpeg"
        assert found.by_degradation["jpeg"]["plcc"][number] == pytest.approx(
            np.corrcoef(y[jpeg], mapped[jpeg])[0, 1], abs=1e-12
        )
    summary = found.summary()
    assert summary["median"]["srocc"] == np.median(found.scores["srocc"])
    assert summary["std"]["rmse"] == np.std(found.scores["rmse"], ddof=1)
    assert list(summary) == ["median", "std", "blur", "jpeg"]


def test_predictions_are_scored_as_those_of_a_split():
    data = database()
    found = evaluate(Ridge(), data, n_repeats=1)
    train, test = found.splits[0]
    predicted = Ridge().fit(data.data[train], data.target[train]).predict(data.data)
    opinions = np.where(np.isin(np.arange(400), test), data.target, np.nan)
    again = Evaluation.from_predictions(
        opinions, predicted, groups=data.groups, degradation=data.degradation
    )
    assert repr(again).startswith("80 images, nothing fitted here")
    np.testing.assert_equal(again.summary(), found.summary())
    assert srocc_interval(again) == srocc_interval(found)
    assert compare(again, again).noise
    predicted[test[0]] = np.nan
    with pytest.raises(ValueError, match="y_pred holds nan"):
        Evaluation.from_predictions(opinions, predicted)


def test_no_mapping_is_plain_pearson_and_error():
    data = database()
    found = evaluate(Ridge(), data, n_repeats=1, mapping=None)
    y, predicted = data.target[found.splits[0][1]], found.predictions[0]
    assert found.scores["plcc"][0] == plcc_score(y, predicted)
    assert found.scores["rmse"][0] == rmse_error(y, predicted)


def test_tables():
    pd = pytest.importorskip("pandas")
    found = evaluate(Ridge(), database(), n_repeats=3)
    assert isinstance(found.frame, pd.DataFrame)
    assert found.frame.shape == (9, 6)
    of_all = found.frame.query("degradation == 'all'")
    np.testing.assert_array_equal(of_all["srocc"], found.scores["srocc"])
    lines = found.to_markdown().splitlines()
    assert lines[0] == "|  | SROCC | PLCC | KROCC | RMSE |"
    assert lines[2].startswith(f"| median | {np.median(found.scores['srocc']):.3f} |")
    assert repr(found).startswith("3 splits, contents apart: 320 images to train on, 80 to test on")
    assert "blur" in repr(found)
    assert repr(evaluate(Ridge(), database(per_content=1), n_repeats=1)).startswith("1 split, by")
    assert {"scores", "frame", "to_markdown"} <= set(dir(found))


@pytest.mark.parametrize(
    "wrap", [lambda search: search, lambda search: make_pipeline("passthrough", search)]
)
def test_a_search_splits_by_content_within_the_training_part(wrap):
    X, y, groups = strong_content(40, seed=0, scale=0.5)
    # the leak prefers few neighbors, which know the content; new contents need many
    search = GridSearchCV(KNeighborsRegressor(), {"n_neighbors": [1, 60]}, scoring=srocc_scorer)
    honest = evaluate(wrap(search), X, y, groups, n_repeats=3)
    assert [best["n_neighbors"] for best in honest.best_params] == [60, 60, 60]
    leaking = evaluate(wrap(search), X, y, n_repeats=3)
    assert [best["n_neighbors"] for best in leaking.best_params] == [1, 1, 1]
    assert search.cv is None  # the caller's own is left alone


def test_groups_reach_a_search_when_metadata_are_routed():
    X, y, groups = strong_content(40, seed=0, scale=0.5)
    search = GridSearchCV(KNeighborsRegressor(), {"n_neighbors": [1, 60]}, scoring=srocc_scorer)
    with sklearn.config_context(enable_metadata_routing=True):
        for model in (search, make_pipeline("passthrough", search)):
            found = evaluate(model, X, y, groups, n_repeats=1)
            assert found.best_params[0]["n_neighbors"] == 60


def test_a_splitter_of_ones_own():
    data = database()
    grid = {"alpha": [0.1, 1]}
    found = evaluate(GridSearchCV(Ridge(), grid, cv=GroupKFold(3)), data, n_repeats=1)
    assert found.best_params[0]["alpha"] in grid["alpha"]
    with pytest.warns(UserWarning, match="groups"):
        evaluate(GridSearchCV(Ridge(), grid, cv=KFold(3)), data, n_repeats=1)
    folds = evaluate(Ridge(), data, cv=5)
    assert sorted(np.concatenate([test for _, test in folds.splits])) == list(range(400))
    published = [(np.arange(300), np.arange(300, 400))]
    assert len(evaluate(Ridge(), data, cv=published).scores["srocc"]) == 1


def test_official_split():
    data = database()
    data.split = np.repeat(["train", "val", "test"], [250, 50, 100])
    found = evaluate(Ridge(), data, cv="official")
    np.testing.assert_array_equal(found.splits[0][0], np.arange(300))
    np.testing.assert_array_equal(found.splits[0][1], np.arange(300, 400))
    assert np.isnan(found.summary()["std"]["srocc"])
    with pytest.raises(ValueError, match=r'cv="official" needs .* holds nothing'):
        evaluate(Ridge(), database(), cv="official")


def test_images_without_a_score_are_for_training_only():
    data = database()
    data.target[::3] = np.nan

    class Filled(Ridge):
        def fit(self, X, y):
            assert np.isnan(y).any()
            return super().fit(X, np.nan_to_num(y))

    found = evaluate(Filled(), data, n_repeats=2)
    for (_, test), predicted in zip(found.splits, found.predictions, strict=True):
        assert len(predicted) == np.isfinite(data.target[test]).sum()


def test_rare_types_and_constant_models():
    data = database(10, 10)
    data.degradation[0] = "rare"
    found = evaluate(DummyRegressor(), data, n_repeats=2)
    assert (found.scores["srocc"] == 0).all()
    assert np.isnan(found.by_degradation["rare"]["srocc"]).all()
    assert "rare        -" in repr(found)


def test_parallel_is_the_same():
    data = database()
    one = evaluate(Ridge(), data, n_repeats=4)
    with parallel_config("threading"):  # processes would be the same, and take seconds to start
        two = evaluate(Ridge(), data, n_repeats=4, n_jobs=2)
    np.testing.assert_array_equal(one.predictions, two.predictions)
    again = pickle.loads(pickle.dumps(two))
    assert repr(again) == repr(one)


def test_what_is_wrong_is_said():
    data = database()
    with pytest.raises(ValueError, match="y is missing"):
        evaluate(Ridge(), data.data)
    with pytest.raises(ValueError, match="groups must have shape"):
        evaluate(Ridge(), data.data, data.target, groups=[1, 2])
    with pytest.raises(ValueError, match="no 'data'"):
        evaluate(Ridge(), Bunch(target=[1]))
    with pytest.raises(ValueError, match="n_repeats"):
        evaluate(Ridge(), data, n_repeats=0)


@pytest.fixture
def counted(monkeypatch):
    """How many images were extracted, and not found in a cache."""
    import skiqa._features.extract as module

    seen = []
    extract = module.extract

    def counting(images, *how, **options):
        for index, row in extract(images, *how, **options):
            seen.append(index)
            yield index, row

    monkeypatch.setattr(module, "extract", counting)
    return seen


@pytest.fixture
def tiny():
    """An encoder with a small network of fixed random weights, and images of some contents."""
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8))
    y, groups = rng.standard_normal(24), np.repeat(np.arange(8), 3)
    return images, y, groups


def test_frozen_features_are_computed_once(tiny, counted, tmp_path):
    images, y, groups = tiny
    encoder = ContrastiveQualityEncoder(scales=(1.0,))
    search = GridSearchCV(make_pipeline(encoder, Ridge()), {"ridge__alpha": [1, 10]}, cv=2)
    evaluate(search, images, y, groups, n_repeats=3)
    assert len(counted) == len(images)
    assert encoder.cache_dir is None
    # a folder of one's own is used, and kept
    encoder.set_params(cache_dir=tmp_path)
    model = TransformedTargetRegressor(make_pipeline(encoder, Ridge()))
    first = evaluate(model, images, y, groups, n_repeats=1)
    again = evaluate(model, images, y, groups, n_repeats=1)
    assert len(counted) == 2 * len(images)
    np.testing.assert_array_equal(first.predictions, again.predictions)


def test_pairs_with_a_reference_too(tiny, counted):
    images, y, groups = tiny
    pairs = [(images[0], image) for image in images]
    encoder = ContrastiveQualityEncoder(scales=(1.0,))
    model = make_pipeline(ReferenceDifference(encoder), Ridge())
    evaluate(model, pairs, y, groups, n_repeats=2)
    assert len(counted) == len(images)


def test_cross_database():
    first, second = database(seed=0), database(seed=1)
    found = cross_database(Ridge(), [first, second], n_repeats=2)
    model = Ridge().fit(first.data, first.target)
    expected = spearmanr(second.target, model.predict(second.data)).statistic
    assert found.srocc[0, 1] == pytest.approx(expected)
    within = evaluate(Ridge(), second, n_repeats=2).summary()["median"]
    assert found.plcc[1, 1] == within["plcc"]
    assert found.frame.shape == (4, 6)
    assert found.to_markdown("rmse").splitlines()[0] == "| RMSE, train \\ test | made 0 | made 1 |"
    empty = cross_database(Ridge(), {"a": first, "b": second}, n_repeats=0)
    assert np.isnan(np.diag(empty.krocc)).all()
    assert empty.srocc[0, 1] == found.srocc[0, 1]
    with pytest.raises(ValueError, match="one name"):
        cross_database(Ridge(), [first, first])
    with pytest.raises(ValueError, match="two or more"):
        cross_database(Ridge(), [first])


def test_weighted_srocc_is_that_of_the_repeated_sample():
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 6, (2, 30))  # ties
        weights = rng.integers(0, 4, 30)
        expected = spearmanr(np.repeat(x, weights), np.repeat(y, weights)).statistic
        assert weighted_srocc(x, y, weights.astype(float)) == pytest.approx(expected, abs=1e-12)
    assert weighted_srocc(x, np.zeros(30, int), np.ones(30)) == 0
    assert np.isnan(weighted_srocc(x, y, np.zeros(30)))


def test_interval_covers_the_truth():
    rho = 0.8
    truth = 6 / np.pi * np.arcsin(rho / 2)  # SROCC of a bivariate normal distribution
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        x, y = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 120).T
        found = srocc_interval(x, y, n_resamples=150, confidence=0.9)
        covered += found.low <= truth <= found.high
    assert 0.82 <= covered / 100 <= 0.97  # 90 % by design, standard error 3 %


def test_contents_widen_the_interval():
    """Ten equal copies of each image tell no more than one."""
    rng = np.random.default_rng(0)
    y, x = np.arange(50.0), np.arange(50.0) + rng.normal(0, 20, 50)
    copies, opinions, contents = np.repeat(x, 10), np.repeat(y, 10), np.repeat(np.arange(50), 10)
    single = srocc_interval(x, y)
    naive = srocc_interval(copies, opinions)
    by_content = srocc_interval(copies, opinions, groups=contents)
    assert (naive.high - naive.low) < 0.5 * (single.high - single.low)
    assert (by_content.low, by_content.high) == pytest.approx((single.low, single.high))


def test_equal_models_differ_by_noise_and_no_more_often_than_said():
    rng = np.random.default_rng(0)
    significant = 0
    for _ in range(100):
        y = rng.standard_normal(80)
        first, second = y + rng.standard_normal((2, 80))
        found = compare(first, second, y, n_resamples=100)
        significant += not found.noise
        assert found.noise == (found.low <= 0 <= found.high)
    assert significant <= 11  # 5 % by design: 12 or more of 100 has a chance of 0.4 %


def test_pairing_finds_what_two_intervals_cannot():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(300)
    first = y + rng.standard_normal(300)
    second = first + rng.normal(0, 0.4, 300)
    found = compare(first, second, y)
    assert not found.noise
    assert found.p_value < 0.05
    assert "The first is better by" in repr(found)
    assert srocc_interval(second, y).high > srocc_interval(first, y).low  # they overlap
    turned = compare(second, first, y)
    assert turned.difference == -found.difference
    assert "The second is better by" in repr(turned)
    assert "is noise" in repr(compare(first, first, y))
    assert compare(first, first, y).p_value == 1


def test_evaluations_are_compared_on_their_splits():
    data = database()
    good, bad = evaluate(Ridge(), data, n_repeats=3), evaluate(Ridge(1e5), data, n_repeats=3)
    found = compare(good, bad, n_resamples=200)
    medians = [np.median(e.scores["srocc"]) for e in (good, bad)]
    assert found.difference == pytest.approx(medians[0] - medians[1])
    assert srocc_interval(good).srocc == pytest.approx(medians[0])
    with pytest.raises(ValueError, match="different images or splits"):
        compare(good, evaluate(Ridge(), data, n_repeats=3, random_state=1))
    with pytest.raises(ValueError, match="not one of each"):
        compare(good, data.target, data.target)
    with pytest.raises(ValueError, match="y_true is missing"):
        compare(data.target, data.target)
    with pytest.raises(ValueError, match="two contents"):
        srocc_interval([1.0, 2.0], [1.0, 2.0], groups=[0, 0])
