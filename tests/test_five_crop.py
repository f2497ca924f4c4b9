import pickle

import numpy as np
import pytest
from conftest import TINY
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.datasets import load_sample_images
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.utils import estimator_checks

from skiqa import ContrastiveQualityEncoder, FiveCropRegressor
from skiqa._five_crop import five_crops
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
def model(weights):
    encoder = ContrastiveQualityEncoder(weights=weights, pooling="avg", scales=(1.0,))
    return FiveCropRegressor(encoder, Ridge(alpha=0.1), crop_size=32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths of twelve parts of two photos, 67 x 91 pixels."""
    folder, paths = tmp_path_factory.mktemp("photos"), []
    for scene, pixels in enumerate(load_sample_images().images):
        for part in range(6):
            left = 60 * part
            paths.append(str(folder / f"{scene}_{part}.png"))
            Image.fromarray(pixels[100:191, left : left + 67]).save(paths[-1])
    return paths


OPINIONS = np.linspace(0, 1, 12) ** 2


class Means(TransformerMixin, BaseEstimator):
    """The mean of each channel, and no network."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.stack([np.mean(x, axis=(0, 1)) for x in X])


# Against ARNIQA's protocol ------------------------------------------------------------------------


def test_places_of_five_crops():
    photo = np.arange(7 * 9, dtype=np.uint8).reshape(7, 9, 1).repeat(3, axis=2)
    corners = [(7 // 2 - 2, 9 // 2 - 2), (0, 0), (3, 0), (0, 5), (3, 5)]
    for crop, (top, left) in zip(five_crops(photo, 4), corners, strict=True):
        np.testing.assert_array_equal(crop, photo[top : top + 4, left : left + 4])


def test_small_photos_lie_in_their_corner_of_zeros():
    photo = np.full((2, 3, 3), 9, np.uint8)
    middle, *corners = five_crops(photo, 4)
    for crop, (rows, columns) in zip(
        corners,
        [("top", "left"), ("bottom", "left"), ("top", "right"), ("bottom", "right")],
        strict=True,
    ):
        expected = np.zeros((4, 4, 3), np.uint8)
        expected[slice(2) if rows == "top" else slice(2, 4)] += 9
        expected[:, 3 if columns == "left" else 0] = 0
        np.testing.assert_array_equal(crop, expected)
    assert (middle[1:3, 1:4] == 9).all()
    assert middle.sum() == photo.sum()


def test_rows_are_those_of_the_published_protocol(model, files):
    # crops of the whole photo and of its half by Pillow's bicubic, [full, half] for each crop
    rows = model.fit(files, OPINIONS).crop_features(files)
    photo = Image.open(files[3])
    half = photo.resize((67 // 2, 91 // 2))
    encoder = model.encoder_
    for image, columns in (
        (photo, np.s_[: rows.shape[2] // 2]),
        (half, np.s_[rows.shape[2] // 2 :]),
    ):
        width, height = image.size
        x, y = width // 2 - 16, height // 2 - 16
        places = [(x, y), (0, 0), (0, height - 32), (width - 32, 0), (width - 32, height - 32)]
        crops = [image.crop((x, y, x + 32, y + 32)) for x, y in places]
        np.testing.assert_allclose(rows[3, :, columns], encoder.transform(crops), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=2), np.sqrt(2), rtol=1e-5)


def test_each_crop_is_a_sample_and_a_score_is_their_mean(files):
    model = FiveCropRegressor(Means(), Ridge(alpha=10.0), crop_size=32).fit(files, OPINIONS)
    rows = model.crop_features(files)
    assert rows.shape == (12, 5, 6)
    ridge = Ridge(alpha=10.0).fit(np.concatenate(rows), np.repeat(OPINIONS, 5))
    expected = [ridge.predict(row).mean() for row in rows]
    np.testing.assert_allclose(model.predict(files), expected)
    means = Ridge(alpha=10.0).fit(rows.mean(axis=1), OPINIONS).predict(rows.mean(axis=1))
    assert not np.allclose(model.predict(files), means, atol=1e-3)


def test_a_weight_counts_a_photo_with_all_its_crops(files):
    model = FiveCropRegressor(Means(), Ridge(alpha=10.0), crop_size=32)
    weights = np.arange(12) % 3
    kept = np.repeat(np.arange(12), weights)
    repeated = clone(model).fit([files[i] for i in kept], OPINIONS[kept])
    weighted = model.fit(files, OPINIONS, sample_weight=weights)
    np.testing.assert_allclose(weighted.predict(files), repeated.predict(files))


# scikit-learn's manners ---------------------------------------------------------------------------

CHECKS = [  # those that give no table of numbers, which is no list of photos
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
def test_scikit_learn_checks(check, model):
    check("FiveCropRegressor", model)


def test_fit_manners(model, files, tmp_path):
    with pytest.raises(NotFittedError):
        model.predict(files)
    parameters = model.get_params()
    assert model.fit(files, OPINIONS) is model
    assert model.get_params() == parameters
    assert not hasattr(model.encoder, "state_")  # a clone was fitted
    scores = model.predict(files)
    np.testing.assert_array_equal(model.predict(files[::-1]), scores[::-1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(files), scores)
    save(model, tmp_path / "model.skops")
    np.testing.assert_array_equal(load(tmp_path / "model.skops").predict(files), scores)


def test_a_search_goes_around(model, files):
    search = GridSearchCV(model, {"regressor__alpha": [1e-3, 1e3]}, cv=3).fit(files, OPINIONS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.regressor_.alpha == search.best_params_["regressor__alpha"]


def test_errors_say_which(model, files, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    many = files * 2
    with pytest.raises(ImageError, match=r"^X\[24\] = '.*broken\.png'"):
        model.fit(files, OPINIONS).predict([*many, tmp_path / "broken.png"])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(files, OPINIONS[1:])
    with pytest.raises(ValueError, match="y contains NaN"):
        model.fit(files, np.where(OPINIONS > 0.5, np.nan, OPINIONS))
    with pytest.raises(ValueError, match=r"scales=\(2.0,\): give one or more numbers in \(0, 1\]"):
        model.set_params(scales=(2.0,)).fit(files, OPINIONS)
    with pytest.raises(ValueError, match="'encoder' parameter of FiveCropRegressor"):
        FiveCropRegressor(Ridge(), Ridge()).fit(files, OPINIONS)
