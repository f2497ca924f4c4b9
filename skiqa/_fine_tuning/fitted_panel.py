"""A panel that has been fitted: what is kept of it, and scores of images by it and a ridge."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
import torch
from sklearn.linear_model import Ridge

from skiqa._fine_tuning.panel import AttentionPanel, PanelDesign
from skiqa._fine_tuning.sources import Source
from skiqa._fine_tuning.tokens import TokenGrid
from skiqa._network.build import load_arrays
from skiqa._network.live import live_networks
from skiqa._network.state import EncoderState
from skiqa._types import Arrays, Floats


class FittedPanel(TypedDict):
    """What is kept of a panel: plain values and arrays. A score is level + slope * its votes."""

    design: dict[str, Any]  # of PanelDesign
    grid: list[int]  # n_stages and side of TokenGrid
    arrays: Arrays
    slope: float
    level: float
    residual: bool  # added to the ridge's score


def live_panel(fitted: FittedPanel, device: torch.device) -> tuple[AttentionPanel, TokenGrid]:
    """Return the panel, and the grid of its tokens."""
    design = fitted["design"] | {"channels": tuple(fitted["design"]["channels"])}
    panel = AttentionPanel(PanelDesign(**design))
    load_arrays(panel, fitted["arrays"], "the panel")
    return panel.to(device).eval().requires_grad_(False), TokenGrid(*fitted["grid"])


@torch.inference_mode()
def panel_scores(
    source: Source[Any], state: EncoderState, ridge: Ridge, fitted: FittedPanel
) -> tuple[Floats, Floats]:
    """Return scores of whole images, and how far the panel's votes differ: (n,) float64 each.

    Parameters
    ----------
    source : Photos or KeptMaps
        Of whole images.
    state : EncoderState
        Of the network.
    ridge : Ridge
    fitted : FittedPanel
    """
    panel, grid = live_panel(fitted, source.device)
    network = live_networks(state, source.device, torch.float32)[0]
    source, n = source.whole(), len(source.images)
    scores, spreads = np.empty(n), np.empty(n)
    for k, x in enumerate(source.inputs(range(n), [0] * n)):
        rows, blocks = source.features_and_tokens(network, [x], grid)
        votes = panel(panel.tokens(blocks))[0].double().cpu().numpy()
        scores[k] = fitted["level"] + fitted["slope"] * votes.mean()
        if fitted["residual"]:
            scores[k] += ridge.predict(rows.double().cpu().numpy())[0]
        spreads[k] = fitted["slope"] * votes.std()
    return scores, spreads
