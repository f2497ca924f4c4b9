"""One row for many views: what it consists of, for which samples, and in whose name errors are."""

import pickle
from functools import partial

import numpy as np
import pytest
from conftest import TINY
from made_views import write_film
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skiqa import ContrastiveQualityEncoder, ViewPooling, _view_pooling
from skiqa._network.build import random_state_of
from skiqa._network.weight_files import state_to_tensors, write_file
from skiqa.exceptions import ImageError
from skiqa.views import View, pool_views, video_frames, viewports

ALL = ("mean", "std", "min", "max", "worst", "variation")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """An encoder with random weights from a file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.skiqa"
    tensors, header = state_to_tensors(random_state_of(TINY, 0))
    write_file(path, {f"encoder.{k}": v for k, v in tensors.items()}, {"encoder": header})
    return ContrastiveQualityEncoder(weights=str(path))


@parametrize_with_checks([ViewPooling(StandardScaler()), ViewPooling(ContrastiveQualityEncoder())])
def test_scikit_learn_checks(estimator, check):
    check(estimator)  # no expected failures


def test_row_is_the_pooled_rows_of_the_views(encoder, crops, monkeypatch):
    monkeypatch.setattr(_view_pooling, "_VIEWS_AT_A_TIME", 3)
    samples = [crops, crops[:3], crops[0], np.stack(crops[2:6])]
    pooled = ViewPooling(encoder, pooling=ALL).fit(samples)
    rows = encoder.fit(crops).transform(crops)
    expected = [pool_views(rows[part], pooling=ALL) for part in np.s_[:, :3, :1, 2:6]]
    found = pooled.transform(samples)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert found.dtype == np.float32
    names = pooled.get_feature_names_out()
    assert names[[0, 1, -1]].tolist() == [
        "mean_contrastivequalityencoder0",
        "mean_contrastivequalityencoder1",
        f"variation_contrastivequalityencoder{rows.shape[1] - 1}",
    ]
    assert len(names) == found.shape[1]


def test_views_count_by_their_weights(encoder, crops):
    def first_counts_three(sample):
        return [View(image, "", 3.0 if n == 0 else 1.0) for n, image in enumerate(sample)]

    how = {"pooling": ("mean", "std")}
    weighted = ViewPooling(encoder, views=first_counts_three, **how).fit([crops[:3]])
    repeated = ViewPooling(encoder, **how).fit([crops[:3]])
    np.testing.assert_allclose(
        weighted.transform([crops[:3]]),
        repeated.transform([[crops[0], *crops[:1] * 2, *crops[1:3]]]),
        rtol=1e-4,
        atol=1e-6,
    )


def test_paths_of_films(encoder, photo, tmp_path):
    pytest.importorskip("av")
    films = [write_film(tmp_path / f"{n}.mp4", [photo[:, 2 * n :]] * 6) for n in range(2)]
    model = make_pipeline(ViewPooling(encoder, views=partial(video_frames, count=2)), Ridge())
    scores = model.fit(films, [1.0, 2.0]).predict(films)
    assert scores[0] < scores[1]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(films), scores)
    with pytest.raises(ImageError, match=r"X\[1\] = 'none.mp4': .*there is no such file") as raised:
        model.predict([films[0], "none.mp4"])
    assert raised.value.kind == "missing"


def test_errors_name_the_sample(encoder, crops):
    pooled = ViewPooling(encoder).fit([crops])
    with pytest.raises(ImageError, match=r"X\[1\] = .*among its views X\[2\] = 'none.jpg'"):
        pooled.transform([crops, [*crops[:2], "none.jpg"]])
    with pytest.raises(ValueError, match=r"X\[1\] = <list>: there are no views"):
        pooled.transform([crops, []])
    panorama = clone(pooled).set_params(views=viewports)
    with pytest.raises(ValueError, match=r"X\[0\] = <array .*twice as wide as high"):
        panorama.fit(crops)
    with pytest.raises(TypeError, match=r"X is a single sample, 'a.mp4'"):
        pooled.transform("a.mp4")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"pooling": ("median",)}, "must be of"),
        ({"pooling": ()}, "pooling is empty"),
        ({"worst_part": 0.0}, "worst_part"),
    ],
)
def test_parameters_of_no_use(encoder, crops, parameters, message):
    with pytest.raises(ValueError, match=message):
        ViewPooling(encoder, **parameters).fit([crops])


def test_unreadable_views_are_nan(encoder, crops):
    lenient = clone(encoder).set_params(on_error="nan")
    pooled = ViewPooling(lenient, pooling=("mean", "min", "worst")).fit([crops])
    found = pooled.transform([crops, [crops[0], "none.jpg"]])
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
