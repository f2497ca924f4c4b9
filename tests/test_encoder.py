import io
import random
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY
from PIL import Image
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from skiqa import ContrastiveQualityEncoder, load_model, predict_quality
from skiqa._inputs.images import ImageList
from skiqa._network.build import random_state_of
from skiqa._training.scratch import published_start
from skiqa.exceptions import ImageError
from skiqa.objectives import Contrique
from skiqa.persistence import load, save


def tiny(**parameters):
    defaults = {"weights": None, "epochs": 1, "batch_size": 4, "view_size": 64, "random_state": 0}
    return ContrastiveQualityEncoder(TINY, **defaults | parameters)


@pytest.fixture(scope="module")
def fitted(crops):
    return tiny().fit(crops)


def with_state(fitted, **parameters):
    """As if `parameters` had been set after `fit`; the fitted one stays as it is."""
    encoder = clone(fitted).set_params(**parameters)
    encoder.__dict__.update({k: v for k, v in vars(fitted).items() if k.endswith("_")})
    return encoder


@pytest.fixture(scope="module")
def features(fitted, crops):
    return fitted.transform(crops)


@parametrize_with_checks(
    [
        ContrastiveQualityEncoder(),
        tiny(batch_size=32, scales=(0.5,), pooling="avg"),
    ]
)
def test_scikit_learn_checks(estimator, check, monkeypatch):
    # BatchNorm of a network from scratch is fitted to squares of this side: here manners count
    monkeypatch.setattr("skiqa._training.scratch._LEAST_SIDE", 64)
    check(estimator)  # no expected failures


# Parameters, names, display -----------------------------------------------------------------------


def test_clone_and_set_params(fitted, crops):
    copy = clone(fitted)
    assert not hasattr(copy, "state_")
    assert copy.get_params() == fitted.get_params()
    copy.set_params(pooling="avg", scales=(1.0,), objective=Contrique())
    copy.set_params(objective__temperature=0.5)
    copy.fit(crops)
    assert copy.objective_.temperature == 0.5
    assert copy.objective_ is not copy.objective
    assert copy.transform(crops).shape[1] == 96  # the last stage's channels


def test_displays_stay_short(fitted):
    for text in (repr(fitted), repr(fitted.state_)):
        assert len(text) < 300
    assert "array(" not in fitted._repr_html_()
    assert len(fitted._repr_html_()) < 80_000  # most of it is scikit-learn's own style sheet


def test_feature_names_and_pandas(fitted, crops, features):
    names = fitted.get_feature_names_out()
    assert len(names) == features.shape[1] == 1600
    assert names[0] == "contrastivequalityencoder0"
    table = with_state(fitted).set_output(transform="pandas").transform(crops)
    assert list(table.columns) == list(names)
    np.testing.assert_array_equal(table.to_numpy(), features)


def test_features_follow_parameters_changed_after_fit(crops, fitted, features):
    narrow = with_state(fitted, scales=(1.0,)).transform(crops)
    assert narrow.shape == (8, 800)
    # constants of the full scale stay with it; only sqrt(n_features) changes
    np.testing.assert_allclose(narrow / np.sqrt(2), features[:, :800], rtol=1e-5, atol=1e-6)


def test_grid_search_with_groups(crops):
    model = make_pipeline(ContrastiveQualityEncoder(scales=(0.5,)), Ridge())
    search = GridSearchCV(model, {"ridge__alpha": [0.1, 1.0]}, cv=GroupKFold(2))
    mos = np.linspace(0, 1, 8)
    search.fit(crops, mos, groups=[0, 0, 1, 1, 2, 2, 3, 3])
    assert search.predict(crops).shape == (8,)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"backbone": "resnet50"}, "Leave backbone=None.*or set weights=None"),
        ({"weights": None}, "weights=None needs a backbone"),
        ({"weights": "timm"}, "weights='timm' needs a backbone"),
        ({"weights": None, "backbone": "resnet_18", "epochs": 1}, "no network of timm"),
        ({"weights": None, "backbone": "resnet18.nope", "epochs": 1}, "Did you mean one of"),
        ({"scales": ()}, r"numbers in \(0, 1\]"),
        ({"scales": (1.5,)}, r"numbers in \(0, 1\]"),
        ({"device": "gpu"}, "device='gpu' is no device; use \"auto\""),
        ({"epochs": 1, "objective": Contrique(temperature=0.0)}, "temperature"),
        ({"epochs": 1, "objective": Contrique(color_spaces=("xyz",))}, "give one or more of"),
    ],
)
def test_bad_parameters_say_what_to_do(crops, parameters, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveQualityEncoder(**parameters).fit(crops)


def test_fixed_size_networks_are_refused(crops):
    encoder = ContrastiveQualityEncoder("beit_base_patch16_224", weights=None, epochs=1)
    with torch.device("meta"), pytest.raises(ValueError, match=r"one size only.*convolutional"):
        encoder.fit(crops)


def test_missing_weights_file(crops):
    with pytest.raises(FileNotFoundError, match=r"no\.skiqa"):
        ContrastiveQualityEncoder(weights="no.skiqa").fit(crops)


def test_authentic_is_checked(crops, fitted):
    for wrong in ([True], np.full(8, 2), ["yes"] * 8):
        for epochs in (0, 1):
            with pytest.raises(ValueError, match="authentic"):
                tiny(weights=None, epochs=epochs).set_params(
                    **({} if epochs else {"weights": "default", "backbone": None})
                ).fit(crops, authentic=wrong)
    marked = tiny().fit(crops, authentic=[True] * 4 + [False] * 4)
    assert marked.state_.digest != fitted.state_.digest


def test_random_features_warn_and_zero_epochs_open_nothing():
    with pytest.warns(UserWarning, match="random features"):
        tiny(epochs=0).fit(["not there.jpg", "nor there.jpg"])
    encoder = ContrastiveQualityEncoder().fit(["not there.jpg"])
    assert encoder.n_iter_ == 0
    assert encoder.loss_curve_ == []


def test_training_needs_two_images(crops):
    with pytest.raises(ValueError, match="minimum of 2"):
        tiny().fit(crops[:1])


# Features -----------------------------------------------------------------------------------------


def test_rows_keep_their_order_and_depend_on_nothing_else(fitted, crops, features):
    assert features.dtype == np.float32
    for i in (0, 3, 7):
        np.testing.assert_array_equal(fitted.transform([crops[i]])[0], features[i])
    shuffled = np.random.default_rng(0).permutation(8)
    mixed = [crops[i] for i in shuffled] + [np.zeros((3, 200), np.uint8)]
    encoder = with_state(fitted, n_jobs=2)
    np.testing.assert_array_equal(encoder.transform(mixed)[:8], features[shuffled])


def test_training_standardises(features):
    columns = features * np.sqrt(features.shape[1])  # constants come from the same eight photos
    np.testing.assert_allclose(columns.mean(axis=0), 0, atol=1e-3)
    deviations = columns.std(axis=0)
    np.testing.assert_allclose(deviations[deviations > 0.5], 1, atol=1e-3)


def test_average_pooling_is_normalised(crops, fitted):
    features = with_state(fitted, pooling="avg").transform(crops)
    norms = np.linalg.norm(features.reshape(8, 2, -1), axis=2)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)


def test_keep_start_stands_beside(crops, fitted):
    both = tiny(pooling="avg", keep_start=True).fit(crops)
    alone = with_state(fitted, pooling="avg")
    begun = published_start(random_state_of(TINY, both._seed()))
    start = tiny(pooling="avg").with_state(replace(begun, max_pixels=both.state_.max_pixels))
    np.testing.assert_array_equal(
        both.transform(crops), np.hstack([alone.transform(crops), start.transform(crops)])
    )
    width = len(both.get_feature_names_out())
    both.partial_fit(crops).partial_fit(crops)  # the start stays one and the same
    assert len(both.get_feature_names_out()) == width
    np.testing.assert_array_equal(both.transform(crops)[:, width // 2 :], start.transform(crops))


@pytest.fixture(scope="module")
def content_file(crops, tmp_path_factory):
    """Another network than TINY, trained a little, in a file."""
    path = tmp_path_factory.mktemp("content") / "content.skiqa"
    encoder = tiny(epochs=1).set_params(backbone="test_efficientnet.r160_in1k").fit(crops)
    save(encoder, path)
    return path


@pytest.mark.parametrize("pooling", ["stages", "avg"])
def test_content_stands_beside(crops, fitted, content_file, pooling, tmp_path):
    """Re-IQA's second expert: another network, as it was, its columns behind the trained one's."""
    options = {"pooling": pooling, "cache_dir": tmp_path / "cache"}
    both = tiny(content_backbone=content_file, **options).fit(crops)
    content = ContrastiveQualityEncoder(weights=content_file, pooling=pooling).fit(crops)
    quality = with_state(fitted, pooling=pooling)
    parts = [quality.transform(crops), content.transform(crops)]
    assert parts[0].shape[1] != parts[1].shape[1]
    weight = np.float32(0.5**0.5 if pooling == "stages" else 1)  # a row's norm stays about one
    np.testing.assert_allclose(both.transform(crops), weight * np.hstack(parts), rtol=1e-5)
    assert len(both.get_feature_names_out()) == both.transform(crops).shape[1]  # from the cache
    save(both, tmp_path / "both.skiqa")
    again = load(tmp_path / "both.skiqa")
    assert again.state_.digest == both.state_.digest
    np.testing.assert_array_equal(again.transform(crops), both.transform(crops))


def test_content_is_standardised_by_the_training_photos(crops, content_file, monkeypatch):
    raw = replace(load(content_file).state_, center=None, scale=None)
    monkeypatch.setattr("skiqa._network.build.timm_state", lambda name: raw)
    both = tiny(content_backbone="test_efficientnet").fit(crops)
    rows = both.transform(crops)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-6)
    assert both.state_.content.digest != raw.digest
    both.partial_fit(crops)  # goes on beside the same content
    for name, array in both.state_.content.networks[0].items():
        np.testing.assert_array_equal(array, raw.networks[0][name])


def test_content_that_is_not_there(crops):
    with pytest.raises(ValueError, match="'no_such_net' is no network of timm"):
        ContrastiveQualityEncoder(content_backbone="no_such_net").fit(crops)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_kind_of_input(fitted, crops, features, tmp_path):
    paths = []
    for i, crop in enumerate(crops):
        paths.append(tmp_path / f"{i}.png")
        paths[-1].write_bytes(png(crop))
    stack = np.stack(crops)
    ragged = np.empty(8, object)
    ragged[:] = crops
    kinds = {
        "paths": paths,
        "strings": [str(p) for p in paths],
        "string array": np.array([str(p) for p in paths]),
        "Series": pd.Series([str(p) for p in paths]),
        "one column": pd.DataFrame({"file": [str(p) for p in paths]}),
        "bytes": [png(c) for c in crops],
        "PIL": [Image.fromarray(c) for c in crops],
        "object array": ragged,
        "4-D": stack,
        "floats": stack / 255.0,
        "uint16": stack.astype(np.uint16) * 257,
        "tensor": torch.from_numpy(stack).permute(0, 3, 1, 2),
        "tensors": [torch.from_numpy(c).permute(2, 0, 1) for c in crops],
        "mixed": [str(paths[0]), *crops[1:4], *map(Image.fromarray, crops[4:])],
    }
    for name, X in kinds.items():
        np.testing.assert_array_equal(fitted.transform(X), features, err_msg=name)
    for name in ("paths", "PIL", "tensor"):
        assert tiny().fit(kinds[name]).state_.digest == fitted.state_.digest, name
    grey = fitted.transform(stack[..., 0])
    assert grey.shape == features.shape


def test_one_image_is_no_list(fitted, crops, photo_paths):
    for single in (photo_paths[0], Image.fromarray(crops[0]), png(crops[0]), crops[0]):
        with pytest.raises((TypeError, ValueError), match=r"pass \[image\]"):
            fitted.transform(single)


def test_image_shape(fitted, crops, features):
    rows = np.stack(crops).reshape(8, -1)
    encoder = tiny(image_shape=(40, 56, 3)).fit(rows)
    assert encoder.n_features_in_ == 40 * 56 * 3
    np.testing.assert_array_equal(encoder.transform(rows), features)
    with pytest.raises(ValueError, match="image_shape="):
        tiny(image_shape=(40, 55, 3)).fit(rows)


def test_one_pixel_and_thin_images(fitted):
    rows = fitted.transform([np.zeros((1, 1), np.uint8), np.full((1, 300, 3), 7, np.uint8)])
    assert np.isfinite(rows).all()


def test_unreadable_images(fitted, crops, features, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(png(crops[0])[:200])
    X = [crops[0], str(broken), crops[2]]
    with pytest.raises(ImageError, match=r"X\[1\].*broken\.png.*remove it"):
        fitted.transform(X)
    encoder = with_state(fitted, on_error="nan")
    rows = encoder.transform(X)
    assert np.isnan(rows[1]).all()
    np.testing.assert_array_equal(rows[[0, 2]], features[[0, 2]])
    bad = crops[0] / 255.0
    bad[3, 3] = np.nan
    with pytest.raises(ValueError, match=r"X\[1\].*NaN"):
        encoder.transform([crops[0], bad])


# Cache --------------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch):
    """Indices of the images that were decoded."""
    indices, load = [], ImageList.load

    def counted(self, index, max_pixels=None):
        indices.append(index)
        return load(self, index, max_pixels)

    monkeypatch.setattr(ImageList, "load", counted)
    return indices


def test_cache_opens_an_image_once(fitted, crops, features, tmp_path, opened):
    files = []
    for i, crop in enumerate(crops):
        files.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(crop).save(files[-1])
    encoder = with_state(fitted, cache_dir=tmp_path / "cache")
    np.testing.assert_array_equal(encoder.transform(files[:5]), features[:5])
    assert sorted(opened) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(encoder.transform(files), features)
    assert sorted(opened[5:]) == [5, 6, 7]
    shutil.copy(files[3], copy := tmp_path / "copy of 3.png")  # the same bytes are the same image
    np.testing.assert_array_equal(encoder.transform([copy]), features[3:4])
    assert len(opened) == 8


def test_cache_knows_what_changes_a_feature(fitted, crops, tmp_path, opened):
    X = [png(crop) for crop in crops[:2]]
    with_state(fitted, cache_dir=tmp_path).transform(X)
    other = tiny(random_state=1).fit(crops)
    del opened[:]
    variants = [
        with_state(fitted, cache_dir=tmp_path, scales=(1.0,)),
        with_state(fitted, cache_dir=tmp_path, pooling="avg"),
        with_state(fitted, cache_dir=tmp_path, precision="bfloat16"),
        with_state(other, cache_dir=tmp_path),
    ]
    for number, encoder in enumerate(variants, start=1):
        plain = with_state(encoder, cache_dir=None)
        first = encoder.transform(X)
        assert len(opened) == 2
        np.testing.assert_array_equal(encoder.transform(X), first)
        assert len(opened) == 2, f"variant {number} did not keep its features"
        np.testing.assert_array_equal(plain.transform(X), first)
        del opened[:]


def test_cache_keeps_what_came_before_an_error(fitted, crops, tmp_path, opened):
    X = [png(crops[0]), png(crops[1]), b"no image", png(crops[2])]
    with pytest.raises(ImageError, match=r"X\[2\]"):
        with_state(fitted, cache_dir=tmp_path).transform(X)
    del opened[:]
    rows = with_state(fitted, cache_dir=tmp_path, on_error="nan").transform(X)
    assert sorted(opened) == [2, 3]
    assert np.isnan(rows).all(axis=1).tolist() == [False, False, True, False]


# Callbacks ----------------------------------------------------------------------------------------


class Recorder:
    """A FitCallback that notes what it sees, and stops after some epoch if asked."""

    def __init__(self, stop_after=None):
        self.stop_after, self.events, self.curves, self.widths = stop_after, [], [], []
        self.torn_down = 0

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        self.torn_down += 1

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.events.append(("begin", context.task_name, context.task_id, len(X), y))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.events.append(("end", context.task_name, context.task_id, len(X), y))
        if context.task_name == "epoch":
            self.curves.append((estimator.n_iter_, list(estimator.loss_curve_)))
            self.widths.append(fitted_estimator.transform(X[:2]))
            return context.task_id + 1 == self.stop_after
        return None


def test_callbacks_see_fit_epochs_and_batches(crops):
    recorder, y = Recorder(), list(range(8))
    encoder = tiny(epochs=2).set_callbacks(recorder).fit(crops, y)
    shape = [event[:3] for event in recorder.events]
    batches = [(e, "batch", k) for k in (0, 1) for e in ("begin", "end")]
    epochs = [[("begin", "epoch", k), *batches, ("end", "epoch", k)] for k in (0, 1)]
    assert shape == [("begin", "fit", 0), *epochs[0], *epochs[1], ("end", "fit", 0)]
    assert all(event[3:] == (8, y) for event in recorder.events)
    assert [n for n, _ in recorder.curves] == [1, 2]
    assert recorder.curves[1][1] == encoder.loss_curve_
    assert recorder.torn_down == 1
    np.testing.assert_array_equal(recorder.widths[1], encoder.transform(crops[:2]))
    assert not np.array_equal(recorder.widths[0], recorder.widths[1])


def test_callback_stops(crops):
    encoder = tiny(epochs=5).set_callbacks(Recorder(stop_after=2)).fit(crops)
    assert encoder.n_iter_ == 2
    assert len(encoder.loss_curve_) == 2
    encoder.partial_fit(crops)
    assert [record["loss"] for record in encoder.history_] == encoder.loss_curve_
    assert len(encoder.history_) == 3
    for record in encoder.history_:
        assert record["images_per_second"] == pytest.approx(8 / record["seconds"])


def test_callback_is_torn_down_after_an_error():
    recorder = Recorder()
    with pytest.raises(ImageError):
        tiny().set_callbacks(recorder).fit(["not there.png", "nor there.png"])
    assert recorder.torn_down == 1


def test_callbacks_of_scikit_learn(crops, capsys):
    tiny(epochs=2).set_callbacks(ProgressBar()).fit(crops)

    def width(estimator, X, y):
        return float(estimator.transform(X).shape[1])

    monitor = ScoringMonitor(scoring={"width": width})
    tiny(epochs=2).set_callbacks(monitor).fit(crops, np.zeros(8))
    data = monitor.get_logs().data
    assert [row["width"] for row in data if row["task_name"] == "epoch"] == [1600.0, 1600.0]


def test_progress_goes_to_standard_error(crops, capsys, monkeypatch):
    monkeypatch.setattr("skiqa._progress.SECONDS_BETWEEN_LINES", 0)
    tiny(verbose=1).fit(crops).transform(crops)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Training" in captured.err
    assert "Features" in captured.err
    tiny().fit(crops).transform(crops)
    assert capsys.readouterr() == ("", "")


# partial_fit --------------------------------------------------------------------------------------


def test_partial_fit_continues(crops):
    encoder = tiny().partial_fit(crops)
    assert encoder.n_iter_ == 1
    restarted = tiny().partial_fit(crops)
    assert restarted.state_.digest == encoder.state_.digest
    del restarted.training_state_["momentum"]
    encoder.partial_fit(crops)
    restarted.partial_fit(crops)
    assert encoder.n_iter_ == restarted.n_iter_ == len(encoder.loss_curve_) == 2
    assert encoder.state_.digest != restarted.state_.digest  # momentum was kept in one only
    assert tiny().partial_fit(crops).partial_fit(crops).state_.digest == encoder.state_.digest


def test_partial_fit_goes_on_from_fit(crops):
    encoder = tiny().fit(crops)
    before = encoder.state_
    encoder.partial_fit(crops[:4])
    assert encoder.n_iter_ == 2
    assert encoder.state_.digest != before.digest
    encoder.fit(crops)  # starts anew
    assert encoder.n_iter_ == 1
    assert encoder.state_.digest == before.digest


def test_projector_of_another_width_starts_anew(fitted, crops, tmp_path):
    save(fitted, tmp_path / "tiny.skiqa")
    encoder = tiny(
        weights=tmp_path / "tiny.skiqa", objective=Contrique(projection_dim=16)
    ).set_params(backbone=None)
    head = encoder.fit(crops).state_.head
    assert head["3.weight"].shape[0] == 16


# Manners ------------------------------------------------------------------------------------------


def test_global_generators_are_left_alone(crops):
    def states():
        numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002 - it is the one guarded
        return torch.get_rng_state().tolist(), numpy_state, random.getstate()

    before = states()
    tiny(random_state=7).fit(crops).transform(crops)
    ContrastiveQualityEncoder(random_state=0).fit(crops).transform(crops[:1])
    assert states() == before


def test_damaged_photos_where_asked(photo, tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(photo).save(path, quality=95)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = b"\x55" * 200
    path.write_bytes(data)
    cached = ContrastiveQualityEncoder(cache_dir=tmp_path / "cache").fit([path])
    for _ in range(2):  # the second finds what the one below has cached
        with pytest.raises(ImageError, match=r"photo\.jpg.*damaged"):
            cached.transform([path])
        allowing = clone(cached).set_params(allow_damaged=True).fit([path])
        assert np.isfinite(allowing.transform([path])).all()
    scorer = make_pipeline(allowing, load_model()[-1])
    (score,), (flags,) = predict_quality(scorer, [path], return_flags=True)
    assert np.isfinite(score)
    assert "damaged" in flags
    (score,), (flags,) = predict_quality(load_model(), [path], return_flags=True)
    assert np.isnan(score)
    assert flags == ("damaged",)
