"""Networks from random weights: how they begin, and the BatchNorm statistics they end with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from skiqa._inputs.images import ImageList
from skiqa._inputs.prefetch import iter_decoded
from skiqa._network.build import build, to_arrays
from skiqa._network.live import normalise, to_values
from skiqa._network.state import EncoderState
from skiqa._training.schedule import BEFORE_TRAINING, cut_window, sample_seeds
from skiqa._types import Arrays
from skiqa.degradations import KADIS
from skiqa.degradations._random import uniform
from skiqa.objectives._common import draw_degradations

_PHOTOS, _BATCH = 256, 16  # that statistics are estimated on, in all and at a time
_LEAST_SIDE = 256  # of what they are estimated on: small crops have other statistics than photos


def published_start(state: EncoderState) -> EncoderState:
    """Return a random state as networks of CONTRIQUE and Re-IQA begin.

    Pixels in [0, 1] are not normalised. Scales of BatchNorm that timm starts at zero start at one:
    from zero, the weights before them have no gradient in the first step.
    """
    networks = []
    for arrays in state.networks:
        norms = {name.removesuffix("running_mean") for name in arrays if "running_mean" in name}
        zero = {f"{norm}weight" for norm in norms if not arrays[f"{norm}weight"].any()}
        networks.append({n: np.ones_like(a) if n in zero else a for n, a in arrays.items()})
    return replace(state, networks=tuple(networks), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@torch.no_grad()
def reestimate_statistics(network: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Replace BatchNorm's running statistics by the mean of those of some batches."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    for count, batch in enumerate(batches, start=1):
        for norm in norms:
            norm.momentum = 1 / count  # so that all batches count alike
        network(batch)
    for norm, (training, momentum) in zip(norms, before, strict=True):
        norm.train(training)
        norm.momentum = momentum


def with_statistics_of_photos(
    state: EncoderState,
    images: ImageList,
    chosen: Sequence[int],
    authentic: npt.NDArray[np.int64],
    *,
    view_size: int,
    device: torch.device,
    seed: int,
    n_jobs: int | None,
) -> Arrays:
    """Return the arrays of a state's network, its BatchNorm fitted to degraded photos.

    Training normalises by small views, and its running statistics are those of a moving network;
    whole photos are served by statistics of larger squares, seen by the weights as they are.

    Parameters
    ----------
    state : EncoderState
    images : ImageList
    chosen : sequence of int
        Photos that may be taken.
    authentic : int64 ndarray of shape (n_images,)
        As in training: photos degraded by life are left alone, others get a degradation of KADIS.
    view_size : int
        Of the training.
    device : torch.device
    seed : int
    n_jobs : int or None

    Returns
    -------
    dict of str to ndarray
    """
    network = build(state).to(device).eval()
    side, indices = max(2 * view_size, _LEAST_SIDE), list(chosen)[:_PHOTOS]
    seeds = sample_seeds(seed, BEFORE_TRAINING, range(len(indices)))
    decoded = iter_decoded(
        images,
        n_jobs=n_jobs,
        prefetch=_BATCH,
        on_error="nan",
        indices=indices,
        max_pixels=state.max_pixels,
    )
    read = (
        (cut_window(image, side, own), own, int(authentic[index]))
        for (index, image), own in zip(decoded, seeds, strict=True)
        if isinstance(image, np.ndarray)
    )

    def batches() -> Iterator[torch.Tensor]:
        while part := [found for found, _ in zip(read, range(_BATCH), strict=False)]:
            windows = np.stack([window for window, _, _ in part])
            own = torch.stack([x for _, x, _ in part])
            marks = torch.tensor([mark for _, _, mark in part])
            types, levels, _ = draw_degradations(marks, uniform(own, (3,), stream=1000), KADIS)
            degraded = KADIS.apply(to_values(windows, device), types, levels, own)
            yield normalise(degraded, state.mean, state.std)

    if any(isinstance(module, _BatchNorm) for module in network.modules()):
        reestimate_statistics(network, batches())
    return to_arrays(network.model)
