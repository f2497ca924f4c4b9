"""One training run: what it is of, what decides its result, and the state that it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from skiqa._features.constants import standardising_constants
from skiqa._inputs.images import ImageList
from skiqa._network.state import EncoderState, current_versions
from skiqa._training.schedule import Plan
from skiqa._training.trainer import Trainer
from skiqa._types import Arrays
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
            mean=start.mean,
            std=start.std,
            unit_norm=start.unit_norm,
            max_pixels=start.max_pixels,
        )
        order = np.random.default_rng(self.seed).permutation(len(self.images))
        chosen = np.sort(order[:_STATISTICS_PHOTOS])

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
