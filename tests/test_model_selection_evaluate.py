import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib import parallel_config
from made_database import database
from scipy.stats import spearmanr
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, GroupShuffleSplit, KFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch

from skiqa.metrics import fit_logistic, krocc_score, plcc_score, rmse_error, srocc_scorer
from skiqa.model_selection import Evaluation, evaluate


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


def test_no_mapping_is_plain_pearson_and_error():
    data = database()
    found = evaluate(Ridge(), data, n_repeats=1, mapping=None)
    y, predicted = data.target[found.splits[0][1]], found.predictions[0]
    assert found.scores["plcc"][0] == plcc_score(y, predicted)
    assert found.scores["rmse"][0] == rmse_error(y, predicted)


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


def test_progress_is_shown_where_it_is_asked_for(capsys, monkeypatch):
    monkeypatch.setattr("skiqa._progress.SECONDS_BETWEEN_LINES", 0)
    quiet = evaluate(Ridge(), database(), n_repeats=3)
    assert capsys.readouterr().err == ""
    shown = evaluate(Ridge(), database(), n_repeats=3, verbose=1)
    assert "Evaluating: 3 of 3 splits" in capsys.readouterr().err
    np.testing.assert_array_equal(shown.predictions, quiet.predictions)


def test_warnings_of_folds_are_one_line_each():
    """Twelve images, a search in ten splits: there were 70 warnings."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((12, 5)), rng.standard_normal(12)
    grid = {"alpha": [0.01, 0.1, 1, 10, 100]}
    search = GridSearchCV(Ridge(), grid, scoring=srocc_scorer, cv=GroupKFold(5))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        evaluate(search, X, y, np.arange(12))
    texts = [str(warning.message) for warning in said]
    assert len(texts) == len({warning.category for warning in said}) == 3
    assert all(text.endswith(" (10 of 10 splits)") and "\n" not in text for text in texts)
    assert {warning.filename for warning in said} == {__file__}
    # folds that skiqa chooses hold two images each, and nothing is undefined
    with pytest.warns(ConvergenceWarning, match="10 of 10 splits"):
        evaluate(search.set_params(cv=None), X, y, np.arange(12))


def test_failures_of_fits_are_one_line():
    class Picky(Ridge):
        def fit(self, X, y, sample_weight=None):
            if self.alpha > 1:
                raise ValueError("no alpha above 1")
            return super().fit(X, y)

    search = GridSearchCV(Picky(), {"alpha": [0.1, 10]}, scoring=srocc_scorer)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        evaluate(search, database(), n_repeats=3)
    failed, undefined = sorted(str(warning.message) for warning in said)
    assert (
        failed
        == "5 fits failed out of a total of 10. ... ValueError: no alpha above 1 (3 of 3 splits)"
    )
    assert undefined.startswith("One or more of the test scores are non-finite")


def test_weights_count_in_fitting():
    data = database()
    weights = np.random.default_rng(0).uniform(0, 2, len(data.target))
    found = evaluate(Ridge(), data, sample_weight=weights, n_repeats=2)
    grid = {"alpha": [1.0]}
    searched = evaluate(
        make_pipeline("passthrough", GridSearchCV(Ridge(), grid, scoring=srocc_scorer)),
        data,
        sample_weight=weights,
        n_repeats=2,
    )
    for n, (train, test) in enumerate(found.splits):
        model = Ridge().fit(data.data[train], data.target[train], weights[train])
        predicted = model.predict(data.data[test])
        np.testing.assert_allclose(found.predictions[n], predicted, rtol=1e-10)
        np.testing.assert_allclose(searched.predictions[n], predicted, rtol=1e-10)
    with pytest.raises(ValueError, match="weights must have shape"):
        evaluate(Ridge(), data, sample_weight=[1, 2])


@pytest.mark.parametrize(
    "groups",
    [
        ["x", "", "x", "", "y", ""],
        ["x", None, "x", None, "y", None],
        [1.0, np.nan, 1.0, np.nan, 2.0, np.nan],
        pd.Series(["x", pd.NA, "x", np.nan, "y", None]),
        pd.Series([1, pd.NA, 1, pd.NA, 2, pd.NA], dtype="Int64"),
    ],
)
def test_contents_without_a_name_are_each_their_own(groups):
    found = Evaluation.from_predictions(np.arange(6.0), np.arange(6.0), groups=groups)
    assert found.groups[0] == found.groups[2]
    assert len(set(found.groups.tolist())) == 5


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
