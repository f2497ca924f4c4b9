"""From a batch with one value per sample to plain functions of a small batch and one number."""

import functools
import inspect

import torch

__all__ = ["as_samples", "batched", "check_images", "samplewise"]


def check_images(images):
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


def as_samples(values, n_samples, dtype, what):
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


def batched(function=None, *, whole=False):
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
        return functools.partial(batched, whole=whole)
    name = function.__name__
    strength = list(inspect.signature(function).parameters)[1]
    takes_seeds = "seeds" in inspect.signature(function).parameters

    def call(images, values, seeds, clip):
        check_images(images)
        values = as_samples(values, len(images), torch.float64, f"{name}: {strength}").tolist()
        for i, value in enumerate(values):
            if value != value or value in (float("inf"), float("-inf")):
                raise ValueError(f"{name}: {strength} at index {i} is {value}.")
        random = ()
        if takes_seeds:
            seeds = as_samples(seeds, len(images), torch.int64, f"{name}: seeds")
            random = (seeds.to(images.device),)
        if whole:
            return function(images, values, *random)
        result = torch.empty_like(images, memory_format=torch.contiguous_format)
        if _one_by_one(images.device):
            # of no sample, split makes one part: zip ends with the values
            parts = zip(images.split(1), values, *(r.split(1) for r in random), strict=False)
            for target, part in zip(result.split(1), parts, strict=False):
                if clip:
                    torch.clamp(function(*part), 0, 1, out=target)
                else:
                    target.copy_(function(*part))
            return result
        for value in set(values):
            same = [i for i, v in enumerate(values) if v == value]
            same = torch.tensor(same, device=images.device)
            part = function(images[same], value, *(r[same] for r in random))
            result[same] = part.clamp(0, 1) if clip else part
        return result

    if takes_seeds:

        @functools.wraps(function)
        def wrapper(images, value, seeds, *, clip=True):
            return call(images, value, seeds, clip)
    else:

        @functools.wraps(function)
        def wrapper(images, value, *, clip=True):
            return call(images, value, None, clip)

    return wrapper


def samplewise(function):
    """Let ``function(images)`` treat the samples of a batch on the CPU one by one; a decorator.

    For the reasons given in :func:`batched`.
    """

    @functools.wraps(function)
    def wrapper(images):
        check_images(images)
        if images.device.type != "cpu" or len(images) <= 1:
            return function(images)
        return torch.cat([function(image) for image in images.split(1)])

    return wrapper


def _one_by_one(device):
    return device.type == "cpu"
