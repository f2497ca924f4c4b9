"""A network in training under a ridge and an attention panel, with matched noise and a teacher."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from skiqa._fine_tuning.data import BatchTargets
from skiqa._fine_tuning.held_out import HeldOut
from skiqa._fine_tuning.losses import fidelity_loss, weighted_loss
from skiqa._fine_tuning.matching import Memory, NoiseGate, Seen, matched
from skiqa._fine_tuning.panel import AttentionPanel, PanelDesign
from skiqa._fine_tuning.sources import Indices, Source
from skiqa._fine_tuning.teacher import Teacher
from skiqa._fine_tuning.tokens import TokenGrid
from skiqa._fine_tuning.tuner import Tuner, TuningPlan
from skiqa._network.build import to_arrays
from skiqa._network.live import live_networks
from skiqa._network.state import EncoderState
from skiqa._types import Arrays, Floats

_N_STANDARD = 64  # images whose tokens say how tokens are standardised


@dataclass(frozen=True, kw_only=True)
class PanelPlan(TuningPlan):
    """The numbers of a training, as parameters of FeatureMatchingQualityRegressor name them."""

    panel_learning_rate: float
    token_stages: int
    token_grid: int
    width: int
    n_queries: int
    residual: bool
    matching: float
    consistency: float
    tolerance: float
    memory: int
    selection: float | None
    token_matching: float


class PanelTuner(Tuner):
    """A network in training under a ridge that stays as it is and a panel that learns.

    Parameters
    ----------
    plan : PanelPlan
    source : Photos or KeptMaps
        As of any tuner.
    indices : intp ndarray
        Images that are trained on: some of them, from the first to the last, say how tokens are
        standardised.
    seed : int
        Decides the panel's weights.
    teacher : Teacher or None, default=None
        Whose tokens the network is drawn to.

    Attributes
    ----------
    panel : AttentionPanel
        In training.
    """

    plan: PanelPlan

    def __init__(
        self,
        plan: PanelPlan,
        source: Source[Any],
        indices: Indices,
        seed: int,
        teacher: Teacher | None = None,
    ) -> None:
        self.grid, self.teacher = TokenGrid(plan.token_stages, plan.token_grid), teacher
        step = -(-len(indices) // _N_STANDARD)  # of all datasets, if they follow each other
        blocks = _first_tokens(source, indices[::step], self.grid)
        channels = tuple(x.shape[2] for x in blocks)
        n_class_tokens = len(blocks) - len(source.extraction.scales) * plan.token_stages
        selects = plan.selection is not None
        design = PanelDesign(channels, n_class_tokens, plan.width, plan.n_queries, selects)
        self.panel = AttentionPanel(design, seed).to(source.device)
        self.panel.standardise_by(blocks)
        self.noise_gate = NoiseGate(plan.width).to(source.device)
        self.memory = Memory(plan.memory)
        factor = plan.panel_learning_rate / plan.learning_rate
        groups = [{"params": list(self.panel.parameters()), "factor": factor}]
        super().__init__(plan, source, list(self.noise_gate.parameters()), groups)

    def inputs(self, indices: Indices, seeds: Iterable[int]) -> Iterator[Any]:
        """Yield what a step takes of some images: with a teacher, what both see."""
        if self.teacher is None:
            return self.source.inputs(indices, seeds)
        seeds = list(seeds)
        theirs = self.teacher.source.inputs(indices, seeds)
        return zip(self.source.inputs(indices, seeds), theirs, strict=True)

    def _loss(self, inputs: Sequence[Any], targets: BatchTargets) -> torch.Tensor:
        plan, drawn = self.plan, None
        if self.teacher is not None:
            inputs, theirs = zip(*inputs, strict=True)
            drawn = self.teacher.pictured(theirs) if plan.token_matching else None
        rows, blocks = self.source.features_and_tokens(self.network, inputs, self.grid)
        tokens, of_ridge = self.panel.tokens(blocks), torch.zeros_like(targets.y)
        if plan.residual:
            of_ridge = torch.einsum("nd,nd->n", rows, targets.coef) + targets.intercept
        clean = of_ridge + self.panel(tokens).mean(dim=1)
        loss = weighted_loss(clean, targets.y, targets.weights)
        if plan.ranking:
            of_batch = (clean, targets.y, targets.datasets, targets.weights)
            loss = loss + plan.ranking * fidelity_loss(*of_batch)
        if plan.matching or plan.consistency:
            noise, found = self._matched_noise(tokens, self._semantics(blocks), targets)
            perturbed = of_ridge + self.panel(self.noise_gate(tokens, noise)).mean(dim=1)
            weights = targets.weights * found
            loss = loss + plan.matching * weighted_loss(perturbed, targets.y, weights)
            moved = weighted_loss(perturbed, clean, weights)
            loss = loss + plan.consistency * moved
        if plan.selection:
            open_ = self.panel.selection(tokens).mean(dim=1)
            loss = loss + plan.selection * (targets.weights * open_).mean()
        if drawn is not None:
            away = (self.panel.pictured(tokens) - drawn).square().mean(dim=(1, 2))
            apart = (targets.weights * away).mean() / drawn.square().mean().clamp(min=1e-12)
            loss = loss + plan.token_matching * apart
        return loss

    def _semantics(self, blocks: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the pooled tokens of the last stage at the first scale, standardised: (n, c)."""
        place = self.plan.token_stages - 1
        block = self.panel.blocks[place]
        return (blocks[place].mean(dim=1) - block.get_buffer("center")) / block.get_buffer("scale")

    def _matched_noise(
        self, tokens: torch.Tensor, semantics: torch.Tensor, targets: BatchTargets
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the semantic noise of each image, (n, t, d), and whether there is any, (n,)."""
        known = (targets.y, targets.deviations, targets.datasets, targets.groups)
        batch = Seen(tokens.detach(), semantics.detach(), *known)
        candidates = self.memory.with_batch(batch)
        places, found = matched(batch, candidates, self.plan.tolerance)
        noise = candidates.tokens[places] - batch.tokens
        self.memory.remember(batch)
        return noise, found

    @torch.no_grad()
    def held_out_scores(self, held_out: HeldOut, state: EncoderState) -> Floats:
        whole, coef = self.source.whole(), torch.from_numpy(held_out.coef)
        scores = []
        for x in whole.inputs(held_out.indices, [0] * len(held_out.indices)):
            rows, blocks = whole.features_and_tokens(self.network, [x], self.grid)
            score = self.panel(self.panel.tokens(blocks)).mean(dim=1).double().cpu()
            if self.plan.residual:
                score = score + torch.einsum("nd,d->n", rows.double().cpu(), coef)
            scores.append(score)
        return torch.cat(scores).numpy()

    def head_arrays(self) -> Arrays:
        return to_arrays(self.panel)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"memory": self.memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.memory.load_state_dict([x.to(self.source.device) for x in state["memory"]])


@torch.no_grad()
def _first_tokens(source: Source[Any], indices: Indices, grid: TokenGrid) -> list[torch.Tensor]:
    """Return the tokens of some whole images by the network that training starts from."""
    whole = source.whole()
    network = live_networks(source.extraction.state, source.device, torch.float32)[0]
    inputs = whole.inputs(indices, [0] * len(indices))
    parts = [whole.features_and_tokens(network, [x], grid)[1] for x in inputs]
    return [torch.cat(part) for part in zip(*parts, strict=True)]
