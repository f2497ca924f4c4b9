"""Colours as a file means them, to sRGB: ICC profiles, and wide and HDR codings.

Both are applied to the small picture, at its viewing size. Profiles go through LittleCMS, relative
colorimetric with black point compensation, as browsers do it. A coding is a pair of numbers of
ITU-T H.273: primaries and transfer. PQ and HLG (ITU-R BT.2100) become light in cd/m², of which 203
are white (BT.2408); what is brighter is rolled off by the curve of BT.2390.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from skiqa._inputs.headers import Coding, coding_of_profile
from skiqa._types import Floats, Pixels

__all__ = ["apply_coding", "apply_profile", "changes_colours"]

# Chromaticities (x, y) of red, green, blue; white is D65. Others are taken for BT.709's.
PRIMARIES = {
    1: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),  # BT.709, sRGB
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020, BT.2100
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
D65 = (0.3127, 0.3290)
PQ, HLG, LINEAR = 16, 18, 8
GAMMAS = {4: 2.2, 5: 2.8}
WHITE = 203.0  # cd/m², BT.2408
HLG_PEAK = 1000.0  # cd/m² of the display, whose system gamma is 1.2

# An RGB profile that moves no colour by more than this many of 255 levels is sRGB, rounded by
# whoever wrote it: such pixels stay as they are.
SAME = 2

SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def changes_colours(coding: Coding | None) -> bool:
    """Does a coding mean other colours than sRGB's?"""
    if coding is None:
        return False
    primaries, transfer = coding
    wide = primaries in PRIMARIES and primaries != 1
    return wide or transfer in (PQ, HLG, LINEAR, *GAMMAS)


def apply_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Return an image of mode L, RGB or CMYK in sRGB.

    The image itself where the profile is sRGB's, damaged, or of another kind of colours: viewers
    leave such profiles aside. Grey pictures with a profile for RGB are taken for RGB.
    """
    coding = coding_of_profile(profile)
    if coding is not None and changes_colours(coding) and image.mode != "CMYK":
        return Image.fromarray(apply_coding(np.asarray(image.convert("RGB")), coding))
    transform = _transform(profile, image.mode)
    if transform is None:
        return image
    return ImageCms.applyTransform(image.convert(str(transform.input_mode)), transform) or image


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what brings images of a mode to sRGB; None: nothing, they stay."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        takes = SPACES[source.profile.xcolor_space.strip()]
        if takes != mode and (takes, mode) != ("RGB", "L"):
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            takes,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if takes == "RGB":
            levels = np.linspace(0, 255, 18).astype(np.uint8)
            probe = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(18, -1, 3)
            moved = ImageCms.applyTransform(Image.fromarray(probe), transform)
            if np.abs(np.asarray(moved).astype(int) - probe).max() <= SAME:
                return None
    except (ImageCms.PyCMSError, OSError, KeyError, ValueError, TypeError):
        return None
    return transform


def apply_coding(codes: npt.NDArray[Any], coding: Coding) -> Pixels:
    """Bring pictures coded for other primaries or another light to sRGB.

    Parameters
    ----------
    codes : ndarray of shape (h, w, 3), uint8 or float in [0, 1]
    coding : tuple of 2 int
        Primaries and transfer.

    Returns
    -------
    pixels : ndarray of shape (h, w, 3), uint8
    """
    primaries, transfer = coding
    if codes.dtype == np.uint8:
        light = _to_light(np.arange(256, dtype=np.float32) / 255, transfer)[codes]
    else:
        light = _to_light(codes, transfer)
    if transfer == HLG:
        light = _hlg_system(light, primaries)
    if transfer in (PQ, HLG):
        light = _roll_off(light / WHITE)
    light = light @ (np.linalg.inv(_to_xyz(1)) @ _to_xyz(primaries)).T
    return np.rint(_light_to_srgb(np.clip(light, 0, 1)) * 255).astype(np.uint8)


def _to_light(codes: Floats, transfer: int) -> Floats:
    """Return light: of PQ in cd/m², of HLG the scene's, else in [0, 1] of white."""
    if transfer == PQ:
        return _pq_to_light(codes)
    if transfer == HLG:
        return _hlg_to_scene(codes)
    if transfer == LINEAR:
        return codes
    return codes ** GAMMAS[transfer] if transfer in GAMMAS else _srgb_to_light(codes)


def _to_xyz(primaries: int) -> Floats:
    """Return the matrix from linear RGB to CIE XYZ, in which white has Y = 1."""
    corners = np.array(
        [(x / y, 1, (1 - x - y) / y) for x, y in PRIMARIES.get(primaries, PRIMARIES[1])]
    )
    x, y = D65
    return corners.T * np.linalg.solve(corners.T, [x / y, 1, (1 - x - y) / y])


def _srgb_to_light(code: Floats) -> Floats:
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def _light_to_srgb(light: Floats) -> Floats:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


# SMPTE ST 2084, BT.2100 table 4
M1, M2 = 2610 / 16384, 2523 / 4096 * 128
C1, C2, C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _pq_to_light(code: Floats) -> Floats:
    """PQ's EOTF: codes in [0, 1] to cd/m²."""
    power = code ** (1 / M2)
    return 10000 * (np.maximum(power - C1, 0) / (C2 - C3 * power)) ** (1 / M1)


def _light_to_pq(light: npt.ArrayLike) -> Floats:
    power = (np.asarray(light) / 10000) ** M1
    return ((C1 + C2 * power) / (1 + C3 * power)) ** M2


def _hlg_to_scene(code: Floats) -> Floats:
    """Invert HLG's OETF, BT.2100 table 5: codes in [0, 1] to the light of the scene in [0, 1]."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)


def _hlg_system(scene: Floats, primaries: int) -> Floats:
    """HLG's OOTF for a display of 1,000 cd/m²: scene light to cd/m²."""
    luminance = scene @ _to_xyz(primaries)[1]
    return HLG_PEAK * scene * np.maximum(luminance, 1e-9)[..., None] ** 0.2


def _roll_off(light: Floats) -> Floats:
    """Bring light, of which 1 is white, to at most 1 by the EETF of BT.2390, 5.4.1.

    The largest of R, G and B goes through the curve, and all three keep their ratio. The source's
    peak is the picture's own; a picture with nothing brighter than white stays as it is.
    """
    brightest = light.max(axis=2)
    peak = brightest.max()
    if peak <= 1:
        return light
    top = _light_to_pq(peak * WHITE)
    limit = _light_to_pq(WHITE) / top
    code = _light_to_pq(brightest * WHITE) / top
    knee = 1.5 * limit - 0.5
    t = np.clip((code - knee) / (1 - knee), 0, 1)
    curve = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee)
    curve += (-2 * t**3 + 3 * t**2) * limit
    mapped = np.where(code < knee, brightest, _pq_to_light(curve * top) / WHITE)
    return light * (mapped / np.maximum(brightest, 1e-9))[..., None]
