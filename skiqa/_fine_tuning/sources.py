"""What a network in training sees of photos, and its features with their slopes.

Either the photos themselves, decoded anew each time, or their maps in front of the trained stages,
kept in files: these stay as they are, and most of the work lies in them.
"""

import errno
import hashlib
import math
import os
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import PIL
import torch
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from skiqa._features.extract import EXTRACTION_VERSION, extract
from skiqa._features.standardise import stage_constants
from skiqa._inputs.prefetch import iter_decoded
from skiqa._inputs.resizing import pad_to, resize
from skiqa._network.live import live_networks, to_input
from skiqa._network.pooling import POOLINGS, stage_statistics
from skiqa._network.state import EncoderState
from skiqa._network.tiles import refuse_beyond_memory
from skiqa._training.schedule import cut_window

# Pixels of photos, or values of their largest maps, that a batch may have to run as one.
_BUDGET = 4_000_000


@dataclass(frozen=True)
class Recipe:
    """How photos become features, as an encoder makes them.

    Parameters
    ----------
    state : EncoderState
        Of one network; how training starts.
    scales : tuple of float
    pooling : {"stages", "avg"}
    device : torch.device
    precision : {"auto", "float32", "bfloat16"}
        Of features without slopes; training is in float32.
    """

    state: EncoderState
    scales: tuple
    pooling: str
    device: torch.device
    precision: str

    def finish(self, blocks):
        """Return the features (n, d) of what was pooled at each scale, [(n, d_s)]."""
        if self.pooling == "avg":
            unit = self.state.unit_norm
            return torch.cat([normalize(b, dim=1) if unit else b for b in blocks], dim=1)
        rows = torch.cat(blocks, dim=1)
        constants = stage_constants(self.state, self.scales)
        center, scale = (torch.as_tensor(x, device=self.device) for x in constants)
        return (rows - center) / (scale * math.sqrt(rows.shape[1]))

    def input(self, images, scale, network):
        """Return uint8 images of one size, at a scale, as the network's input."""
        copies = np.stack([pad_to(resize(image, scale), network.stride) for image in images])
        return to_input(copies, network, self.device, torch.float32)


class _Source:
    """Images as a network in training sees them.

    Parameters
    ----------
    images : ImageList
    recipe : Recipe
    n_jobs : int or None
        Threads that decode.
    """

    def __init__(self, images, recipe, n_jobs):
        self.images, self.recipe, self.n_jobs = images, recipe, n_jobs

    def features(self, network, views):
        """Return the features of views with their slopes: (n, d).

        Views of one size run together, others one by one. Large ones are run again for their
        slopes: a batch then takes the memory of one of them.
        """
        if sum(map(self._size, views)) > _BUDGET:
            again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
            return torch.cat([again(self._together, network, [view]) for view in views])
        if len({self._shape(view) for view in views}) > 1:
            return torch.cat([self._together(network, [view]) for view in views])
        return self._together(network, views)

    def _size(self, view):
        return math.prod(self._shape(view))

    def _decoded(self, indices, whole):
        """Yield decoded images; if they are to run whole, ImageError where memory has no room."""
        recipe = self.recipe
        for index, image in iter_decoded(self.images, n_jobs=self.n_jobs, indices=indices):
            if whole and recipe.device.type == "cpu":
                network = live_networks(recipe.state, recipe.device, torch.float32)[0]
                with self.images.naming_errors(index):
                    remedy = "Train on windows: window_size."
                    refuse_beyond_memory(network, image.shape[:2], remedy)
            yield image


class Photos(_Source):
    """Photos themselves: whole, or a random window that is mirrored at even odds.

    Parameters
    ----------
    images, recipe, n_jobs
        As of any source.
    window_size : int or None
        Side of a window in pixels; None: whole.
    """

    def __init__(self, images, recipe, n_jobs, window_size):
        super().__init__(images, recipe, n_jobs)
        self.window_size = window_size

    def views(self, indices, seeds):
        """Yield uint8 arrays (h, w, 3), one for each index; a seed decides what is seen of it."""
        images = self._decoded(indices, whole=self.window_size is None)
        for image, seed in zip(images, seeds, strict=True):
            if self.window_size is not None:
                image = cut_window(image, self.window_size, seed)
                image = image[:, ::-1] if int(seed) & 1 else image
            yield image

    def _shape(self, view):
        return view.shape

    def _together(self, network, views):
        recipe, blocks = self.recipe, []
        for scale in recipe.scales:
            maps = network.maps(recipe.input(views, scale, network))
            blocks.append(POOLINGS[recipe.pooling](maps))
        return recipe.finish(blocks)

    def rows(self, network, state, indices):
        """Return the features of whole photos, (n, d) float32, by a network and its state."""
        recipe = self.recipe
        rows = extract(
            self.images, state=state, scales=recipe.scales, pooling=recipe.pooling,
            device=recipe.device, precision=recipe.precision, n_jobs=self.n_jobs,
            on_error="raise", indices=indices,
        )  # fmt: skip
        return np.stack([row for _, row in rows])


class _Kept(NamedTuple):
    """A photo's maps at each scale, (h, w, c) float16, and what is pooled in front of them."""

    maps: list
    pooled: list


class KeptMaps(_Source):
    """Whole photos as their maps in front of the trained stages.

    A map is computed when it is first asked for, in float32, and lies in a file from then on, one
    for each photo, as float16: another epoch, or another fit, costs what the trained stages cost.

    Parameters
    ----------
    images, recipe, n_jobs
        As of any source. The recipe's state holds the network whose front stages stay as they are.
    trained_last_stages : int
        How many stages are left out.
    folder : str or path
        Where the files lie.

    Raises
    ------
    ImageError
        If a photo cannot be read.
    ValueError
        If the network is no chain of stages.
    """

    def __init__(self, images, recipe, n_jobs, trained_last_stages, folder):
        super().__init__(images, recipe, n_jobs)
        self._network = live_networks(recipe.state, recipe.device, torch.float32)[0]
        _, stages = self._network.split()
        if stages is None:
            raise ValueError(
                f"{recipe.state.backbone} is no chain of stages that could be cut: its maps cannot "
                "be kept. Use maps_dir=None."
            )
        self._n_front = len(stages) - trained_last_stages
        parts = (recipe.state.digest, recipe.scales, self._n_front, EXTRACTION_VERSION,
                 PIL.__version__)  # fmt: skip
        self._folder = Path(folder) / hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
        names = [f"{images.digest(i).hex()}.npz" for i in range(len(images))]
        self._files = [self._folder / name for name in names]

    def views(self, indices, seeds):
        """Yield what is kept of each photo; seeds have nothing to decide.

        Raises
        ------
        ImageError
            If a photo cannot be read.
        ValueError
            If values of its maps do not fit into float16.
        OSError
            If the folder has no room.
        """
        missing = dict.fromkeys(i for i in indices if not self._files[i].exists())
        images = self._decoded(list(missing), whole=True)
        for index in indices:
            if index in missing:
                del missing[index]
                self._keep(index, next(images))
            try:
                kept = self._read(index)
            except (OSError, EOFError, ValueError, KeyError, BadZipFile):  # damaged, or deleted
                self._keep(index, next(self._decoded([index], whole=True)))
                kept = self._read(index)
            yield kept

    def _read(self, index):
        with open(self._files[index], "rb") as file, np.load(file) as kept:
            scales = range(len(self.recipe.scales))
            return _Kept(*([kept[f"{what}_{k}"] for k in scales] for what in _Kept._fields))

    @torch.inference_mode()
    def _keep(self, index, image):
        """Write the maps of a photo."""
        stem, stages = self._network.split()
        arrays = {}
        for k, scale in enumerate(self.recipe.scales):
            x = self.recipe.input([image], scale, self._network)
            for layer in stem:
                x = layer(x)
            maps = list(_run(stages[: self._n_front], x))
            x = maps[-1] if maps else x
            with np.errstate(over="ignore"):
                half = x[0].permute(1, 2, 0).cpu().numpy().astype(np.float16)
            if not np.isfinite(half).all():
                raise ValueError(
                    f"X[{index}] = {self.images.source(index)}: values of its maps do not fit into "
                    "float16, so they cannot be kept. Use maps_dir=None."
                )
            pooled = stage_statistics(maps)[0].cpu().numpy() if maps else np.empty(0, np.float32)
            arrays |= {f"maps_{k}": half, f"pooled_{k}": pooled}
        self._folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.NamedTemporaryFile(dir=self._folder, delete=False)  # noqa: SIM115
        try:
            with file:
                np.savez(file, **arrays)
            os.replace(file.name, self._files[index])  # whole or not there, whoever else writes
        except OSError as error:
            Path(file.name).unlink(missing_ok=True)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            total = sum(a.nbytes for a in arrays.values()) * len(self.images)
            raise OSError(
                f"{self._folder.parent} has no room for the maps of X[{index}] ({error}). Those of "
                f"all {len(self.images)} images take about {total / 1e9:.1f} GB. Name another "
                "maps_dir, or None."
            ) from error

    def _shape(self, view):
        return view.maps[0].shape

    def _together(self, network, views):
        recipe, blocks = self.recipe, []
        _, stages = network.split()
        for k in range(len(recipe.scales)):
            x = torch.from_numpy(np.stack([view.maps[k] for view in views]).astype(np.float32))
            x = x.to(recipe.device).permute(0, 3, 1, 2)
            block = POOLINGS[recipe.pooling](_run(stages[self._n_front :], x))
            if recipe.pooling == "stages":
                front = torch.from_numpy(np.stack([view.pooled[k] for view in views]))
                block = torch.cat([front.to(recipe.device), block], dim=1)
            blocks.append(block)
        return recipe.finish(blocks)

    @torch.no_grad()
    def rows(self, network, state, indices):
        """Return the features of whole photos, (n, d) float32, by a network and its state."""
        views = self.views(indices, [0] * len(indices))
        return np.concatenate([self.features(network, [view]).cpu().numpy() for view in views])


def _run(stages, x):
    """Yield the map of each stage."""
    for stage in stages:
        for layer in stage:
            x = layer(x)
        yield x
