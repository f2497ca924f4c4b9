import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, features
from sklearn.datasets import load_sample_images

import skiqa
from skiqa._features.flags import Flags, unlike_above
from skiqa._inputs.images import ImageList
from skiqa.exceptions import ImageError
from skiqa.persistence import Quality, iter_quality, predict_quality

CHINA, FLOWER = load_sample_images().images
ROW = np.ones(4, np.float32)


def encoded(format, n_frames=1):
    frames = [Image.fromarray(CHINA[100:200, 200:300]).rotate(90 * k) for k in range(n_frames)]
    more = {"save_all": True, "append_images": frames[1:]} if n_frames > 1 else {}
    file = io.BytesIO()
    frames[0].save(file, format, **more)
    return file.getvalue()


def flags_of(image, allow_damaged=False, card=None, row=ROW):
    images = ImageList([image], allow_damaged)
    flags = Flags(images, None, card or {})
    images.load(0)
    return flags.pop(0, row)


def dropped(data, n_bytes=100):
    half = len(data) // 2
    return data[:half] + data[half + n_bytes :]


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_animations(format, tmp_path):
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow does not read AVIF")
    path = tmp_path / "animation"
    path.write_bytes(encoded(format, 3))
    assert flags_of(path) == flags_of(encoded(format, 3)) == ("animated",)
    with Image.open(path) as opened:
        assert flags_of(opened) == ("animated",)
    assert flags_of(encoded(format)) == ()


@pytest.mark.parametrize("format", ["MPO", "TIFF"])
def test_pages_and_second_views_are_no_animation(format):
    assert Image.open(io.BytesIO(encoded(format, 3))).n_frames == 3
    assert flags_of(encoded(format, 3)) == ()


def test_damaged_files():
    good = encoded("JPEG")
    assert flags_of(good, allow_damaged=True) == ()
    assert flags_of(dropped(good), allow_damaged=True) == ("damaged",)
    images = ImageList([dropped(good)])
    with pytest.raises(ImageError) as caught:
        images.load(0)
    assert Flags(images, None, {}).pop(0, caught.value) == ("damaged",)
    images = ImageList(["missing.jpg"])
    with pytest.raises(ImageError) as caught:
        images.load(0)
    assert Flags(images, None, {}).pop(0, caught.value) == ()


# What is unlike -----------------------------------------------------------------------------------


def test_unlike():
    rows = np.random.default_rng(0).normal(size=(1000, 50)) / np.sqrt(50)
    limit = unlike_above(rows)
    distances = np.linalg.norm(rows, axis=1)
    assert (distances > limit).sum() == 10
    near, far = (rows[distances <= limit][0], rows[distances > limit][0])
    for row, expected in ((near, ()), (far, ("unlike",))):
        assert flags_of(CHINA, card={"unlike_above": limit}, row=row) == expected
        assert flags_of(CHINA, row=row) == ()


@pytest.mark.parametrize("limit", [None, "far", [1.0], {}])
def test_cards_may_say_anything(limit):
    assert flags_of(CHINA, card={"unlike_above": limit}, row=100 * ROW) == ()


def test_what_was_seen_is_kept_until_it_is_taken():
    images = ImageList([CHINA, FLOWER[:20, :50]])
    flags = Flags(images, 10_000, {})
    assert flags.pop(1, ROW) == ("tiny",)  # its features were in the cache
    images.load(0)
    flags.pop(0, ImageError("it does not fit into memory"))
    assert flags._seen == {}


# With the scorer ----------------------------------------------------------------------------------


def odd_pictures():
    rows, columns = np.indices((200, 300))
    rng = np.random.default_rng(0)
    page = Image.new("RGB", (400, 500), "white")
    for line in range(24):
        text, font = "The quick brown fox jumps over the lazy dog. ", ImageFont.load_default(14)
        ImageDraw.Draw(page).text((20, 10 + 20 * line), text, "black", font)
    return {
        "black frame": (np.zeros((200, 300, 3), np.uint8), "blank"),
        "gray square": (np.full((200, 200, 3), 128, np.uint8), "blank"),
        "checkerboard": (((rows // 20 + columns // 20) % 2 * 255).astype(np.uint8), "upscaled"),
        "fine checkerboard": (((rows + columns) % 2 * 255).astype(np.uint8), "unlike"),
        "one pixel": (np.full((1, 1, 3), 90, np.uint8), "tiny"),
        "noise": (rng.integers(0, 256, (200, 300, 3), np.uint8), "unlike"),
        "page of text": (page, "unlike"),
    }


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_no_photos_and_photos(n_jobs):
    odd = odd_pictures()
    X = [image for image, _ in odd.values()] + [CHINA, FLOWER, "missing.jpg"]
    scores, flags = predict_quality(skiqa.load_model(), X, n_jobs=n_jobs, return_flags=True)
    for found, (name, (_, expected)) in zip(flags, odd.items(), strict=False):
        assert expected in found, name
        assert "unlike" in found, name
    assert flags[-3:] == [(), (), ()]
    assert np.isnan(scores).tolist() == [False] * 9 + [True]


def test_flags_are_of_the_viewing_size():
    """What the scorer sees; a photo whose blocks are gone then is scored as it is."""
    model = skiqa.load_model()
    picture = CHINA[100:228, 100:292].repeat(3, axis=0).repeat(3, axis=1)
    assert [quality.flags for quality in iter_quality(model, [picture])] == [("upscaled",)]
    model[0].set_params(max_pixels=80_000)
    assert [quality.flags for quality in iter_quality(model, [picture])] == [()]


def test_flags_of_features_in_the_cache(tmp_path, monkeypatch):
    model = skiqa.load_model()
    model[0].set_params(cache_dir=tmp_path)
    X = [
        CHINA[:90, :120],
        np.zeros((70, 80, 3), np.uint8),
        encoded("GIF", 2),
        dropped(encoded("PNG")),
    ]
    first = list(iter_quality(model, X))
    for flag, quality in zip(("blank", "animated", "damaged"), first[1:], strict=True):
        assert flag in quality.flags
    for again, before in zip(iter_quality(model, X), first, strict=True):
        assert (again.index, again.flags) == (before.index, before.flags)
        np.testing.assert_equal(again.score, before.score)

    good = X[:3]

    def gone(self, index, max_pixels=None):
        raise ImageError("there is no such file")

    monkeypatch.setattr(ImageList, "load", gone)
    scores = [quality.score for quality in first[:3]]
    assert predict_quality(model, good).tolist() == scores  # without flags nothing is decoded
    unseen = list(iter_quality(model, good))
    assert [quality.score for quality in unseen] == scores
    assert unseen[0] == Quality(0, scores[0], None, unseen[0].flags)
    assert set(unseen[2].flags) <= {"unlike"}
