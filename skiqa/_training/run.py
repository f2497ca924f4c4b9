"""One training run: what it is of, what trains it, and the state that it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from skiqa._features.constants import standardising_constants
from skiqa._inputs.images import ImageList
from skiqa._network.device import resolve_device, training_dtype
from skiqa._network.state import EncoderState, current_versions
from skiqa._training.checkpoints import NoFolder, TrainingFolder
from skiqa._training.distributed import rank
from skiqa._training.schedule import Plan
from skiqa._training.scratch import with_statistics_of_photos
from skiqa._training.trainer import Trainer
from skiqa._types import Arrays
from skiqa._types import Path as AnyPath
from skiqa.objectives import Objective

_STATISTICS_PHOTOS = 512  # enough for means and deviations of features; more is only slower


@dataclass(frozen=True, eq=False)
class Run:
    """What a training is of.

    Parameters
    ----------
    images : ImageList
    authentic : int64 ndarray of shape (n_images,)
        1 degraded by life, 0 pristine, -1 unknown.
    start : EncoderState
    kept : sequence of dict
        Networks whose features stand beside the trained one's.
    plan : Plan
    seed : int
    """

    images: ImageList
    authentic: npt.NDArray[np.int64]
    start: EncoderState
    kept: Sequence[Arrays]
    plan: Plan
    seed: int

    @property
    def n_steps(self) -> int:
        """Steps of all epochs."""
        return self.plan.epochs * self.plan.n_batches(len(self.images))

    def trainer(
        self, objective: Objective, device: str, precision: str, earlier: dict[str, Any] | None
    ) -> Trainer:
        """Return what trains the network; it goes on with what an `earlier` run has left."""
        where = resolve_device(device, strict=True)
        depthwise = any(a.ndim == 4 and a.shape[1] == 1 for a in self.start.networks[0].values())
        dtype = training_dtype(precision, where, depthwise=depthwise)
        trainer = Trainer(self.start, objective, self.plan, where, dtype, self.seed)
        if earlier is not None and earlier["objective"] == repr(objective):
            trainer.load_momentum_arrays(earlier)
        return trainer

    def folder(self, objective: Objective, checkpoint_dir: AnyPath | None) -> NoFolder:
        """Return where checkpoints go: of several processes, the first one's alone."""
        if checkpoint_dir is None or rank() != 0:
            return NoFolder()
        return TrainingFolder(checkpoint_dir, self.identity(objective))

    def left(self, trainer: Trainer) -> dict[str, Any]:
        """Return what another run can go on with, see `trainer`."""
        what = {"seed": self.seed, "objective": repr(trainer.objective)}
        return what | trainer.momentum_arrays()

    def identity(self, objective: Objective) -> dict[str, Any]:
        """Return everything that decides the result."""
        return {
            "versions": current_versions(),
            "start": [self.start.digest, self.start.max_pixels],
            "objective": [type(objective).__name__, objective.get_params()],
            "plan": vars(self.plan),
            "seed": self.seed,
            "images": self.images.digests(),
            "authentic": self.authentic.tolist(),
        }

    def trained_state(self, trainer: Trainer, n_jobs: int | None) -> EncoderState:
        """Return the state of the network in training, with constants of its own features."""
        start = self.start
        network, head = trainer.arrays()
        state = EncoderState(
            backbone=start.backbone,
            networks=(network, *self.kept),
            head=head,
            mean=trainer.network.mean,
            std=trainer.network.std,
            unit_norm=start.unit_norm,
            max_pixels=start.max_pixels,
        )
        order = np.random.default_rng(self.seed).permutation(len(self.images))
        chosen = np.sort(order[:_STATISTICS_PHOTOS])
        if self.plan.train_statistics:
            network = with_statistics_of_photos(
                state,
                self.images,
                order.tolist(),
                self.authentic,
                view_size=self.plan.view_size,
                device=trainer.device,
                seed=self.seed,
                n_jobs=n_jobs,
            )
            state = replace(state, networks=(network, *self.kept))

        def standardised(state: EncoderState) -> EncoderState:
            center, scale = standardising_constants(
                self.images, chosen, state, device=trainer.device, n_jobs=n_jobs
            )
            return replace(state, center=center, scale=scale)

        state = standardised(state)
        if (content := start.content) is not None:
            content = content if content.center is not None else standardised(content)
            state = replace(state, content=content)
        return state
