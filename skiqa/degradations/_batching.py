"""From a batch with one value per sample to plain functions of a small batch and one number."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, overload

import torch

__all__ = [
    "Degradation",
    "PerSample",
    "RandomDegradation",
    "as_samples",
    "batched",
    "check_images",
    "samplewise",
]

# One value for all samples, or one for each.
PerSample: TypeAlias = float | Sequence[float] | torch.Tensor

_OfOne: TypeAlias = Callable[[torch.Tensor, float], torch.Tensor]
_OfOneRandom: TypeAlias = Callable[[torch.Tensor, float, torch.Tensor], torch.Tensor]
_OfBatch: TypeAlias = Callable[[torch.Tensor, list[float]], torch.Tensor]


class Degradation(Protocol):
    """What :func:`batched` makes of a function of images and a strength."""

    def __call__(
        self, images: torch.Tensor, value: PerSample, *, clip: bool = True
    ) -> torch.Tensor: ...


class RandomDegradation(Protocol):
    """What :func:`batched` makes of a function of images, a strength and seeds."""

    def __call__(
        self, images: torch.Tensor, value: PerSample, seeds: PerSample, *, clip: bool = True
    ) -> torch.Tensor: ...


def check_images(images: torch.Tensor) -> None:
    """Raise unless `images` is a float32 tensor (N, 3, H, W) with at least one pixel."""
    if not isinstance(images, torch.Tensor):
        raise TypeError(
            f"images must be a torch.Tensor (N, 3, H, W), not {type(images).__name__}; "
            "skiqa.degradations.degrade takes NumPy arrays and PIL images."
        )
    if images.dtype != torch.float32:
        raise TypeError(f"images must be float32 in [0, 1], not {images.dtype}.")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must have shape (N, 3, H, W), not {tuple(images.shape)}.")
    if 0 in images.shape[2:]:
        raise ValueError(f"images of shape {tuple(images.shape)} have no pixels.")


def as_samples(values: PerSample, n_samples: int, dtype: torch.dtype, what: str) -> torch.Tensor:
    """`values` (a number, a sequence or a tensor) as a tensor (n_samples,) of `dtype`."""
    if not isinstance(values, torch.Tensor):
        try:
            values = torch.as_tensor(values, dtype=None if dtype == torch.int64 else dtype)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"{what}: a number or one per sample is needed: {error}") from None
    if values.is_complex() or (dtype == torch.int64 and values.is_floating_point()):
        raise TypeError(f"{what}: {values.dtype} values cannot stand for {dtype}.")
    if values.ndim > 1 or (values.ndim == 1 and len(values) != n_samples):
        raise ValueError(
            f"{what}: shape {tuple(values.shape)} does not fit {n_samples} images; "
            "pass one value, or one per image."
        )
    return values.to(dtype).expand(n_samples)


@overload
def batched(function: _OfOne) -> Degradation: ...
@overload
def batched(function: _OfOneRandom) -> RandomDegradation: ...
@overload
def batched(*, whole: bool) -> Callable[[_OfBatch], Degradation]: ...
def batched(
    function: Callable[..., torch.Tensor] | None = None, *, whole: bool = False
) -> Callable[..., object]:
    """Let ``function(images, number, ...)`` take one number per sample; a decorator.

    The decorated function checks its input, takes the strength as a number or as a tensor (N,),
    hands `function` samples that share one strength, and clips what comes back to [0, 1] unless
    called with ``clip=False``. On the CPU `function` gets the samples one by one: the working set
    stays in the cache, and the result of a batch is that of its samples bit for bit (vectorised
    loops treat the last elements of an array differently, so one long array would differ from
    its parts). On CUDA the samples of equal strength go together.

    Parameters
    ----------
    function : callable
        ``function(images, value)`` or ``function(images, value, seeds)`` with images (n, 3, H, W)
        float32, value a float, seeds (n,) int64 on the images' device. Must not write to images.
    whole : bool, default=False
        Hand over the whole batch with value a list of N floats, for functions that have threads
        of their own. What they return must be new, and lie in [0, 1].

    Returns
    -------
    callable
        ``f(images, value, *, clip=True)`` or ``f(images, value, seeds, *, clip=True)``.
    """
    if function is None:
        return functools.partial(_batched, whole=whole)
    return _batched(function, whole)


def _batched(function: Callable[..., torch.Tensor], whole: bool) -> Callable[..., torch.Tensor]:
    name = function.__name__
    strength = list(inspect.signature(function).parameters)[1]

    def degrade(
        images: torch.Tensor, value: PerSample, *seeds: torch.Tensor, clip: bool
    ) -> torch.Tensor:
        values = as_samples(value, len(images), torch.float64, f"{name}: {strength}").tolist()
        for i, number in enumerate(values):
            if not math.isfinite(number):
                raise ValueError(f"{name}: {strength} at index {i} is {number}.")
        if whole:
            return function(images, values, *seeds)
        if _go_one_by_one(images.device):
            return _one_by_one(function, images, values, *seeds, clip=clip)
        return _by_strength(function, images, values, *seeds, clip=clip)

    if "seeds" in inspect.signature(function).parameters:

        @functools.wraps(function)
        def with_seeds(
            images: torch.Tensor, value: PerSample, seeds: PerSample, *, clip: bool = True
        ) -> torch.Tensor:
            check_images(images)
            seeds = as_samples(seeds, len(images), torch.int64, f"{name}: seeds")
            return degrade(images, value, seeds.to(images.device), clip=clip)

        return with_seeds

    @functools.wraps(function)
    def without_seeds(images: torch.Tensor, value: PerSample, *, clip: bool = True) -> torch.Tensor:
        check_images(images)
        return degrade(images, value, clip=clip)

    return without_seeds


def _go_one_by_one(device: torch.device) -> bool:
    return device.type == "cpu"


def _one_by_one(
    function: Callable[..., torch.Tensor],
    images: torch.Tensor,
    values: list[float],
    *seeds: torch.Tensor,
    clip: bool,
) -> torch.Tensor:
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    # of no sample, split makes one part: zip ends with the values
    parts = zip(images.split(1), values, *(s.split(1) for s in seeds), strict=False)
    for target, part in zip(result.split(1), parts, strict=False):
        if clip:
            torch.clamp(function(*part), 0, 1, out=target)
        else:
            target.copy_(function(*part))
    return result


def _by_strength(
    function: Callable[..., torch.Tensor],
    images: torch.Tensor,
    values: list[float],
    *seeds: torch.Tensor,
    clip: bool,
) -> torch.Tensor:
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    for value in set(values):
        same = torch.tensor([i for i, v in enumerate(values) if v == value], device=images.device)
        part = function(images[same], value, *(s[same] for s in seeds))
        result[same] = part.clamp(0, 1) if clip else part
    return result


def samplewise(
    function: Callable[[torch.Tensor], torch.Tensor],
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Let ``function(images)`` treat the samples of a batch on the CPU one by one; a decorator.

    For the reasons given in :func:`batched`.
    """

    @functools.wraps(function)
    def wrapper(images: torch.Tensor) -> torch.Tensor:
        check_images(images)
        if not _go_one_by_one(images.device) or len(images) <= 1:
            return function(images)
        return torch.cat([function(image) for image in images.split(1)])

    return wrapper
