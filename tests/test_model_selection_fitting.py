import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skiqa import ContrastiveQualityEncoder, FiveCropRegressor, ReferenceDifference
from skiqa.model_selection import evaluate


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
    """Images of some contents, with opinions."""
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


def test_five_crops_too(tiny, counted):
    images, y, groups = tiny
    encoder = ContrastiveQualityEncoder(scales=(1.0,))
    model = FiveCropRegressor(encoder, Ridge(), crop_size=16, scales=(1.0,))
    evaluate(model, images, y, groups, n_repeats=2)
    assert len(counted) == 5 * len(images)
