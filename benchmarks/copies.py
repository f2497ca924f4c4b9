"""Degraded copies of pristine photos, from faint to strong, and the order that scores must keep.

A pristine photo is above its copy of level 1, that above level 2, and so on to level 5, for every
operator of `skiqa.degradations` that claims to be monotone; and any copy of level 5 is below any of
level 1 of the same photo, whatever the operators. What teaches this to a regressor, and what asks
whether it holds, is made here.
"""

import os
from dataclasses import dataclass

import numpy as np
from PIL import Image

from skiqa.degradations import degrade, get_operator, list_operators

LEVELS = 5
OPERATORS = [name for name in list_operators() if get_operator(name).monotone]
# Of these, what raters of photos agree with: sharper, brighter and more colourful is often better
# to them, and where a regressor is told otherwise it ranks photos worse.
DISLIKED = [
    name
    for name in OPERATORS
    if get_operator(name).group in ("blur", "noise", "compression") or name.startswith("resize")
]
# Frames of one color, which no one would call a good photo.
BOTTOM_COLORS = ((0, 0, 0), (64, 64, 64), (128, 128, 128), (255, 255, 255), (30, 60, 120))


def pristine(path, pixels=None):
    """Return a photo, uint8 (h, w, 3), brought to so many pixels if it has more."""
    with Image.open(path) as photo:
        photo = photo.convert("RGB")
        if pixels is not None and pixels < photo.width * photo.height:
            factor = (pixels / (photo.width * photo.height)) ** 0.5
            size = round(photo.width * factor), round(photo.height * factor)
            photo = photo.resize(size, Image.Resampling.LANCZOS)
        return np.array(photo)


@dataclass(frozen=True)
class Chain:
    """A photo, degraded by one operator ever more."""

    photo: int
    operator: str
    rows: np.ndarray  # (LEVELS + 1, d): features of levels 0 (the photo itself) to 5


def chains(encoder, paths, *, operators=OPERATORS, pixels=None, n_operators=None, seed=0):
    """Return the chains of photos, with features by an encoder that keeps them in a cache.

    `n_operators` of `operators` are drawn anew for each photo; None: all.
    """
    result = []
    for i, path in enumerate(paths):
        rng = np.random.default_rng([seed, i])
        drawn = rng.permutation(len(operators))[:n_operators]
        names = [operators[k] for k in sorted(drawn)]
        image = pristine(path, pixels)
        copies = [degrade(image, o, level + 1, seed=i) for o in names for level in range(LEVELS)]
        rows = encoder.transform([image, *copies])
        degraded = rows[1:].reshape(len(names), LEVELS, -1)
        for name, levels in zip(names, degraded, strict=True):
            result.append(Chain(i, name, np.concatenate([rows[:1], levels])))
    return result


def sampled(paths, folder, per_photo, *, operators=OPERATORS, seed=0):
    """Return (files, photos, levels): pristine photos, and copies of each at random levels.

    Copies are of `per_photo` of the operators, drawn anew for each photo, and lie in `folder`,
    which may be there.
    """
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    files, photos, levels = [], [], []
    for i, path in enumerate(paths):
        image = pristine(path)
        drawn = [operators[k] for k in rng.permutation(len(operators))[:per_photo]]
        copies = [(name, int(rng.integers(1, LEVELS + 1))) for name in drawn]
        files += [str(path)] + [str(folder / f"{i:03d}_{o}_{level}.png") for o, level in copies]
        photos += [i] * (1 + per_photo)
        levels += [0] + [level for _, level in copies]
        for file, (name, level) in zip(files[-per_photo:], copies, strict=True):
            if not os.path.exists(file):
                Image.fromarray(degrade(image, name, level, seed=i)).save(file, compress_level=1)
    return files, np.array(photos), np.array(levels)


def bottom(encoder, shape=(512, 512), seed=0):
    """Return features of what is no photo: blank frames, noise, and noise in blocks."""
    rng = np.random.default_rng(seed)
    images = [np.full((*shape, 3), color, np.uint8) for color in BOTTOM_COLORS]
    for block in (1, 1, 4, 16, 64):
        small = rng.integers(0, 256, (shape[0] // block, shape[1] // block, 3), np.uint8)
        images.append(small.repeat(block, axis=0).repeat(block, axis=1))
    return encoder.transform(images)


def steps(some_chains):
    """Return (better, worse, operator) of neighbouring levels: rows, rows, names.

    Without equal ones: the faintest blurs change no byte of a photo.
    """
    better = np.concatenate([chain.rows[:-1] for chain in some_chains])
    worse = np.concatenate([chain.rows[1:] for chain in some_chains])
    operator = np.repeat([chain.operator for chain in some_chains], LEVELS)
    differ = (better != worse).any(axis=1)
    return better[differ], worse[differ], operator[differ]


def between(some_chains, per_photo, seed=0):
    """Return (better, worse): a copy of level 1 and one of level 5 of the same photo, at random."""
    rng = np.random.default_rng(seed)
    photos = {}
    for chain in some_chains:
        photos.setdefault(chain.photo, []).append(chain.rows)
    better, worse = [], []
    for rows in photos.values():
        for _ in range(per_photo):
            mild, strong = rng.integers(len(rows), size=2)
            better.append(rows[mild][1])
            worse.append(rows[strong][LEVELS])
    return np.stack(better), np.stack(worse)


def share_in_order(scores):
    """Return the share of pairs of levels that scores of shape (..., LEVELS + 1) put in order."""
    i, j = np.triu_indices(scores.shape[-1], 1)
    return float(np.mean(scores[..., i] > scores[..., j]))
