"""What a network in training sees of photos, and its features with their slopes.

Either the photos themselves, decoded anew each time, or their maps in front of the trained stages
(`kept_maps`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar, cast

import numpy as np
import torch
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from skiqa._features.extract import Extraction, extract
from skiqa._features.standardise import stage_constants
from skiqa._fine_tuning.tokens import TokenGrid
from skiqa._inputs.images import ImageList
from skiqa._inputs.prefetch import iter_decoded
from skiqa._inputs.resizing import pad_for_network, resize
from skiqa._network.live import live_networks, to_input
from skiqa._network.pooling import POOLINGS
from skiqa._network.stages import Stages
from skiqa._network.state import EncoderState
from skiqa._network.tiles import refuse_beyond_memory
from skiqa._training.schedule import cut_window
from skiqa._types import Floats, Integers, Pixels

# Pixels of photos, or values of their largest maps, that a batch may have to run as one.
_BATCH_BUDGET = 4_000_000

Indices: TypeAlias = Integers | Sequence[int]  # which images
_Input = TypeVar("_Input")


class Source(ABC, Generic[_Input]):
    """Images as a network in training sees them.

    Parameters
    ----------
    images : ImageList
    extraction : Extraction
        How the encoder makes features of them. Its state, of one network, is how training starts;
        its precision is that of features without slopes, as training is in float32.
    n_jobs : int or None
        Threads that decode.
    """

    def __init__(self, images: ImageList, extraction: Extraction, n_jobs: int | None) -> None:
        self.images, self.extraction, self.n_jobs = images, extraction, n_jobs
        self.device = torch.device(extraction.device)

    @abstractmethod
    def inputs(self, indices: Indices, seeds: Iterable[int]) -> Iterator[_Input]:
        """Yield what is seen of some images; a seed for each decides what is left to chance."""

    @abstractmethod
    def rows(self, network: Stages, state: EncoderState, indices: Indices) -> Floats:
        """Return the features of whole photos, (n, d) float32, by a network and its state."""

    @abstractmethod
    def whole(self) -> Source[_Input]:
        """Return a source of the same images that are seen whole."""

    def features(self, network: Stages, inputs: Sequence[_Input]) -> torch.Tensor:
        """Return the features of inputs with their slopes: (n, d)."""
        return self._run(network, inputs, None)[0]

    def features_and_tokens(
        self, network: Stages, inputs: Sequence[_Input], grid: TokenGrid
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the features of inputs, and their tokens, [(n, t_k, c_k)], as `grid` lays them."""
        features, *tokens = self._run(network, inputs, grid)
        return features, tokens

    def _run(
        self, network: Stages, inputs: Sequence[_Input], grid: TokenGrid | None
    ) -> tuple[torch.Tensor, ...]:
        """Return features and tokens of inputs.

        Those of one size run together, others one by one. Large ones are run again for their
        slopes: a batch then takes the memory of one of them.
        """
        shapes = [self._shape(x) for x in inputs]
        run: Callable[..., tuple[torch.Tensor, ...]] = self._run_together
        if sum(map(math.prod, shapes)) > _BATCH_BUDGET:
            run = partial(checkpoint, run, use_reentrant=False, preserve_rng_state=False)
        elif len(set(shapes)) == 1:
            return run(network, inputs, grid)
        parts = [run(network, [x], grid) for x in inputs]
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def _network_input(
        self, images: Sequence[Pixels], scale: float, network: Stages
    ) -> torch.Tensor:
        """Return uint8 images of one size, at a scale, as the network's input."""
        how = (network.stride, self.extraction.pooling)
        copies = [pad_for_network(resize(image, scale), *how) for image in images]
        return to_input(np.stack(copies), network, self.device, torch.float32)

    def _finish(self, blocks: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the features (n, d) of what was pooled at each scale, [(n, d_s)]."""
        state, scales = self.extraction.state, self.extraction.scales
        if self.extraction.pooling == "avg":
            blocks = [normalize(b, dim=1) for b in blocks] if state.unit_norm else blocks
            return torch.cat(list(blocks), dim=1)
        rows = torch.cat(list(blocks), dim=1)
        constants = stage_constants(state, scales)
        center, scale = (torch.as_tensor(x, device=rows.device) for x in constants)
        return (rows - center) / (scale * math.sqrt(rows.shape[1]))

    @abstractmethod
    def _shape(self, x: _Input) -> tuple[int, ...]:
        """Return the size of the largest array that the network is run on."""

    @abstractmethod
    def _run_together(
        self, network: Stages, inputs: Sequence[_Input], grid: TokenGrid | None
    ) -> tuple[torch.Tensor, ...]:
        """Return features and tokens of inputs of one size, run as one batch."""

    def _decode(self, indices: Indices, *, run_whole: bool) -> Iterator[Pixels]:
        """Yield decoded images; if they are to run whole, ImageError where memory has no room."""
        state, device = self.extraction.state, self.device
        viewed, n_jobs = self.extraction.max_pixels, self.n_jobs
        decoded = iter_decoded(self.images, n_jobs=n_jobs, indices=indices, max_pixels=viewed)
        for index, image in decoded:
            pixels = cast("Pixels", image)  # no error is yielded
            if run_whole and device.type == "cpu":
                network = live_networks(state, device, torch.float32)[0]
                with self.images.naming_errors(index):
                    remedy = "Train on windows: window_size."
                    refuse_beyond_memory(network, pixels.shape[:2], remedy)
            yield pixels


class Photos(Source[Pixels]):
    """Photos themselves: whole, or a random window that is mirrored at even odds.

    Parameters
    ----------
    images, extraction, n_jobs
        As of any source.
    window_size : int or None
        Side of a window in pixels; None: whole.
    """

    def __init__(
        self, images: ImageList, extraction: Extraction, n_jobs: int | None, window_size: int | None
    ) -> None:
        super().__init__(images, extraction, n_jobs)
        self.window_size = window_size

    def inputs(self, indices: Indices, seeds: Iterable[int]) -> Iterator[Pixels]:
        """Yield uint8 arrays (h, w, 3); a seed decides place and side of a window."""
        images = self._decode(indices, run_whole=self.window_size is None)
        for image, seed in zip(images, seeds, strict=True):
            if self.window_size is None:
                yield image
                continue
            window = cut_window(image, self.window_size, seed)
            yield window[:, ::-1] if int(seed) & 1 else window

    def rows(self, network: Stages, state: EncoderState, indices: Indices) -> Floats:
        """Return the features of whole photos, (n, d) float32; the state alone is looked at."""
        extraction = replace(self.extraction, state=state)
        how: dict[str, Any] = {"n_jobs": self.n_jobs, "on_error": "raise", "indices": indices}
        rows = [cast("Floats", row) for _, row in extract(self.images, extraction, **how)]
        return np.stack(rows)

    def _shape(self, x: Pixels) -> tuple[int, ...]:
        return x.shape

    def whole(self) -> Photos:
        return Photos(self.images, self.extraction, self.n_jobs, None)

    def _run_together(
        self, network: Stages, inputs: Sequence[Pixels], grid: TokenGrid | None
    ) -> tuple[torch.Tensor, ...]:
        pool = POOLINGS[self.extraction.pooling]
        blocks, seen = [], []
        for scale in self.extraction.scales:
            x = self._network_input(inputs, scale, network)
            if grid is None:
                blocks.append(pool(network.maps(x)))
                continue
            maps, class_token = network.maps_and_class_token(x)
            blocks.append(pool(maps))
            seen.append((maps[-grid.n_stages :], class_token))
        return (self._finish(blocks), *([] if grid is None else grid.tokens(seen)))
