"""Images -> feature rows: decode ahead, scale, run the network, pool."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from skiqa._features.cache import FeatureCache
from skiqa._features.pool import pool
from skiqa._features.standardise import finisher
from skiqa._features.width import row_width
from skiqa._inputs.images import ImageList
from skiqa._inputs.prefetch import iter_decoded
from skiqa._inputs.resizing import pad_to, resize
from skiqa._network.device import transform_dtype
from skiqa._network.live import live_networks
from skiqa._network.stages import Stages
from skiqa._network.state import EncoderState
from skiqa._network.tiles import needs_tiles
from skiqa._types import Floats, Pixels
from skiqa.exceptions import ImageError

# Changes whenever a feature would: part of the key of every cached row.
EXTRACTION_VERSION = 1

# On a GPU, photos of one size are run together up to this many pixels. On a CPU every photo runs
# alone: bits then depend on no neighbour, and big batches only buy page faults.
GPU_PIXEL_BUDGET = 8_000_000
GPU_GROUP_SIZE = 64  # photos looked through for equal sizes

PUT_EVERY = 256  # rows that may be lost when a process is killed before they are in the cache

Decoded: TypeAlias = tuple[int, Pixels | ImageError]
Row: TypeAlias = Floats | ImageError


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
    device : torch.device
        Where the network runs.
    precision : {"auto", "float32", "bfloat16"}
        Arithmetic of the forward pass.
    """

    state: EncoderState
    scales: tuple[float, ...]
    pooling: str
    device: torch.device
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        """Arithmetic of the forward pass, as torch calls it."""
        return transform_dtype(self.precision)

    @property
    def n_features(self) -> int:
        """Width of a row."""
        return row_width(self.state, self.scales, self.pooling)


def extract(
    images: ImageList,
    extraction: Extraction,
    *,
    n_jobs: int | None,
    on_error: str,
    indices: Iterable[int] | None = None,
) -> Iterator[tuple[int, Row]]:
    """Yield the features of images, in order, as they are computed.

    Parameters
    ----------
    images : ImageList
        What `skiqa._inputs.containers.as_image_list` returns.
    extraction : Extraction
        How they become rows.
    n_jobs : int or None
        Decoding threads.
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
    networks = live_networks(extraction.state, extraction.device, extraction.dtype)
    on_cpu = extraction.device.type == "cpu"
    group_size, prefetch = (1, 4) if on_cpu else (GPU_GROUP_SIZE, 2 * GPU_GROUP_SIZE)
    decoded = iter_decoded(
        images, n_jobs=n_jobs, prefetch=prefetch, on_error=on_error, indices=indices
    )
    finish = finisher(extraction.state, extraction.scales, extraction.pooling)
    for group in _groups(decoded, group_size):
        rows = _pool_group(images, group, extraction, networks)
        for index, _ in group:
            row = rows[index]
            if isinstance(row, ImageError) and on_error == "raise":
                raise row
            yield index, row if isinstance(row, ImageError) else finish(row)


def extract_cached(
    images: ImageList,
    extraction: Extraction,
    cache: FeatureCache,
    *,
    n_jobs: int | None,
    on_error: str,
) -> Iterator[tuple[int, Row]]:
    """Yield as `extract` does, but open only the images whose features `cache` does not hold.

    Features computed before an error, or before the consumer stops, are kept.
    """
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


def _groups(decoded: Iterable[Decoded], size: int) -> Iterator[list[Decoded]]:
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
    images: ImageList, group: list[Decoded], extraction: Extraction, networks: list[Stages]
) -> dict[int, Row]:
    """Return {index: pooled features, or why there are none}; images of one size run together."""
    rows: dict[int, Row] = {}
    by_shape: dict[tuple[int, ...], list[tuple[int, Pixels]]] = {}
    for index, image in group:
        if isinstance(image, ImageError):
            rows[index] = image
        elif error := _error_beyond_memory(images, index, image, extraction, networks):
            rows[index] = error
        else:
            by_shape.setdefault(image.shape, []).append((index, image))
    for (height, width, _), members in by_shape.items():
        step = max(1, GPU_PIXEL_BUDGET // (height * width))
        for first in range(0, len(members), step):
            indices, batch = zip(*members[first : first + step], strict=True)
            rows.update(zip(indices, _pool_batch(batch, extraction, networks), strict=True))
    return rows


def _error_beyond_memory(
    images: ImageList, index: int, image: Pixels, extraction: Extraction, networks: list[Stages]
) -> ImageError | None:
    """Return the error that says that an image does not fit into memory, or None if it does."""
    height, width = (max(1, int(side * max(extraction.scales))) for side in image.shape[:2])
    try:
        with images.naming_errors(index):
            for network in networks:
                needs_tiles(network, (height, width))
    except ImageError as error:
        return error
    return None


def _pool_batch(batch: Sequence[Pixels], extraction: Extraction, networks: list[Stages]) -> Floats:
    """Return the pooled features of images of one size, (n, n_experts * n_scales * d)."""
    pooling, device, dtype = extraction.pooling, extraction.device, extraction.dtype
    blocks = []
    # inference_mode is per thread: eight threads may transform at once
    with torch.inference_mode():
        scaled = [[resize(image, scale) for image in batch] for scale in extraction.scales]
        for network in networks:
            for copies in scaled:
                padded = np.stack([pad_to(image, network.stride) for image in copies])
                blocks.append(pool(padded, network, pooling, device, dtype).cpu().numpy())
    return np.concatenate(blocks, axis=1, dtype=np.float32)
