"""Each flag on a picture that has it, and on the nearest one that has not."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images

from skiqa._inputs.flags import pixel_flags

CHINA, FLOWER = load_sample_images().images


def of_colors(*parts):
    """A picture of 100 x 200 in which each level of gray has its part of the pixels."""
    levels = [level for level, part in parts for _ in range(round(20_000 * part))]
    assert len(levels) == 20_000
    gray = np.random.default_rng(0).permutation(levels).reshape(100, 200).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)


def repeated(picture, times):
    return picture.repeat(times, axis=0).repeat(times, axis=1)


@pytest.mark.parametrize(
    "photo", [CHINA, FLOWER, CHINA[200:264, 200:264], FLOWER[100:300, 200:320]]
)
def test_photos_have_none(photo):
    assert pixel_flags(photo) == ()
    assert pixel_flags(np.repeat(photo.mean(axis=2).astype(np.uint8)[..., None], 3, axis=2)) == ()


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (of_colors((90, 1.0)), "blank"),
        (of_colors((90, 0.9999), (255, 0.0001)), "blank"),
        (of_colors((90, 0.996), (255, 0.004)), "nearly uniform"),
        (of_colors((0, 0.6), (4, 0.4)), "blank"),  # as black frames of a camera are
        (of_colors((0, 0.6), (5, 0.4)), ""),
        (of_colors((255, 0.92), (0, 0.08)), "nearly uniform"),
        (of_colors((255, 0.88), (0, 0.12)), ""),
        (CHINA[:63, :100], "tiny"),
        (CHINA[:100, :63], "tiny"),
        (CHINA[:64, :321], "extreme shape"),
        (CHINA[:64, :320], ""),
        (CHINA[:400, 300:379], "extreme shape"),
        (CHINA[:20, :101], "tiny, extreme shape"),
        (CHINA[:1, :1], "blank, tiny"),
    ],
    ids=str,
)
def test_colors_and_shapes(picture, expected):
    assert ", ".join(pixel_flags(picture)) == expected


def test_fine_patterns_are_not_one_color():
    """Such as every second pixel is."""
    rows, columns = np.indices((480, 640))
    for pattern in ((rows + columns) % 2, rows % 2, columns % 2, rows // 2 % 2 ^ columns // 2 % 2):
        gray = np.where(pattern, 255, 0).astype(np.uint8)
        assert not {"blank", "nearly uniform"} & set(pixel_flags(np.dstack([gray] * 3))), pattern


def test_pixels_in_blocks():
    small = CHINA[100:200, 200:320]
    for times in (2, 3, 8):
        assert pixel_flags(repeated(small, times)) == ("upscaled",)
    twice = repeated(small, 2)
    assert pixel_flags(twice[1:, 1:]) == ("upscaled",)  # wherever it is cut
    assert pixel_flags(np.pad(twice, [(30, 31), (21, 0), (0, 0)])) == ("upscaled",)  # in a frame
    assert pixel_flags(repeated(CHINA[200:206, 200:206], 16)) == ()  # too few to tell
    assert pixel_flags(np.delete(twice, 101, axis=0)) == ()
    assert pixel_flags(np.delete(twice, 100, axis=1)) == ()
    assert pixel_flags(small.repeat(2, axis=0)) == ()  # in one direction: interlaced, perhaps


def test_enlarging_that_cannot_be_told():
    small = Image.fromarray(CHINA).resize((320, 214))
    file = io.BytesIO()
    small.resize((640, 428), Image.Resampling.NEAREST).save(file, "JPEG", quality=95)
    for enlarged in (
        small.resize((640, 428), Image.Resampling.BICUBIC),
        small.resize((640, 428), Image.Resampling.BILINEAR),
        small.resize((480, 321), Image.Resampling.NEAREST),
        Image.open(file),
    ):
        assert pixel_flags(np.asarray(enlarged)) == ()


def test_text_is_no_blank_page():
    page = Image.new("RGB", (640, 800), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    draw.text((40, 40), "A heading and a few words more", "black", font)
    assert pixel_flags(np.asarray(page)) == ("nearly uniform",)
    for line in range(1, 40):
        draw.text(
            (10, 20 * line), "The quick brown fox jumps over the lazy dog. " * 2, "black", font
        )
    assert pixel_flags(np.asarray(page)) == ()


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 9), st.integers(1, 255))
def test_any_picture(height, width, seed, n_levels):
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, n_levels, (height, width, 3)).astype(np.uint8)
    flags = pixel_flags(picture)
    assert ("tiny" in flags) == (min(height, width) < 64)
    assert ("extreme shape" in flags) == (max(height, width) > 5 * min(height, width))
    assert ("blank" in flags) <= (n_levels < 10 or height * width < 9)
    assert flags == pixel_flags(picture[::-1, ::-1])
    if n_levels > 99 and height > 20 and width > 20:
        assert "upscaled" not in flags
        assert "upscaled" in pixel_flags(repeated(picture, 2))
