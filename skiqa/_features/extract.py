"""Images -> feature rows: decode ahead, scale, run the network, pool."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import PIL
from joblib import effective_n_jobs

from skiqa._features.cache import FeatureCache
from skiqa._features.runners import EngineRunner, Runner, make_runners
from skiqa._features.standardise import finisher
from skiqa._features.width import row_width
from skiqa._inputs.images import ImageList
from skiqa._inputs.prefetch import iter_ahead, iter_decoded
from skiqa._inputs.resizing import pad_for_network, resize, scaled_size
from skiqa._inputs.streams import ImageStream
from skiqa._network.state import EncoderState
from skiqa._types import Floats, Pixels
from skiqa.exceptions import ImageError

# Changes whenever a feature would: part of the key of every cached row.
EXTRACTION_VERSION = 3

# On a GPU, photos of one size are run together up to this many pixels. On a CPU every photo runs
# alone: bits then depend on no neighbour, and big batches only buy page faults. Several photos at a
# time are in the hands of several engines there, PyTorch spreads one photo over the cores.
GPU_PIXEL_BUDGET = 8_000_000
GPU_GROUP_SIZE = 64  # photos looked through for equal sizes

PUT_EVERY = 256  # rows that may be lost when a process is killed before they are in the cache

Decoded: TypeAlias = tuple[int, Pixels | ImageError]
Row: TypeAlias = Floats | ImageError


class _Large(NamedTuple):
    """A photo that runs in tiles."""

    image: Pixels

    @property
    def nbytes(self) -> int:
        """What it holds in memory."""
        return self.image.nbytes


@dataclass(frozen=True)
class Extraction:
    """How images become feature rows.

    Parameters
    ----------
    state : EncoderState
        The weights.
    scales : tuple of float
        Each image is run whole at each of them.
    pooling : {"stages", "avg"}
        How maps become a vector.
    device : str
        Where the network runs.
    precision : {"auto", "float32", "bfloat16"}
        Arithmetic of the forward pass.
    max_pixels : int or None, default=None
        Viewing size: a photo with more pixels is first brought to that many. None: never.
    """

    state: EncoderState
    scales: tuple[float, ...]
    pooling: str
    device: str
    precision: str
    max_pixels: int | None = None

    @property
    def n_features(self) -> int:
        """Width of a row."""
        return row_width(self.state, self.scales, self.pooling)

    def digest(self, image_shape: Sequence[int] | None, allow_damaged: bool) -> str:
        """Return the digest of everything, but the image, that changes a feature.

        Parameters
        ----------
        image_shape : sequence of int or None
            How rows of numbers are read as pixels.
        allow_damaged : bool
            Whether damaged files are read: where they are not, no row of one may be found.
        """
        parts = (
            self.state.digest,
            self.state.graphs_digest(self.pooling),
            tuple(map(float, self.scales)),
            self.pooling,
            self.precision,
            image_shape,
            self.max_pixels,
            allow_damaged,
            EXTRACTION_VERSION,
            PIL.__version__,  # decodes and resizes: part of what an image file means
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def extract(
    images: ImageList,
    extraction: Extraction,
    *,
    n_jobs: int | None,
    on_error: str,
    indices: Iterable[int] | None = None,
) -> Generator[tuple[int, Row]]:
    """Yield the features of images, in order, as they are computed.

    Parameters
    ----------
    images : ImageList
        What `skiqa._inputs.containers.as_image_list` returns.
    extraction : Extraction
        How they become rows.
    n_jobs : int or None
        Photos that are in work at a time, as joblib counts them. Where PyTorch runs the network,
        only threads that decode.
    on_error : {"raise", "nan"}
        What an unreadable image does.
    indices : iterable of int or None
        Which images; None = all.

    Yields
    ------
    index : int
        Position in `images`.
    row : ndarray of shape (row_width,), float32, or ImageError
        Blocks run expert by expert, within each scale by scale. The error, if the image cannot be
        read and `on_error` is "nan".
    """
    how = (extraction.pooling, extraction.device, extraction.precision)
    runners = make_runners(extraction.state, *how)
    indices = images.indices() if indices is None else indices
    finish = finisher(extraction.state, extraction.scales, extraction.pooling)
    n_threads = effective_n_jobs(n_jobs)
    pooled: Generator[tuple[int, Row]]
    if n_threads > 1 and all(isinstance(run, EngineRunner) for run in runners):
        pooled = _pool_in_threads(images, indices, extraction, runners, n_threads, on_error)
    else:
        pooled = _pool_in_groups(images, indices, extraction, runners, n_jobs, on_error)
    with closing(pooled):
        for index, row in pooled:
            if isinstance(row, ImageError) and on_error == "raise":
                raise row
            yield index, row if isinstance(row, ImageError) else finish(row)
            images.forget(index)


def _pool_in_groups(
    images: ImageList,
    indices: Iterable[int],
    extraction: Extraction,
    runners: list[Runner],
    n_jobs: int | None,
    on_error: str,
) -> Generator[tuple[int, Row]]:
    """Yield pooled features; photos are decoded ahead, and run one group after the other."""
    on_cpu = extraction.device == "cpu"
    group_size, prefetch = (1, 4) if on_cpu else (GPU_GROUP_SIZE, 2 * GPU_GROUP_SIZE)
    decoded = iter_decoded(
        images,
        n_jobs=n_jobs,
        prefetch=prefetch,
        on_error=on_error,
        indices=indices,
        max_pixels=extraction.max_pixels,
    )
    with closing(decoded):
        for group in _groups(decoded, group_size):
            rows = _pool_group(images, group, extraction, runners)
            for index, _ in group:
                yield index, rows[index]


def _pool_in_threads(
    images: ImageList,
    indices: Iterable[int],
    extraction: Extraction,
    runners: list[Runner],
    n_threads: int,
    on_error: str,
) -> Generator[tuple[int, Row]]:
    """Yield pooled features; each thread decodes a photo and runs the engines on it."""

    def work(index: int) -> Floats | _Large:
        image = images.load(index, extraction.max_pixels)
        if _in_tiles(images, index, image, extraction, runners):
            return _Large(image)
        return _pool_batch([image], extraction, runners)[0]

    ahead = iter_ahead(
        work,
        indices,
        n_threads=n_threads,
        n_ahead=2 * n_threads,
        on_error=on_error,
        footprint=lambda index: images.footprint(index, extraction.max_pixels),
    )
    with closing(ahead):
        for index, row in ahead:
            if isinstance(row, _Large):  # one at a time: PyTorch takes all cores for it
                row = _pool_batch([row.image], extraction, runners)[0]
            yield index, row


def extract_cached(
    images: ImageList,
    extraction: Extraction,
    cache: FeatureCache,
    *,
    n_jobs: int | None,
    on_error: str,
) -> Generator[tuple[int, Row]]:
    """Yield as `extract` does, but open only the images whose features `cache` does not hold.

    Features computed before an error, or before the consumer stops, are kept. A stream, which can
    be read only once, passes the cache by.
    """
    if isinstance(images, ImageStream):
        yield from extract(images, extraction, n_jobs=n_jobs, on_error=on_error)
        return
    keys = images.digests()
    known = {index: key for index, key in enumerate(keys) if key is not None}
    cached, found = cache.get(list(known.values()))
    rows = {index: row for index, row, there in zip(known, cached, found, strict=True) if there}
    missing = [index for index in range(len(images)) if index not in rows]
    computed = extract(images, extraction, n_jobs=n_jobs, on_error=on_error, indices=missing)
    fresh: dict[int, Floats] = {}

    def put_fresh() -> None:
        if fresh:
            cache.put([known[index] for index in fresh], np.stack(list(fresh.values())))
            fresh.clear()

    try:
        for index in range(len(images)):
            if index in rows:
                yield index, rows[index]
                continue
            _, row = next(computed)
            if index in known and not isinstance(row, ImageError):
                fresh[index] = row
            if len(fresh) >= PUT_EVERY:
                put_fresh()
            yield index, row
    finally:
        put_fresh()


def _groups(decoded: Iterable[Decoded], size: int) -> Generator[list[Decoded]]:
    """Yield decoded images `size` at a time; the last group may be smaller."""
    group = []
    for item in decoded:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _pool_group(
    images: ImageList, group: list[Decoded], extraction: Extraction, runners: list[Runner]
) -> dict[int, Row]:
    """Return {index: pooled features, or why there are none}; images of one size run together."""
    rows: dict[int, Row] = {}
    by_shape: dict[tuple[int, ...], list[tuple[int, Pixels]]] = {}
    for index, image in group:
        if isinstance(image, ImageError):
            rows[index] = image
        elif error := _error_beyond_memory(images, index, image, extraction, runners):
            rows[index] = error
        else:
            by_shape.setdefault(image.shape, []).append((index, image))
    for (height, width, _), members in by_shape.items():
        step = max(1, GPU_PIXEL_BUDGET // (height * width))
        for first in range(0, len(members), step):
            indices, batch = zip(*members[first : first + step], strict=True)
            rows.update(zip(indices, _pool_batch(batch, extraction, runners), strict=True))
    return rows


def _error_beyond_memory(
    images: ImageList, index: int, image: Pixels, extraction: Extraction, runners: list[Runner]
) -> ImageError | None:
    """Return the error that says that an image does not fit into memory, or None if it does."""
    try:
        _in_tiles(images, index, image, extraction, runners)
    except ImageError as error:
        return error
    return None


def _in_tiles(
    images: ImageList, index: int, image: Pixels, extraction: Extraction, runners: list[Runner]
) -> bool:
    """Whether any network runs an image in tiles; ImageError if it must but cannot."""
    height, width = image.shape[:2]
    height, width = scaled_size(height, width, max(extraction.scales))
    found = False
    with images.naming_errors(index):
        for runner in runners:
            found |= runner.in_tiles((height, width))
    return found


def _pool_batch(batch: Sequence[Pixels], extraction: Extraction, runners: list[Runner]) -> Floats:
    """Return the pooled features of images of one size, (n, n_experts * n_scales * d)."""
    scaled = [[resize(image, scale) for image in batch] for scale in extraction.scales]
    blocks = []
    for run in runners:
        for copies in scaled:
            how = (run.stride, extraction.pooling)
            blocks.append(run(np.stack([pad_for_network(image, *how) for image in copies])))
    return np.concatenate(blocks, axis=1, dtype=np.float32)
