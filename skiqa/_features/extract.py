"""Images -> feature matrix: decode ahead, scale, run the network, pool."""

from collections import deque

import numpy as np
import torch
from torch.nn.functional import normalize

from skiqa._network.stages import live_networks, to_input
from skiqa._network.device import transform_dtype
from skiqa._inputs.images import iter_decoded, pad_to, resize
from skiqa._network.pooling import POOLINGS
from skiqa._network.tiles import needs_tiles, tiled_features
from skiqa.exceptions import ImageError

# Changes whenever a feature would: part of the key of every cached row.
EXTRACTION_VERSION = 1

# On a GPU, photos of one size are run together up to this many pixels. On a CPU every photo runs
# alone: bits then depend on no neighbour, and big batches only buy page faults.
GPU_PIXEL_BUDGET = 8_000_000
GPU_WINDOW = 64  # photos looked through for equal sizes


def pool(images, network, pooling, device, dtype):
    """Return the pooled features of uint8 images of one size: (n, h, w, 3) -> (n, d) float32."""
    if needs_tiles(network, images.shape[1:3]):
        return torch.stack(
            [tiled_features(image, network, pooling, device, dtype) for image in images]
        )
    return POOLINGS[pooling](network.maps(to_input(images, network, device, dtype)))


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


def finisher(state, scales, pooling):
    """Return what pooled features still need, as a function of a row: their weights say what."""
    parts = state.parts()
    if len(parts) == 1:
        return _finisher_of_part(state, scales, pooling)
    finishers = [_finisher_of_part(part, scales, pooling) for part in parts]
    ends = np.cumsum([part_width(part, scales, pooling) for part in parts])[:-1]
    # stage features of a row: about one in all, whatever stands beside whatever
    weight = np.float32(len(parts) ** -0.5 if pooling == "stages" else 1.0)

    def finish(row):
        pieces = np.split(row, ends)
        return weight * np.concatenate([f(x) for f, x in zip(finishers, pieces, strict=True)])

    return finish


def _finisher_of_part(state, scales, pooling):
    if pooling == "stages":
        return standardiser(state, scales)
    if not state.unit_norm:
        return lambda row: row
    blocks = len(state.networks) * len(scales)  # each of norm one
    return lambda row: normalize(torch.from_numpy(row).view(blocks, -1), dim=1).flatten().numpy()


def standardiser(state, scales):
    """Return the function that centres and scales a row of stage features.

    Parameters
    ----------
    state : EncoderState
        With constants at its reference scales, or without any (then only the division by the
        square root of the width is left).
    scales : tuple of float
        The scales of the row; each takes the constants of the nearest reference scale.

    Returns
    -------
    callable
        (n_features,) -> (n_features,), float32.
    """
    center, scale = stage_constants(state, scales)
    return lambda row: (row - center) / (scale * np.float32(np.sqrt(row.size)))


def stage_constants(state, scales):
    """Return (center, scale) of a row of stage features, float32: 0 and 1 where there are none."""
    if state.center is None:
        return np.float32(0), np.float32(1)
    reference = np.log(state.reference_scales)
    nearest = [int(np.abs(reference - np.log(s)).argmin()) for s in scales]
    return state.center[:, nearest].reshape(-1), state.scale[:, nearest].reshape(-1)


def standardising_constants(images, indices, state, *, device, n_jobs):
    """Return (center, scale) of the stage features of some images, for their state.

    Parameters
    ----------
    images : ImageList
    indices : sequence of int
        Which images.
    state : EncoderState
        Without constants.
    device : torch.device
    n_jobs : int or None

    Returns
    -------
    center, scale : ndarray of shape (n_experts, n_reference_scales, d), float32
        Mean and standard deviation; where all images agree, a deviation of 1.
    """
    options = {"scales": state.reference_scales, "pooling": "stages", "device": device,
               "precision": "float32", "n_jobs": n_jobs, "on_error": "nan"}  # fmt: skip
    rows = [row for _, row in extract(images, state=state, indices=indices, **options)]
    rows = np.stack([row for row in rows if isinstance(row, np.ndarray)]).astype(np.float64)
    rows *= np.sqrt(rows.shape[1])
    deviation = rows.std(axis=0)
    deviation[deviation < 1e-6 * np.abs(rows).max(axis=0)] = 1.0
    deviation[deviation == 0] = 1.0
    shape = (len(state.networks), len(state.reference_scales), -1)
    return (
        rows.mean(axis=0).astype(np.float32).reshape(shape),
        deviation.astype(np.float32).reshape(shape),
    )


def row_width(state, scales, pooling):
    """Return the number of features of an image: all networks, all scales."""
    return sum(part_width(part, scales, pooling) for part in state.parts())


def part_width(state, scales, pooling):
    """Return the number of features of an image, those of the content beside `state` apart."""
    return len(state.networks) * len(scales) * feature_width(state, pooling)


def feature_width(state, pooling):
    """Return the number of features of one network at one scale, content apart.

    Raises
    ------
    ValueError
        If the weights do not fit the network.
    """
    key = (state.digest, pooling)
    if key not in _WIDTHS:
        _WIDTHS[key] = _measured_width(state, pooling)
    return _WIDTHS[key]


_WIDTHS = {}  # two small numbers for each set of weights that a process has seen


def _measured_width(state, pooling):
    network = live_networks(state, torch.device("cpu"), torch.float32)[0]
    image = np.zeros((1, network.stride, network.stride, 3), np.uint8)
    with torch.inference_mode():
        return pool(image, network, pooling, torch.device("cpu"), torch.float32).shape[1]


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
            with images.named(index):
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
