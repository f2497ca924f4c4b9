import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from conftest import TINY
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_sample_images
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from skiqa import ContrastiveQualityEncoder, ReferenceDifference
from skiqa._inputs.images import ImageList
from skiqa._network.build import random_state_of
from skiqa._network.weight_files import state_to_tensors, write_file
from skiqa.exceptions import ImageError
from skiqa.persistence import load, save


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights in a file, so that no encoder here trains or warns."""
    path = tmp_path_factory.mktemp("weights") / "tiny.skiqa"
    tensors, header = state_to_tensors(random_state_of(TINY, 0))
    write_file(path, {f"encoder.{k}": v for k, v in tensors.items()}, {"encoder": header})
    return str(path)


@pytest.fixture
def difference(weights):
    return ReferenceDifference(ContrastiveQualityEncoder(weights=weights))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths of two references and three degraded versions of each, as six pairs."""
    folder, pairs = tmp_path_factory.mktemp("pairs"), []
    for scene, pixels in enumerate(load_sample_images().images):
        photo = Image.fromarray(pixels[100:164, 200:296])
        photo.save(reference := folder / f"{scene}.png")
        for quality in (80, 30, 5):
            photo.save(degraded := folder / f"{scene}_{quality}.jpg", quality=quality)
            pairs.append((str(reference), str(degraded)))
    return pairs


@pytest.fixture
def loaded(monkeypatch):
    """The images that are decoded, in order."""
    names, load_one = [], ImageList.load

    def noted(self, index, max_pixels=None):
        names.append(self.source(index))
        return load_one(self, index, max_pixels)

    monkeypatch.setattr(ImageList, "load", noted)
    return names


def test_absolute_differences(difference, files):
    found = difference.fit(files).transform(files)
    references, degraded = (
        difference.encoder_.transform(list(side)) for side in zip(*files, strict=True)
    )
    np.testing.assert_array_equal(found, np.abs(references - degraded))
    assert found.dtype == np.float32
    assert (found.max(axis=1) > 0).all()
    np.testing.assert_array_equal(difference.transform([pair[::-1] for pair in files]), found)
    # stronger compression lies further from the reference
    assert (np.diff(np.linalg.norm(found, axis=1).reshape(2, 3)) > 0).all()


def test_the_same_image_gives_the_intercept(difference, files):
    model = make_pipeline(difference, Ridge()).fit(files, [0.9, 0.5, 0.1, 0.8, 0.6, 0.2])
    pixels = np.array(Image.open(files[0][0]))
    same = [(files[0][0],) * 2, (pixels, pixels.copy()), (pixels, files[0][0])]
    np.testing.assert_array_equal(model.predict(same), np.full(3, model[-1].intercept_))
    assert (model.predict(files) != model[-1].intercept_).all()


def test_each_image_is_opened_once(difference, files, loaded):
    difference.fit(files)
    assert loaded == []  # no epochs: no image
    difference.transform(files * 3)
    assert len(loaded) == len(set(loaded)) == 8
    loaded.clear()
    photo = np.zeros((40, 40), np.uint8)
    difference.transform([(photo, photo + k) for k in range(1, 4)])
    assert len(loaded) == 4


@pytest.mark.parametrize("shape", [(3, 2, 40, 50), (3, 2, 40, 50, 3)])
def test_arrays_of_pairs(difference, shape):
    X = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    expected = difference.fit(X).transform([(a, b) for a, b in X])
    np.testing.assert_array_equal(difference.transform(X), expected)
    if len(shape) == 5:
        tensor = torch.from_numpy(X).permute(0, 1, 4, 2, 3)
        np.testing.assert_array_equal(difference.transform(tensor), expected)
    as_objects = np.empty((3, 2), dtype=object)
    for i, j in np.ndindex(3, 2):
        as_objects[i, j] = X[i, j]
    np.testing.assert_array_equal(difference.transform(as_objects), expected)
    for pairs in (list(X), [list(pair) for pair in X]):
        np.testing.assert_array_equal(difference.transform(pairs), expected)


def test_tables_of_paths(difference, files):
    expected = difference.fit(files).transform(files)
    columns = {"reference": [a for a, _ in files], "degraded": [b for _, b in files]}
    for X in (
        np.array(files),
        np.array(files, object),
        pd.DataFrame(columns),
        pl.DataFrame(columns),
    ):
        np.testing.assert_array_equal(difference.transform(X), expected)


def test_tables_out(difference, files):
    X = pd.DataFrame(files, index=list("abcdef"))
    table = difference.set_output(transform="pandas").fit(X).transform(X)
    assert list(table.index) == list("abcdef")
    assert list(table.columns) == list(difference.get_feature_names_out())
    assert table.columns[0] == "referencedifference0"
    plain = clone(difference).set_output(transform="default").fit(X).transform(X)
    np.testing.assert_array_equal(table.to_numpy(), plain)
    assert difference.set_output(transform="polars").transform(files).shape == plain.shape


def test_other_encoders():
    X = np.random.default_rng(0).random((5, 2, 3))
    difference = ReferenceDifference(StandardScaler()).fit(X)
    rows = StandardScaler().fit(X.reshape(10, 3)).transform(X.reshape(10, 3)).reshape(5, 2, 3)
    np.testing.assert_allclose(difference.transform(X), np.abs(rows[:, 0] - rows[:, 1]))
    assert list(difference.get_feature_names_out()) == [f"referencedifference{i}" for i in range(3)]


def test_training_sees_every_image_once(files):
    class Counting(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            self.seen_ = X
            return self

        def transform(self, X):
            return np.zeros((len(X), 1))

    seen = ReferenceDifference(Counting()).fit(files * 2).encoder_.seen_
    assert sorted(seen) == sorted({path for pair in files for path in pair})


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "kind", "message"),
    [
        ("a.png", TypeError, r"list of pairs.*not 'a\.png'"),
        (3, TypeError, "list of pairs.*not <int>"),
        (["a.png", "b.png"], ValueError, r"X\[0\] is 'a\.png', not a pair.*zip\(references"),
        ([("a.png", "b.png"), ("c.png",)], ValueError, r"X\[1\] is <tuple>, not a pair"),
        ([["a.png"] * 3] * 2, ValueError, r"X\[0\] is <list>, not a pair"),
        ([np.zeros((8, 8))], ValueError, r"X\[0\] is <array \(8, 8\) float64>, not a pair"),
        (np.zeros((5, 2)), ValueError, r"X\[0\] is <array \(2,\) float64>, not a pair"),
        (np.zeros((5, 3, 8, 8)), ValueError, r"shape \(5, 3, 8, 8\).*second axis must be 2"),
        ([], ValueError, "Found array with 0 sample"),
        ([("a.png", "b.png"), ("a.png", 3)], TypeError, r"^X\[1\]\[1\] = <int>"),
    ],
)
def test_what_holds_no_pairs(difference, X, kind, message):
    with pytest.raises(kind, match=message):
        difference.fit(X)


def test_unreadable_images_are_named_by_pair(difference, files, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    X = [*files, (files[0][0], broken), (broken, files[0][1])]
    difference.fit(X)
    with pytest.raises(ImageError, match=r"^X\[6\]\[1\] = '.*broken\.png'"):
        difference.transform(X)
    difference.set_params(encoder__on_error="nan")
    rows = difference.fit(X).transform(X)
    assert np.isnan(rows[6:]).all()
    assert np.isfinite(rows[:6]).all()


# scikit-learn's manners ---------------------------------------------------------------------------

# The checks of check_estimator that give no X. The others give a table of numbers, which holds no
# pairs: test_fit_manners does what they do, on pairs.
CHECKS = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_scikit_learn_checks(check, difference):
    check("ReferenceDifference", difference)


def test_check_estimator_passes_over_the_others(difference):
    with pytest.warns(SkipTestWarning, match="requires input"):
        results = estimator_checks.check_estimator(difference, on_skip=None)
    assert {result["status"] for result in results} == {"passed"}


def test_fit_manners(difference, files):
    with pytest.raises(NotFittedError):
        difference.transform(files)
    parameters = difference.get_params()
    assert difference.fit(files, ["y", "is", "never", "looked", "at", "."]) is difference
    assert difference.get_params() == parameters
    assert not hasattr(difference.encoder, "state_")  # a clone was fitted
    rows = difference.transform(files)
    np.testing.assert_array_equal(clone(difference).fit_transform(files), rows)
    np.testing.assert_array_equal(difference.fit(files).transform(files), rows)
    np.testing.assert_array_equal(difference.transform(files[::-1]), rows[::-1])
    np.testing.assert_array_equal(np.vstack([difference.transform([p]) for p in files]), rows)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(difference)).transform(files), rows)


def test_encoder_is_checked(files):
    with pytest.raises(ValueError, match="'encoder' parameter of ReferenceDifference"):
        ReferenceDifference(Ridge()).fit(files)


def test_search_and_skops(difference, files, tmp_path):
    model = make_pipeline(difference, Ridge())
    y, groups = [0.9, 0.5, 0.1, 0.8, 0.6, 0.2], [0, 0, 0, 1, 1, 1]
    grid = {"referencedifference__encoder__pooling": ["avg", "stages"], "ridge__alpha": [0.1]}
    search = GridSearchCV(model, grid, cv=GroupKFold(2)).fit(files, y, groups=groups)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    save(best, tmp_path / "fr.skops")
    np.testing.assert_array_equal(load(tmp_path / "fr.skops").predict(files), best.predict(files))
