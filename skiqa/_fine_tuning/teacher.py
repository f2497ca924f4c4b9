"""A fitted network and panel, as a teacher of another one: tokens, and what its ratings count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from skiqa._fine_tuning.fitted_panel import FittedPanel, live_panel
from skiqa._fine_tuning.sources import Source
from skiqa._network.live import live_networks
from skiqa._network.state import EncoderState


class Teacher:
    """A network and its panel that no longer learn.

    Parameters
    ----------
    source : Photos or KeptMaps
        What it sees of the images that the student is trained on.
    state : EncoderState
        Of its network.
    fitted : FittedPanel
    """

    def __init__(self, source: Source[Any], state: EncoderState, fitted: FittedPanel) -> None:
        self.source = source
        self._network = live_networks(state, source.device, torch.float32)[0]
        self._panel, self._grid = live_panel(fitted, source.device)

    @torch.no_grad()
    def pictured(self, inputs: Sequence[Any]) -> torch.Tensor:
        """Return the selected tokens of inputs of its source, as `AttentionPanel.pictured`."""
        _, blocks = self.source.features_and_tokens(self._network, inputs, self._grid)
        return self._panel.pictured(self._panel.tokens(blocks))
