"""Colours as files mean them: the expected sRGB is where the files were made from."""

import io
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from made_files import (
    BT2020,
    _curve,
    cmyk_profile,
    grey_profile,
    hlg,
    png,
    pq,
    rgb_profile,
    rgb_to_xyz,
)
from numpy.testing import assert_array_equal
from PIL import Image, ImageCms

from skiqa._inputs.decode import to_rgb

SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
PQ, HLG = 16, 18


@pytest.fixture(scope="module")
def picture():
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([4 * x, 5 * y, 2 * (x + y)], axis=2).clip(0, 255).astype(np.uint8)


def light(picture):
    code = picture / 255
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def in_primaries(picture, corners):
    to_others = np.linalg.inv(rgb_to_xyz(corners)) @ rgb_to_xyz(SRGB)
    return (light(picture) @ to_others.T).clip(0, 1)


def levels(values):
    return np.rint(values * 255).astype(np.uint8)


def encode(pixels, format="PNG", **options):
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, format, **options)
    return buffer.getvalue()


def difference(a, b):
    return np.abs(np.asarray(a).astype(int) - b).mean()


@pytest.mark.parametrize(
    ("corners", "gamma"),
    [(P3, 2.2), (ADOBE, 2.2), (PROPHOTO, 1.8), (BT2020, 2.4), (SRGB, 2.2), (SRGB, 1.0)],
)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_rgb_profiles_are_applied(corners, gamma, format, picture):
    stored = levels(in_primaries(picture, corners) ** (1 / gamma))
    options = {"lossless": True} if format == "WEBP" else {}
    data = encode(stored, format, icc_profile=rgb_profile(corners, gamma), **options)
    assert difference(stored, picture) > 1.5
    assert difference(to_rgb(data), picture) < 1
    loaded = Image.open(io.BytesIO(data))
    loaded.load()
    assert_array_equal(to_rgb(loaded), to_rgb(data))


def test_profile_is_applied_to_what_lies_over_white(picture):
    profile = rgb_profile(P3, 2.2)
    stored = Image.fromarray(levels(in_primaries(picture, P3) ** (1 / 2.2)))
    expected = to_rgb(encode(stored, icc_profile=profile))
    stored.putalpha(Image.fromarray(np.tile(np.uint8([0, 255]), (48, 32))))
    pixels = to_rgb(encode(stored, icc_profile=profile))
    assert (pixels[:, ::2] == 255).all()
    assert_array_equal(pixels[:, 1::2], expected[:, 1::2])


def test_grey_profiles(picture):
    grey = picture[..., 0]
    stored = levels(light(grey) ** (1 / 1.8))
    assert difference(to_rgb(encode(stored, icc_profile=grey_profile(1.8)))[..., 0], grey) < 0.5
    # a grey picture with a profile for RGB is RGB of three equal channels
    stored = levels(light(grey))
    pixels = to_rgb(encode(stored, icc_profile=rgb_profile(SRGB, 1.0)))
    assert difference(pixels[..., 0], grey) < 1
    deep = (stored.astype(np.uint16) * 257,)
    assert_array_equal(to_rgb(encode(*deep, icc_profile=rgb_profile(SRGB, 1.0))), pixels)


def test_cmyk_profiles():
    """By hand: paper is white, and half the ink of black leaves half of its L*."""
    for ink, grey in [(0, 255), (128, 119), (255, 0)]:  # L* of 50 is 119 in sRGB
        image = Image.new("CMYK", (4, 4), (0, 0, 0, ink))
        for format in ("TIFF", "JPEG"):
            pixels = to_rgb(encode(image, format, icc_profile=cmyk_profile((100, 0, 0))))
            assert np.abs(pixels.astype(int) - grey).max() <= 3


def test_black_of_a_profile_is_black():
    """The darkest that it knows is a tenth of its white: as browsers show it, that is black."""
    tenth = b"curv\0\0\0\0" + struct.pack(">IHH", 2, 6554, 65535)
    profile = rgb_profile(P3, 2.2).replace(_curve(2.2), tenth)
    assert to_rgb(encode(np.zeros((4, 4, 3), np.uint8), icc_profile=profile)).max() <= 1


def test_srgb_profile_changes_no_pixel(picture):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert_array_equal(to_rgb(encode(picture, icc_profile=profile)), picture)


@pytest.mark.parametrize(
    "profile",
    [b"no profile", rgb_profile(P3, 2.2)[:200], cmyk_profile((90, 0, 0)), grey_profile(1.0)],
    ids=["rubbish", "truncated", "of CMYK", "of grey"],
)
def test_profiles_that_say_nothing_are_left_aside(profile, picture):
    assert_array_equal(to_rgb(encode(picture, icc_profile=profile)), picture)


def test_one_profile_in_many_threads(picture):
    stored = np.tile(picture, (8, 8, 1))
    data = encode(stored, icc_profile=rgb_profile(P3, 2.2))
    expected = to_rgb(data)
    with ThreadPoolExecutor(8) as executor:
        for pixels in executor.map(to_rgb, [data] * 16):
            assert_array_equal(pixels, expected)


# Codings ------------------------------------------------------------------------------------------


def test_known_codes():
    """BT.2408: white of 203 cd/m² is 58 % of PQ; BT.2100: half of HLG's range is 1/12 of light."""
    assert pq(np.float64(203)) == pytest.approx(0.58, abs=0.002)
    assert_array_equal(to_rgb(png(np.full((2, 2, 3), 148, np.uint8), cICP=b"\x09\x10\0\x01")), 255)


@pytest.mark.parametrize(("curve", "transfer"), [(pq, PQ), (hlg, HLG)])
@pytest.mark.parametrize("bits", [8, 16])
def test_hdr_whose_white_is_203_comes_back(curve, transfer, bits, picture):
    codes = curve(203 * in_primaries(picture, BT2020)) * (2**bits - 1)
    stored = np.rint(codes).astype(np.uint8 if bits == 8 else np.uint16)
    data = png(stored, cICP=bytes([9, transfer, 0, 1]))
    assert difference(stored >> (bits - 8), picture) > 20
    assert difference(to_rgb(data), picture) < 1.5


def test_highlights_are_rolled_off():
    """White stays below what is brighter, nothing is clipped, greys stay grey and in order."""
    nits = np.geomspace(1, 1000, 64)
    codes = np.rint(pq(nits) * 255).astype(np.uint8)
    pixels = to_rgb(png(np.tile(codes[None, :, None], (4, 1, 3)), cICP=b"\x09\x10\0\x01"))
    assert np.ptp(pixels, axis=2).max() <= 1
    grey = pixels[0, :, 1].astype(int)
    assert (np.diff(grey) >= 0).all()
    assert grey[-1] == 255
    assert 180 < grey[np.searchsorted(nits, 203)] < 250
    dark = nits < 30  # below the knee: as without highlights
    linear = nits / 203
    expected = 255 * np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    )
    assert np.abs(grey - expected)[dark].max() < 3


def test_wide_coding_and_linear_light(picture):
    code = in_primaries(picture, P3)
    curve = np.where(code <= 0.0031308, 12.92 * code, 1.055 * code ** (1 / 2.4) - 0.055)
    assert difference(to_rgb(png(levels(curve), cICP=b"\x0c\x0d\0\x01")), picture) < 1
    assert difference(to_rgb(png(levels(light(picture)), cICP=b"\x01\x08\0\x01")), picture) < 1
    gamma = (100_000).to_bytes(4, "big")  # linear
    assert difference(to_rgb(png(levels(light(picture)), gAMA=gamma)), picture) < 1


@pytest.mark.parametrize("cicp", [b"\x01\x0d\0\x01", b"\x02\x02\0\x01", b"\x01\x01\0\x01", b"\x09"])
def test_codings_of_srgb_unknown_or_damaged_change_no_pixel(cicp, picture):
    assert_array_equal(to_rgb(png(picture, cICP=cicp)), picture)


def test_avif_says_how_it_is_coded(picture):
    pytest.importorskip("PIL._avif", reason="this Pillow does not read AVIF")
    stored = levels(pq(203 * in_primaries(picture, BT2020)))
    data = encode(stored, "AVIF", quality=100, subsampling="4:4:4")
    assert difference(to_rgb(data), picture) > 20
    assert data.count(b"colrnclx\0\x01\0\x0d") == 1
    coded = data.replace(b"colrnclx\0\x01\0\x0d", b"colrnclx\0\x09\0\x10")
    assert difference(to_rgb(coded), picture) < 5


def test_heif_says_how_it_is_coded(picture):
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    stored = Image.fromarray(levels(pq(203 * in_primaries(picture, BT2020))))
    pillow_heif.from_pillow(stored).save(
        buffer, quality=100, chroma=444, color_primaries=9, transfer_characteristics=16
    )
    assert difference(to_rgb(buffer.getvalue()), picture) < 5


def test_profile_that_names_a_coding(picture):
    """ICC v4.4's tag cicp, by which HDR JPEGs say that they are."""
    stored = levels(pq(203 * in_primaries(picture, BT2020)))
    profile = bytearray(rgb_profile(BT2020, 2.2))
    place = profile.index(b"wtpt", 128)
    at = int.from_bytes(profile[place + 4 : place + 8], "big")
    profile[place : place + 4] = b"cicp"
    profile[at : at + 12] = b"cicp\0\0\0\0\x09\x10\0\x01"
    assert difference(to_rgb(encode(stored, icc_profile=bytes(profile))), picture) < 1.5


def test_byte_order_of_this_machine_is_known():
    from skiqa._inputs.pil import OTHER_BYTES

    assert OTHER_BYTES["RGB;16N"] == ("RGB;16B" if sys.byteorder == "little" else "RGB;16L")
