"""Where a photo is good or bad: the exact split of a linear model's score over the photo.

A linear model adds up features, and every feature is itself a mean over positions: the mean of a
channel, and its standard deviation ``s = mean((x - m)**2) / s``, given the photo's own m and s. So
the score is a sum over positions. Nothing is estimated, and no gradient is taken.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skiqa._encoder import ContrastiveQualityEncoder
from skiqa._features.flags import Flags
from skiqa._features.standardise import finisher, stage_constants
from skiqa._features.width import part_width, row_width
from skiqa._inputs.images import ImageList
from skiqa._inputs.prefetch import iter_decoded
from skiqa._inputs.resizing import pad_for_network, resize
from skiqa._network.device import resolve_device, transform_dtype
from skiqa._network.live import live_networks, to_input
from skiqa._network.pooling import POOLINGS
from skiqa._network.stages import Stages
from skiqa._network.state import EncoderState
from skiqa._network.tiles import needs_tiles, pool_moments, tiled_moments
from skiqa._quality import card_of
from skiqa._types import Floats, Image, Images, Pixels
from skiqa.exceptions import ImageError

_Map: TypeAlias = npt.NDArray[np.float64]
_GridMoments: TypeAlias = tuple[_Map, _Map, _Map]  # sums, squares and counts of a feature map
_Result: TypeAlias = tuple[int, float | None, _Map | None, ImageError | None, tuple[str, ...]]


def quality_map(
    model: Pipeline, image: Image, grid: tuple[int, int] = (16, 16)
) -> tuple[float, _Map]:
    """Split the score of one photo over its area.

    Parameters
    ----------
    model : Pipeline
        Fitted: a :class:`~skiqa.ContrastiveQualityEncoder`, then a linear regressor such as Ridge.
    image : image
        A path, bytes, PIL image, array or tensor: anything that the encoder takes as one image.
    grid : tuple of 2 int, default=(16, 16)
        Rows and columns of the map.

    Returns
    -------
    score : float
        What ``model.predict`` gives.
    map : ndarray of shape `grid`, float64
        What each part of the photo gives to the score: the sum is the score, to rounding. Constants
        of the model are spread evenly. So ``map * map.size`` reads as scores of parts, whose mean
        is the score of the photo.

    Raises
    ------
    TypeError
        If the model is not of that kind.
    ImageError
        If the image cannot be read.

    Notes
    -----
    Costs little more than ``predict``, in time and memory, with photos of any size. A cell says
    what its neighbourhood, as far as the network looks, gives to the score *of this photo*; it is
    not the score that the part would get alone: a standard deviation is measured against the mean
    over the whole photo.

    Examples
    --------
    >>> import skiqa
    >>> from sklearn.datasets import load_sample_images
    >>> from skiqa.inspection import quality_map
    >>> model, china = skiqa.load_model(), load_sample_images().images[0]
    >>> score, cells = quality_map(model, china)
    >>> cells.shape, bool(abs(cells.sum() - score) < 1e-3)
    ((16, 16), True)
    """
    splitter = _Splitter(model, grid)
    images = splitter.encoder.open_images([image])
    photo = images.load(0, splitter.extraction.max_pixels)
    with images.naming_errors(0):
        return splitter.split(photo)[:2]


def iter_quality_maps(
    model: Pipeline, X: Images, grid: tuple[int, int] = (16, 16), n_jobs: int | None = None
) -> Generator[_Result, None, None]:
    """Split the scores of photos over their area, one after the other.

    Parameters
    ----------
    model : Pipeline
        As in :func:`quality_map`.
    X : array-like of images
        What the encoder takes.
    grid : tuple of 2 int, default=(16, 16)
        Rows and columns of a map.
    n_jobs : int or None, default=None
        Decoding threads; None keeps the encoder's own.

    Yields
    ------
    index : int
        Position in X, counted up from 0.
    score : float or None
        None for an unreadable image.
    map : ndarray of shape `grid`, float64, or None
    error : ImageError or None
        Why it is unreadable.
    flags : tuple of str
        What is odd about it, as of :class:`~skiqa.persistence.Quality`.

    Raises
    ------
    TypeError
        If the model is not of that kind.
    """
    splitter = _Splitter(model, grid)  # raises now, not at the first photo
    images = splitter.encoder.open_images(X)
    return _split_each(splitter, images, splitter.encoder.n_jobs if n_jobs is None else n_jobs)


def _split_each(
    splitter: _Splitter, images: ImageList, n_jobs: int | None
) -> Generator[_Result, None, None]:
    viewed = splitter.extraction.max_pixels
    flags = Flags(images, viewed, card_of(splitter.regressor))
    indices = images.indices()
    decoded = iter_decoded(
        images, n_jobs=n_jobs, on_error="nan", indices=indices, max_pixels=viewed
    )
    with contextlib.closing(decoded):
        for index, image in decoded:
            try:
                if isinstance(image, ImageError):
                    raise image
                with images.naming_errors(index):
                    score, cells, row = splitter.split(image)
            except ImageError as error:
                yield index, None, None, error, flags.pop(index, error)
            else:
                yield index, score, cells, None, flags.pop(index, row)
            images.forget(index)


class _Splitter:
    """A model and the grid of its maps.

    Parameters
    ----------
    model : Pipeline
        As in :func:`quality_map`.
    grid : tuple of 2 int
        Rows and columns of a map.
    """

    def __init__(self, model: Pipeline, grid: tuple[int, int]) -> None:
        self.encoder, self.regressor = _encoder_and_regressor(model)
        self.grid = tuple(int(side) for side in grid)
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ValueError(f"grid={grid!r}: give the rows and columns of the map, 1 or more.")
        self.device = resolve_device(self.encoder.device, strict=False)
        self.dtype = transform_dtype(self.encoder.precision)
        self.extraction = self.encoder.extraction(self.device)

    def split(self, image: Pixels) -> tuple[float, _Map, Floats]:
        """Return the score of a photo (h, w, 3), its map, and its features."""
        encoder = self.encoder
        state, scales, pooling = encoder.state_, encoder.scales, encoder.pooling
        pooled, blocks = [], []
        with torch.inference_mode():
            scaled = [resize(image, scale) for scale in scales]
            for network in live_networks(state, self.device, self.dtype):
                for photo in scaled:
                    block, moments = self._features_and_moments(photo, network)
                    pooled.append(block)
                    blocks.append(moments)
        row = np.concatenate(pooled, dtype=np.float32)
        features = finisher(state, scales, pooling)(row)
        score = float(self.regressor.predict(features[None])[0])
        coef = np.ravel(self.regressor.coef_)
        weights = _weights_of_pooled_features(coef, row, state, scales, pooling)
        ends = np.cumsum([len(block) for block in pooled])
        contributions = map(_contributions, np.split(weights, ends[:-1]), blocks)
        beyond = map(_beyond_average, contributions, blocks)
        cells = sum(beyond, start=np.zeros(self.grid))
        # what no place can claim: the average, the intercept, and the constants of the features
        return score, cells + (score - cells.sum()) / cells.size, features

    def _features_and_moments(
        self, photo: Pixels, network: Stages
    ) -> tuple[Floats, list[_GridMoments]]:
        """Return the pooled features of one scale, and the moments of the maps on the grid."""
        pooling = self.encoder.pooling
        padded = pad_for_network(photo, network.stride, pooling)

        # x: part of a map that is `size` large, from `place` on
        def on_grid(x: torch.Tensor, place: Sequence[int], size: Sequence[int]) -> _GridMoments:
            lengths = zip(photo.shape[:2], padded.shape[:2], strict=True)
            sides = zip(place, x.shape[2:], size, lengths, self.grid, strict=True)
            rows, columns = (
                _fractions_of_photo(n_cells, *pixels, n)[:, start : start + length]
                for start, length, n_cells, pixels, n in sides
            )
            return _grid_moments(x[0], rows, columns)

        if needs_tiles(network, padded.shape[:2]):
            moments = tiled_moments(padded, network, self.device, self.dtype, on_grid)
            totals = [(_total(sums), _total(squares), _total(n)) for sums, squares, n in moments]
            pooled = pool_moments(totals, pooling).numpy()
            return pooled, moments[-1:] if pooling == "avg" else moments
        maps = iter(network.maps(to_input(padded[None], network, self.device, self.dtype)))
        if pooling == "avg":
            *_, last = maps
            maps = iter([last])
        features, moments = [], []
        for x in maps:  # one at a time: memory
            features.append(POOLINGS[pooling]([x])[0].cpu().numpy())
            moments.append(on_grid(x, (0, 0), x.shape[2:]))
        return np.concatenate(features), moments


def _total(parts: _Map) -> torch.Tensor:
    """Return the sum over the parts of a grid, whose axes come last."""
    return torch.as_tensor(parts.sum((-2, -1)))


def _encoder_and_regressor(model: Pipeline) -> tuple[ContrastiveQualityEncoder, BaseEstimator]:
    """Return (encoder, regressor) of a fitted pipeline of these two, the regressor linear."""
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    if len(steps) != 2 or not isinstance(steps[0], ContrastiveQualityEncoder):
        kinds = " -> ".join(type(step).__name__ for step in steps)
        raise TypeError(
            "Only the score of a Pipeline of two steps, a ContrastiveQualityEncoder and a linear "
            f"regressor such as Ridge, can be split over a photo; this model is {kinds}."
        )
    check_is_fitted(model)
    encoder, regressor = steps
    width = row_width(encoder.state_, encoder.scales, encoder.pooling)
    if not hasattr(regressor, "coef_") or not hasattr(regressor, "intercept_"):
        problem = "has no coef_ and intercept_"
    elif np.shape(regressor.coef_) not in ((width,), (1, width)):
        problem = f"has a coef_ of shape {np.shape(regressor.coef_)}, not one for each feature"
    elif not _predicts_linearly(regressor):
        problem = "predicts something else than X @ coef_ + intercept_"
    else:
        return encoder, regressor
    raise TypeError(
        "Only the score of a linear regressor, such as Ridge, can be split over a photo; "
        f"{type(regressor).__name__} {problem}."
    )


def _predicts_linearly(regressor: BaseEstimator) -> bool:
    """Whether it does, tried on two rows: a log link or a probability shows at once."""
    coef, intercept = np.ravel(regressor.coef_), np.ravel(regressor.intercept_)
    rows = np.zeros((2, coef.size), np.float32)
    rows[1] = np.sign(coef) / coef.size
    expected = rows.astype(np.float64) @ coef + intercept
    found = np.asarray(regressor.predict(rows))
    size = np.abs(expected).max()
    return found.shape == (2,) and bool(np.allclose(found, expected, rtol=0, atol=1e-4 * size))


def _weights_of_pooled_features(
    coef: Floats, row: Floats, state: EncoderState, scales: Sequence[float], pooling: str
) -> Floats:
    """Return the weights of the pooled features: those of the finished ones, `coef`, times slope.

    Parameters
    ----------
    coef : ndarray of shape (n_features,)
        What the regressor multiplies the finished features by.
    row : ndarray of shape (n_features,)
        The photo's pooled features: a norm that they are divided by is taken as given.
    state, scales, pooling
        Of the encoder.

    Returns
    -------
    ndarray of shape (n_features,), float64
    """
    parts = state.parts()
    ends = np.cumsum([part_width(part, scales, pooling) for part in parts])[:-1]
    slopes = []
    for part, own in zip(parts, np.split(row.astype(np.float64), ends), strict=True):
        if pooling == "stages":
            _, scale = stage_constants(part, scales)
            divisor = scale * np.sqrt(own.size * len(parts))
            slopes.append(np.broadcast_to(1 / divisor, own.shape))
        elif part.unit_norm:
            blocks = own.reshape(len(part.networks) * len(scales), -1)
            norms = np.maximum(np.linalg.norm(blocks, axis=1), 1e-12)
            slopes.append(np.repeat(1 / norms, blocks.shape[1]))
        else:
            slopes.append(np.ones_like(own))
    return coef * np.concatenate(slopes)


def _fractions_of_photo(n_cells: int, side: int, padded: int, n: int) -> _Map:
    """Return how the cells of a map, along one axis, are divided among n parts of the photo.

    Parameters
    ----------
    n_cells : int
        Cells of the map.
    side, padded : int
        Pixels of the photo, and of what the network saw.
    n : int
        Parts.

    Returns
    -------
    ndarray of shape (n, n_cells), float64
        Each column adds up to 1.
    """
    if side == padded:
        return _fractions_of_line(n_cells, n)
    # what the network saw beyond a border is the photo mirrored: it belongs to the pixels it shows
    shown = np.pad(np.arange(side), (0, padded - side), mode="reflect")
    own = np.zeros((side, n_cells))
    np.add.at(own, shown, _fractions_of_line(n_cells, padded))
    return _fractions_of_line(side, n) @ own


def _fractions_of_line(n_cells: int, n: int) -> _Map:
    """Return how much of each of n_cells equal parts of a line lies in each of n equal parts."""
    cells, parts = np.arange(n_cells + 1) * n, np.arange(n + 1) * n_cells
    shared = np.minimum(cells[1:], parts[1:, None]) - np.maximum(cells[:-1], parts[:-1, None])
    return np.maximum(shared, 0) / n


def _grid_moments(x: torch.Tensor, rows: _Map, columns: _Map) -> _GridMoments:
    """Sum a map and its square over the parts of a grid.

    Parameters
    ----------
    x : tensor of shape (c, h, w)
    rows, columns : ndarray of shape (n_rows, h) and (n_columns, w)
        What :func:`_fractions_of_photo` returns.

    Returns
    -------
    sums, squares : ndarray of shape (c, n_rows, n_columns), float64
    counts : ndarray of shape (n_rows, n_columns), float64
        Cells of the map in each part.
    """
    counts = np.outer(rows.sum(1), columns.sum(1))
    left, right = (torch.from_numpy(a).to(x.device) for a in (rows, columns.T.copy()))
    sums, squares = [], []
    for channel in x:  # one at a time: the first maps are large, in double precision twice so
        channel = channel.double()
        sums.append(left @ channel @ right)
        squares.append(left @ channel.square() @ right)
    return torch.stack(sums).cpu().numpy(), torch.stack(squares).cpu().numpy(), counts


def _contributions(weights: Floats, moments: Sequence[_GridMoments]) -> _Map:
    """Return what the parts of a grid give to a score, constants apart.

    Parameters
    ----------
    weights : ndarray of shape (n_features,)
        Of the pooled features of one network at one scale: of each stage its means, then (not for
        ``pooling="avg"``) its standard deviations.
    moments : list of (sums, squares, counts)
        Of each stage, as :func:`_grid_moments` returns them.

    Returns
    -------
    ndarray of shape (n_rows, n_columns), float64
    """
    total, first = np.zeros(moments[0][2].shape), 0
    widths = [len(sums) for sums, _, _ in moments]
    spreads = len(weights) == 2 * sum(widths)
    for width, (sums, squares, counts) in zip(widths, moments, strict=True):
        n = counts.sum()
        given = np.tensordot(weights[first : first + width], sums, 1) / n
        first += width
        if spreads:
            mean = sums.sum((1, 2)) / n
            deviation = np.sqrt(np.maximum(squares.sum((1, 2)) / n - mean**2, 0))
            slope = weights[first : first + width] / np.where(deviation > 0, deviation, np.inf)
            first += width
            # the squares of x - mean, summed over each part
            given = given + np.tensordot(slope, squares, 1) / n
            given = given - 2 * np.tensordot(slope * mean, sums, 1) / n
            given = given + (slope @ mean**2) * counts / n
        total = total + given
    return total


def _beyond_average(contributions: _Map, moments: Sequence[_GridMoments]) -> _Map:
    """Return what parts give beyond what all cells give on average: the sum is 0.

    A part at a border that was mirrored has more cells than others; that is no merit of it.
    """
    counts = moments[0][2]  # the same shares in all stages
    return contributions - contributions.sum() * counts / counts.sum()
