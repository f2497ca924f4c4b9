"""Maps of photos in front of the trained stages, kept in files.

They stay as they are, and most of the work lies in them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import PIL
import torch

from skiqa._disk import writing_to
from skiqa._features.extract import EXTRACTION_VERSION, Extraction
from skiqa._fine_tuning.cut import cut
from skiqa._fine_tuning.sources import Indices, Source
from skiqa._fine_tuning.tokens import TokenGrid
from skiqa._inputs.images import ImageList
from skiqa._network.live import live_networks
from skiqa._network.pooling import last_average, stage_statistics
from skiqa._network.stages import Stages
from skiqa._network.state import EncoderState, hash_array
from skiqa._types import Arrays, Floats, Pixels
from skiqa._types import Path as AnyPath


class PhotoMaps(NamedTuple):
    """Of a photo, at each scale, what is known in front of the trained stages.

    Parameters
    ----------
    maps : list of ndarray (h, w, c), float16
        The last ones.
    prefixes : list of ndarray (t, c), float16
        What a transformer has beside them, such as its class token.
    pooled : list of ndarray (d,), float32
        The statistics of all maps.
    """

    maps: list[npt.NDArray[np.float16]]
    prefixes: list[npt.NDArray[np.float16]]
    pooled: list[npt.NDArray[np.float32]]


class KeptMaps(Source[PhotoMaps]):
    """Whole photos as their maps in front of the trained stages.

    A map is computed when it is first asked for, in float32, and lies in a file from then on, one
    for each photo, as float16: another epoch, or another fit, costs what the trained stages cost.

    Parameters
    ----------
    images, extraction, n_jobs
        As of any source. The network whose front stages stay as they are is that of the
        extraction's state.
    trained_last_stages : int
        How many stages are left out.
    folder : str or path
        Where the files lie.

    Raises
    ------
    ImageError
        If a photo cannot be read.
    ValueError
        If the network can be cut nowhere, or the folder cannot be written to.
    """

    def __init__(
        self,
        images: ImageList,
        extraction: Extraction,
        n_jobs: int | None,
        trained_last_stages: int,
        folder: AnyPath,
    ) -> None:
        super().__init__(images, extraction, n_jobs)
        state = extraction.state
        self._network = live_networks(state, self.device, torch.float32)[0]
        found = cut(self._network, trained_last_stages)
        if found is None:
            raise ValueError(
                f"{state.backbone} is no chain of stages that could be cut: its maps cannot be "
                "kept. Use maps_dir=None."
            )
        self._cut = found
        # all that decides a map but the photo: networks with the same front share their maps
        versions = (EXTRACTION_VERSION, PIL.__version__)
        sizes = (extraction.scales, extraction.max_pixels)
        front = (state.backbone, state.mean, state.std, self._front_digest())
        key = repr((front, sizes, found.n_front, versions))
        parent = Path(folder).expanduser()
        self._folder = parent / hashlib.sha256(key.encode()).hexdigest()[:24]
        digests = (images.digest(i).hex() for i in range(len(images)))
        self._files = [self._folder / f"{digest}.npz" for digest in digests]
        with writing_to(parent, "maps_dir"):
            if not all(file.exists() for file in self._files):
                self._folder.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=self._folder).close()

    def _front_digest(self) -> str:
        """Return a hash of the weights in front of the trained stages."""
        h = hashlib.sha256()
        for name, array in self._cut.front_arrays(self._network).items():
            hash_array(h, name, array)
        return h.hexdigest()

    def inputs(self, indices: Indices, seeds: Iterable[int]) -> Iterator[PhotoMaps]:
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
        images = self._decode(list(missing), run_whole=True)
        for index in indices:
            if index in missing:
                del missing[index]
                self._write(index, next(images))
            try:
                kept = self._read(index)
            except (OSError, EOFError, ValueError, KeyError, BadZipFile):  # damaged, or deleted
                self._write(index, next(self._decode([index], run_whole=True)))
                kept = self._read(index)
            yield kept

    @torch.no_grad()
    def rows(self, network: Stages, state: EncoderState, indices: Indices) -> Floats:
        """Return the features of whole photos, (n, d) float32; the network alone is looked at."""
        inputs = self.inputs(indices, [0] * len(indices))
        return np.concatenate([self.features(network, [x]).cpu().numpy() for x in inputs])

    def _shape(self, x: PhotoMaps) -> tuple[int, ...]:
        return x.maps[0].shape

    def whole(self) -> KeptMaps:
        return self

    def _run_together(
        self, network: Stages, inputs: Sequence[PhotoMaps], grid: TokenGrid | None
    ) -> tuple[torch.Tensor, ...]:
        extraction, n_front = self.extraction, self._cut.n_front
        blocks, seen = [], []
        for k in range(len(extraction.scales)):
            x = self._stacked(kept.maps[k] for kept in inputs).permute(0, 3, 1, 2)
            prefix = self._stacked(kept.prefixes[k] for kept in inputs)
            maps, class_token = self._cut.behind(network, x, prefix)
            if extraction.pooling == "stages":
                front = torch.from_numpy(np.stack([kept.pooled[k] for kept in inputs]))
                behind = [stage_statistics(maps)] if maps else []
                blocks.append(torch.cat([front.to(self.device), *behind], dim=1))
            else:
                blocks.append(last_average([x, *maps]))
            if n_front:  # the kept map is that of a stage, too
                maps = [x, *maps]
            seen.append((maps[-grid.n_stages :] if grid else [], class_token))
        return (self._finish(blocks), *([] if grid is None else grid.tokens(seen)))

    def _stacked(self, arrays: Iterable[npt.NDArray[np.float16]]) -> torch.Tensor:
        return torch.from_numpy(np.stack(list(arrays)).astype(np.float32)).to(self.device)

    def _read(self, index: int) -> PhotoMaps:
        """Return the maps of a photo, from its file."""
        scales = range(len(self.extraction.scales))
        with open(self._files[index], "rb") as file, np.load(file) as arrays:
            kinds = ("maps", "prefix", "pooled")
            return PhotoMaps(*([arrays[f"{kind}_{k}"] for k in scales] for kind in kinds))

    def _write(self, index: int, image: Pixels) -> None:
        """Compute the maps of a photo and write them to its file."""
        arrays = self._computed(index, image)
        self._folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.NamedTemporaryFile(dir=self._folder, delete=False)  # noqa: SIM115
        try:
            with file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
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

    @torch.inference_mode()
    def _computed(self, index: int, image: Pixels) -> Arrays:
        """Return the maps of a photo as the arrays of its file."""
        arrays: Arrays = {}
        for k, scale in enumerate(self.extraction.scales):
            x = self._network_input([image], scale, self._network)
            maps, last, prefix = self._cut.front(self._network, x)
            with np.errstate(over="ignore"):
                half = last[0].permute(1, 2, 0).cpu().numpy().astype(np.float16)
                beside = prefix[0].cpu().numpy().astype(np.float16)
            if not (np.isfinite(half).all() and np.isfinite(beside).all()):
                raise ValueError(
                    f"X[{index}] = {self.images.source(index)}: values of its maps do not fit into "
                    "float16, so they cannot be kept. Use maps_dir=None."
                )
            pooled = stage_statistics(maps)[0].cpu().numpy() if maps else np.empty(0, np.float32)
            arrays |= {f"maps_{k}": half, f"prefix_{k}": beside, f"pooled_{k}": pooled}
        return arrays
