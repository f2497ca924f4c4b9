"""What is odd about a picture, so that its score says little of it: seen from its pixels alone."""

from __future__ import annotations

import numpy as np

from skiqa._types import Pixels

TINY = 64  # pixels of the shorter side: a scorer sees a few cells of its last map, or one
LONG = 5  # times the shorter side
NEAR = 4  # levels from the median color, in each channel, in which a pixel is the same to the eye
SAMPLE = 2**14  # pixels whose colors are looked at; at random, for regular ones miss patterns
BLANK, UNIFORM = 0.999, 0.9  # parts of the pixels that are near it


def pixel_flags(pixels: Pixels) -> tuple[str, ...]:
    """Return what is odd about a picture.

    Parameters
    ----------
    pixels : ndarray of shape (h, w, 3), uint8
        At its viewing size.

    Returns
    -------
    tuple of str
        Of "blank" (one color, but for one pixel in a thousand), "nearly uniform" (nine tenths of it
        one color), "tiny" (a side below 64 pixels), "extreme shape" (a side five times the other)
        and "upscaled" (its pixels are repeated in blocks, each 2 x 2 or larger).

    Notes
    -----
    About a millisecond: colors are those of some pixels, the same in each picture of one size, and
    rows and columns are compared until some are as no picture in blocks has them.

    Examples
    --------
    >>> import numpy as np
    >>> from skiqa._inputs.flags import pixel_flags
    >>> pixel_flags(np.full((40, 300, 3), 255, np.uint8))
    ('blank', 'tiny', 'extreme shape')
    """
    height, width = pixels.shape[:2]
    sample = pixels.reshape(-1, 3)
    if len(sample) > SAMPLE:
        sample = sample[np.random.default_rng(0).integers(len(sample), size=SAMPLE)]
    sample = sample.astype(np.int16)
    near = (np.abs(sample - np.median(sample, axis=0)) <= NEAR).all(axis=1).mean()
    found = {
        "blank": near >= BLANK,
        "nearly uniform": UNIFORM <= near < BLANK,
        "tiny": min(height, width) < TINY,
        "extreme shape": max(height, width) > LONG * min(height, width),
        "upscaled": near < UNIFORM and _is_in_blocks(pixels),
    }
    return tuple(name for name, there in found.items() if there)


def _is_in_blocks(pixels: Pixels) -> bool:
    """Whether rows and columns change at regular places only, two or more pixels apart."""
    sideways = pixels.transpose(1, 0, 2)
    return all(_is_regular(np.flatnonzero(_changes(lines))) for lines in (pixels, sideways))


def _changes(pixels: Pixels) -> np.ndarray:
    """Return whether each row differs from the one before it; the first few say no, mostly."""
    first = pixels[: 2 * TINY]
    if (first[1:] != first[:-1]).any(axis=(1, 2)).sum() > len(first) * 2 // 3:
        return np.ones(len(pixels) - 1, bool)  # as in nearly every picture: no need to look further
    return (pixels[1:] != pixels[:-1]).any(axis=(1, 2))


def _is_regular(places: np.ndarray) -> bool:
    """Whether places are at least eight, and all a multiple of two or more apart."""
    return len(places) >= 8 and int(np.gcd.reduce(np.diff(places))) >= 2
