"""What a training of a panel starts from, and the fitted attributes that it gives."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from skiqa._encoder import ContrastiveQualityEncoder
from skiqa._fine_tuning.callbacks import StartingPipeline
from skiqa._fine_tuning.data import Ratings, ridge_of_largest
from skiqa._fine_tuning.fitted_panel import FittedPanel
from skiqa._fine_tuning.loop import FineTuningRun
from skiqa._fine_tuning.panel_tuner import PanelTuner
from skiqa._types import Floats


@dataclass(frozen=True)
class PanelStart(StartingPipeline):
    """The pipeline that a training starts from, and what the panel's votes are worth.

    Parameters
    ----------
    encoder, ridge, dataset_scales
        As of any start.
    slope, level : float
        From votes to scores.
    scales_of_votes : dict of {label: (slope, offset)}
        As `dataset_scales`, where votes alone make the score: without the ridge's intercepts.
    """

    slope: float
    level: float
    scales_of_votes: dict[Any, tuple[float, float]]

    @classmethod
    def of(
        cls, encoder: ContrastiveQualityEncoder, rows: Floats, ratings: Ratings, alpha: float
    ) -> PanelStart:
        """Fit the ridge to the features of all images."""
        rated, level, spread, names = ratings
        ridge, scales = ridge_of_largest(rows, rated, level, spread, alpha)
        largest = np.bincount(rated.datasets, rated.weights).argmax()
        slopes = spread / spread[largest]
        offsets = level - slopes * level[largest]
        of_votes = zip(slopes.tolist(), offsets.tolist(), strict=True)
        both = (dict(zip(names, x, strict=False)) for x in (scales, of_votes))  # no names: empty
        dataset_scales, scales_of_votes = both
        worth = (float(spread[largest]), float(level[largest]))
        return cls(encoder, ridge, dataset_scales, *worth, scales_of_votes)

    def attributes_of(self, run: FineTuningRun) -> dict[str, Any]:
        attributes, arrays = super().attributes_of(run), run.best_head()
        if arrays is None:
            return attributes | {"panel_": None}
        assert isinstance(run.tuner, PanelTuner)
        residual, grid = run.tuner.plan.residual, run.tuner.grid
        design = asdict(run.tuner.panel.design)
        attributes["panel_"] = FittedPanel(
            design=design | {"channels": list(design["channels"])},
            grid=[grid.n_stages, grid.side],
            arrays=arrays,
            slope=self.slope,
            level=0.0 if residual else self.level,
            residual=residual,
        )
        return attributes if residual else attributes | {"dataset_scales_": self.scales_of_votes}
