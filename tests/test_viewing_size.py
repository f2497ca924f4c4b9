"""Photos are looked at in their viewing size, whatever their own."""

import io

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TINY
from PIL import Image, ImageOps
from sklearn.base import clone
from sklearn.datasets import load_sample_images

import skiqa
from skiqa import ContrastiveQualityEncoder
from skiqa._inputs import pil
from skiqa._inputs.decode import to_rgb, upright_size
from skiqa._inputs.images import ImageList
from skiqa._inputs.resizing import reduce_to, viewing_size
from skiqa.cli import main
from skiqa.datasets import make_dead_leaves
from skiqa.exceptions import ImageError
from skiqa.inspection import quality_map
from skiqa.persistence import load, save

BUNDLED_PIXELS = 524_288


def enlarged(image, n_pixels):
    """The same picture with so many pixels."""
    height, width = image.shape[:2]
    factor = (n_pixels / (height * width)) ** 0.5
    size = round(width * factor), round(height * factor)
    return Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)


@pytest.fixture(scope="module")
def large():
    """Two real photographs at twelve megapixels."""
    return [enlarged(image, 12e6) for image in load_sample_images().images]


@pytest.fixture(scope="module")
def scorer():
    return skiqa.load_model()


def encode(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


# Pixels ------------------------------------------------------------------------------------------


SHAPES = [(3000, 4000), (4000, 3000), (1, 10**6), (999, 1001), (2**15, 17)]


@pytest.mark.parametrize("shape", SHAPES)
def test_viewing_size_keeps_the_aspect(shape):
    height, width = viewing_size(*shape, 100_000)
    assert min(height, width) >= 1
    assert height * width == pytest.approx(100_000, rel=0.06)
    assert abs(height - shape[0] * (100_000 / np.prod(shape)) ** 0.5) <= 0.5 or height == 1


def test_smaller_photos_and_none_change_nothing(photo):
    assert reduce_to(photo, photo.shape[0] * photo.shape[1]) is photo
    assert reduce_to(photo, None) is photo
    np.testing.assert_array_equal(to_rgb(encode(Image.fromarray(photo), "PNG"), 10**6), photo)


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "CMYK", "1", "I;16", "YCbCr"])
def test_every_mode_is_reduced(large, mode):
    image = large[0].resize((400, 300))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    full = to_rgb(image)
    small = to_rgb(image, 30_000)
    assert small.shape == (150, 200, 3)
    assert small.dtype == np.uint8
    assert small.flags.c_contiguous
    assert small.flags.writeable
    expected = reduce_to(full, 30_000)
    assert np.abs(small.astype(int) - expected).mean() < 2  # converted before or after


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_every_format_and_orientation_is_reduced(large, kind):
    image = large[1].resize((1200, 900))
    expected = np.asarray(image.resize((400, 300), Image.Resampling.BICUBIC), int)
    small = to_rgb(encode(image, kind), 120_000).astype(int)
    assert small.shape == (300, 400, 3)
    assert np.abs(small - expected).mean() < 2
    if kind not in ("JPEG", "TIFF", "PNG"):
        return
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    data = encode(image, kind, exif=exif)
    turned = to_rgb(data, 120_000)
    assert turned.shape == (400, 300, 3)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).resize((300, 400))
    assert np.abs(turned.astype(int) - np.asarray(upright)).mean() < 3


def test_jpegs_are_decoded_at_a_reduced_scale(large, monkeypatch, tmp_path):
    path = tmp_path / "large.jpg"
    large[0].save(path, quality=92)
    decoded, convert = [], pil.shrink
    monkeypatch.setattr(
        pil, "shrink", lambda im, size: decoded.append(im.size) or convert(im, size)
    )
    width, height = large[0].size
    pixels = width * height // 36 - 1000
    assert to_rgb(path, pixels).shape[:2] == viewing_size(height, width, pixels)
    assert decoded == [(-(-width // 2), -(-height // 2))]  # three times the viewing size
    assert upright_size(path) == (height, width)


def test_thin_photos_and_none_at_all(tmp_path):
    strip = np.zeros((2, 50_000, 3), np.uint8)
    assert to_rgb(strip, 10_000).shape == (1, 10_000, 3)
    with pytest.raises(ImageError):
        to_rgb(b"no photo", 10_000)
    with pytest.raises(ImageError, match="X\\[0\\]"):
        ImageList([tmp_path / "missing.jpg"]).load(0, 10_000)


# Scores ------------------------------------------------------------------------------------------


def test_a_score_stays_when_the_size_changes(scorer, large):
    for image in large:
        sizes = (12e6, 6e6, 3e6, 1.5e6, 0.8e6)
        ladder = [np.asarray(enlarged(np.asarray(image), n)) for n in sizes]
        scores = scorer.predict(ladder)
        assert np.ptp(scores) < 3, scores


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_or_columns_cut_off_hardly_matter(scorer, axis):
    for image in load_sample_images().images:
        cut = [np.delete(image, np.s_[image.shape[axis] - n :], axis) for n in range(9)]
        scores = scorer.predict(cut)
        assert np.abs(scores - scores[0]).max() < 2.5, scores  # 4.5 without the padding


def test_reduced_decoding_moves_a_score_by_less_than_half_a_point(large):
    scorer = skiqa.load_model().set_params(contrastivequalityencoder__max_pixels=12_000_000 // 37)
    files = [encode(image, "JPEG", quality=95) for image in large]
    decoded = [np.asarray(Image.open(io.BytesIO(data))) for data in files]
    by_file, by_pixels = scorer.predict(files), scorer.predict(decoded)
    np.testing.assert_allclose(by_file, by_pixels, atol=0.5)
    assert not np.array_equal(by_file, by_pixels)


def test_the_map_is_that_of_the_viewed_photo(scorer, large):
    score, cells = quality_map(scorer, large[0], grid=(4, 4))
    assert score == pytest.approx(scorer.predict([large[0]])[0], abs=1e-3)
    assert cells.sum() == pytest.approx(score, abs=1e-3)


# The parameter -----------------------------------------------------------------------------------


def test_the_weights_say_it_and_the_parameter_overrides(scorer, large):
    encoder = ContrastiveQualityEncoder().fit(["never opened"])
    assert encoder.state_.max_pixels == scorer[0].state_.max_pixels == BUNDLED_PIXELS
    photo = large[0].resize((1200, 800))
    default = encoder.transform([photo])
    same = clone(encoder).set_params(max_pixels=BUNDLED_PIXELS).fit([photo])
    np.testing.assert_array_equal(same.transform([photo]), default)
    for other in (None, 100_000):
        rows = clone(encoder).set_params(max_pixels=other).fit([photo]).transform([photo])
        assert not np.allclose(rows, default, atol=1e-3)
    by_hand = clone(encoder).set_params(max_pixels=None).fit([photo])
    np.testing.assert_array_equal(
        by_hand.transform([reduce_to(np.asarray(photo), BUNDLED_PIXELS)]), default
    )


@pytest.mark.parametrize("value", ["native", 0, 1000, 1.5e6, -5])
def test_values_that_say_nothing_are_refused(value):
    with pytest.raises(ValueError, match="max_pixels"):
        ContrastiveQualityEncoder(max_pixels=value).fit(["never opened"])


def test_training_stores_its_own_and_sees_photos_so(tmp_path):
    photos = list(make_dead_leaves(4, image_shape=(160, 200), random_state=0))
    options = {"weights": None, "epochs": 1, "batch_size": 2, "view_size": 64, "random_state": 0}
    encoder = ContrastiveQualityEncoder(TINY, max_pixels=20_000, **options).fit(photos)
    assert encoder.state_.max_pixels == 20_000
    reduced = [reduce_to(photo, 20_000) for photo in photos]
    again = ContrastiveQualityEncoder(TINY, max_pixels=None, **options).fit(reduced)
    assert again.state_.digest == encoder.state_.digest
    save(encoder, tmp_path / "encoder.skiqa")
    reloaded = load(tmp_path / "encoder.skiqa")
    assert reloaded.state_.max_pixels == 20_000
    np.testing.assert_array_equal(reloaded.transform(photos), encoder.transform(photos))
    used = ContrastiveQualityEncoder(weights=tmp_path / "encoder.skiqa").fit(["never opened"])
    np.testing.assert_array_equal(used.transform(photos), encoder.transform(photos))
    partial = ContrastiveQualityEncoder(TINY, **options).partial_fit(photos)
    assert partial.state_.max_pixels is None  # random weights say nothing


def test_the_cache_keeps_viewing_sizes_apart(tmp_path, large):
    photo = large[0].resize((1200, 800))
    rows = [
        ContrastiveQualityEncoder(cache_dir=tmp_path, max_pixels=n).fit_transform([photo])
        for n in (None, 100_000, None, 100_000)
    ]
    np.testing.assert_array_equal(rows[0], rows[2])
    np.testing.assert_array_equal(rows[1], rows[3])
    assert not np.allclose(rows[0], rows[1], atol=1e-3)


def test_command_line(tmp_path, large, scorer):
    path = tmp_path / "large.png"
    large[0].resize((1200, 800)).save(path)

    def score(*options):
        done = CliRunner().invoke(main, ["score", str(path), "--csv", "-", *options])
        assert done.exit_code == 0, done.output
        return float(done.stdout.splitlines()[1].split(",")[1])

    assert score() == pytest.approx(scorer.predict([path])[0], abs=0.01)
    for text, value in (("native", None), ("1e5", 100_000)):
        model = skiqa.load_model()
        model[0].set_params(max_pixels=value)
        assert score("--max-pixels", text) == pytest.approx(model.predict([path])[0], abs=0.01)
    for bad in ("12", "many", "inf"):
        done = CliRunner().invoke(main, ["score", str(path), "--max-pixels", bad])
        assert done.exit_code == 2
        assert "neither a number of pixels" in done.stderr
