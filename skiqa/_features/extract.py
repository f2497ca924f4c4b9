"""Images -> feature rows: decode ahead, scale, run the network, pool."""

from collections import deque

import numpy as np
import torch

from skiqa._features.standardise import finisher
from skiqa._features.width import pool
from skiqa._inputs.prefetch import iter_decoded
from skiqa._inputs.resizing import pad_to, resize
from skiqa._network.device import transform_dtype
from skiqa._network.live import live_networks
from skiqa._network.tiles import needs_tiles
from skiqa.exceptions import ImageError

# Changes whenever a feature would: part of the key of every cached row.
EXTRACTION_VERSION = 1

# On a GPU, photos of one size are run together up to this many pixels. On a CPU every photo runs
# alone: bits then depend on no neighbour, and big batches only buy page faults.
GPU_PIXEL_BUDGET = 8_000_000
GPU_WINDOW = 64  # photos looked through for equal sizes


def extract(
    images, *, state, scales, pooling, device, precision, n_jobs, on_error, indices=None
):  # fmt: skip
    """Yield the features of images, in order, as they are computed.

    Parameters
    ----------
    images : ImageList
        What `skiqa._inputs.images.as_image_list` returns.
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
    n_jobs : int or None
        Decoding threads.
    on_error : {"raise", "nan"}
        What an unreadable image does.
    indices : sequence of int or None
        Which images; None = all.

    Yields
    ------
    index : int
        Position in `images`.
    row : ndarray of shape (row_width,), float32, or ImageError
        Blocks run expert by expert, within each scale by scale. The error, if the image cannot be
        read and `on_error` is "nan".
    """
    dtype = transform_dtype(precision)
    networks = live_networks(state, device, dtype)
    alone = device.type == "cpu"
    prefetch = 4 if alone else 2 * GPU_WINDOW
    decoded = iter_decoded(
        images, n_jobs=n_jobs, prefetch=prefetch, on_error=on_error, indices=indices
    )
    finish = finisher(state, scales, pooling)
    for batch in _windows(decoded, 1 if alone else GPU_WINDOW):
        batch = [
            (index, _fitting(images, index, image, networks, scales)) for index, image in batch
        ]
        rows = _rows(batch, networks, scales, pooling, device, dtype, alone)
        for index, _ in batch:
            row = rows[index]
            if isinstance(row, ImageError) and on_error == "raise":
                raise row
            yield index, finish(row) if isinstance(row, np.ndarray) else row


def extract_cached(images, cache, *, on_error, **options):
    """Yield as `extract` does, but open only the images whose features `cache` does not hold.

    Features computed before an error, or before the consumer stops, are kept.
    """
    keys = [image_digest(images, i) for i in range(len(images))]
    known = [i for i, key in enumerate(keys) if key is not None]
    found, hit = cache.get([keys[i] for i in known])
    rows = {i: found[j] for j, i in enumerate(known) if hit[j]}
    missing = [i for i in range(len(images)) if i not in rows]
    computed = extract(images, on_error=on_error, indices=missing, **options)
    fresh = {}

    def keep():
        if fresh:
            cache.put([keys[i] for i in fresh], np.stack(list(fresh.values())))
            fresh.clear()

    try:
        for i in range(len(images)):
            if i in rows:
                yield i, rows[i]
                continue
            _, row = next(computed)
            if isinstance(row, np.ndarray) and keys[i] is not None:
                fresh[i] = row
            if len(fresh) >= 256:
                keep()
            yield i, row
    finally:
        keep()


def image_digest(images, index):
    """Return the digest of an image, or None if it cannot even be read: `extract` will say why."""
    try:
        return images.digest(index)
    except ImageError:
        return None


def _windows(items, size):
    window = deque()
    for item in items:
        window.append(item)
        if len(window) == size:
            yield list(window)
            window.clear()
    if window:
        yield list(window)


def _fitting(images, index, image, networks, scales):
    """Return an image, or the ImageError that says that it does not fit into memory."""
    if isinstance(image, np.ndarray):
        height, width = (max(1, int(side * max(scales))) for side in image.shape[:2])
        try:
            with images.naming_errors(index):
                for network in networks:
                    needs_tiles(network, (height, width))
        except ImageError as error:
            return error
    return image


def _rows(batch, networks, scales, pooling, device, dtype, alone):
    """Return {index: row or error} for a window of decoded images."""
    rows = {index: image for index, image in batch if not isinstance(image, np.ndarray)}
    by_size = {}
    for index, image in batch:
        if isinstance(image, np.ndarray):
            by_size.setdefault(image.shape, []).append((index, image))
    for (height, width, _), members in by_size.items():
        step = 1 if alone else max(1, GPU_PIXEL_BUDGET // (height * width))
        for first in range(0, len(members), step):
            chunk = members[first : first + step]
            features = _run([image for _, image in chunk], networks, scales, pooling, device, dtype)
            rows.update(zip((index for index, _ in chunk), features, strict=True))
    return rows


def _run(images, networks, scales, pooling, device, dtype):
    """Return the features of images of one size, (n, n_experts * n_scales * d)."""
    blocks = []
    # inference_mode is per thread: eight threads may transform at once
    with torch.inference_mode():
        scaled = [[resize(image, scale) for image in images] for scale in scales]
        for network in networks:
            for copies in scaled:
                padded = np.stack([pad_to(image, network.stride) for image in copies])
                blocks.append(pool(padded, network, pooling, device, dtype).cpu().numpy())
    return np.concatenate(blocks, axis=1, dtype=np.float32)
