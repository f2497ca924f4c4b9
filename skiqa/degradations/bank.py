"""Banks: named, ordered sets of degradations, applied to batches by number or by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from skiqa.degradations._batching import PerSample, as_samples, check_images
from skiqa.degradations._registry import (
    N_LEVELS,
    Operator,
    check_levels,
    get_operator,
    list_operators,
)

__all__ = ["ARNIQA", "KADIS", "QPT", "REIQA", "Bank", "BankLike", "get_bank"]


@dataclass(frozen=True)
class Bank:
    """A named, ordered set of degradations.

    Parameters
    ----------
    name : str
        Name of the bank.
    names : tuple of str
        Names of registered operators. The position of a name is its type, counted from 0.

    Examples
    --------
    >>> import torch
    >>> from skiqa.degradations import KADIS
    >>> KADIS
    <Bank 'kadis': 25 types x 5 levels>
    >>> images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> types, levels = torch.tensor([0, 9, -1]), torch.tensor([5, 1, 1])
    >>> degraded = KADIS.apply(images, types, levels, seeds=torch.arange(3))
    >>> degraded.shape, bool((degraded[2] == images[2]).all())
    (torch.Size([3, 3, 32, 32]), True)
    >>> KADIS.class_index(types, levels)
    tensor([  4,  45, 125])
    """

    name: str
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if not self.names:
            raise ValueError(f"Bank {self.name!r} is empty.")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"Bank {self.name!r} names a degradation twice: {self.names}.")

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"<Bank {self.name!r}: {len(self)} types x {N_LEVELS} levels>"

    @property
    def operators(self) -> tuple[Operator, ...]:
        """The operators, in the order of the bank."""
        return tuple(get_operator(name) for name in self.names)

    @property
    def n_classes(self) -> int:
        """Number of classes: every type at every level, and pristine."""
        return len(self) * N_LEVELS + 1

    def class_index(self, types: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """Class of each sample: ``type * 5 + level - 1``; of a pristine one ``5 * len(bank)``.

        Parameters
        ----------
        types : int64 tensor of shape (N,)
            Index of the operator; -1 is pristine.
        levels : int64 tensor of shape (N,), 1..5
            Level; of pristine samples ignored.

        Returns
        -------
        int64 tensor of shape (N,)
        """
        return torch.where(types < 0, len(self) * N_LEVELS, types * N_LEVELS + levels - 1)

    def apply(
        self,
        images: torch.Tensor,
        types: PerSample,
        levels: PerSample,
        seeds: PerSample = 0,
        normalize: str | None = None,
    ) -> torch.Tensor:
        """Degrade each sample of a batch by its own type, level and seed.

        Parameters
        ----------
        images : torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
            RGB images, on any device. They are not changed.
        types : int or int64 tensor of shape (N,), -1..len(bank)-1
            Index of the operator in the bank; -1 leaves the sample as it is.
        levels : int or int64 tensor of shape (N,), 1..5
            Level; where the type is -1, ignored.
        seeds : int or int64 tensor of shape (N,), default=0
            A sample's random numbers depend on its seed and on nothing else in the batch.
        normalize : {None, "kadis"}, default=None
            None clips the result to [0, 1]. "kadis" stretches each image, all channels together,
            to minimum 0 and maximum 1 before and after the degradation, as the MATLAB generator
            of KADIS-700k does; a constant image cannot be stretched and is only clipped.

        Returns
        -------
        torch.Tensor of shape (N, 3, H, W), float32 in [0, 1]
            New tensor on the device of `images`.

        Raises
        ------
        ValueError
            If a type or level is out of range (the message names the index), or a shape does not
            fit.
        TypeError
            If images are not float32 or types, levels or seeds are not integers.

        Notes
        -----
        Costs, for 512 x 512 images, 1 to 100 ms of one CPU core a sample, by type, and 22 ms on
        the mean over KADIS. Memory beyond the result: the samples of one type and a few images.
        `types` and `levels` are best on the CPU: elsewhere they are copied there.
        """
        check_images(images)
        if normalize not in (None, "kadis"):
            raise ValueError(f"normalize must be None or 'kadis', not {normalize!r}.")
        n = len(images)
        types = as_samples(types, n, torch.int64, f"bank {self.name!r}: types").cpu()
        bad = torch.nonzero((types < -1) | (types >= len(self)))
        if len(bad):
            i = int(bad[0])
            raise ValueError(
                f"bank {self.name!r}: type {int(types[i])} at index {i} "
                f"is not in -1..{len(self) - 1}."
            )
        levels = as_samples(levels, n, torch.int64, f"bank {self.name!r}: levels").cpu()
        levels = check_levels(torch.where(types < 0, 1, levels), n, f"bank {self.name!r}")
        seeds = as_samples(seeds, n, torch.int64, f"bank {self.name!r}: seeds").cpu()
        result = images.clone(memory_format=torch.contiguous_format)
        for kind in types.unique().tolist():
            if kind < 0:
                continue
            index = torch.nonzero(types == kind)[:, 0]
            part = images[index.to(images.device)]
            if normalize:
                part = stretch(part)
            part = get_operator(self.names[kind])(
                part, levels[index], seeds[index], clip=not normalize
            )
            if normalize:
                part = stretch(part)
            result[index.to(images.device)] = part
        return result


def stretch(images: torch.Tensor) -> torch.Tensor:
    """Each image, all channels together, to minimum 0 and maximum 1; constant ones clipped."""
    low = images.amin((1, 2, 3), keepdim=True)
    spread = images.amax((1, 2, 3), keepdim=True) - low
    constant = spread == 0
    stretched = (images - torch.where(constant, 0, low)) / torch.where(constant, 1, spread)
    return stretched.clamp_(0, 1)


KADIS = Bank(
    "kadis",
    (
        "gaussian_blur",
        "lens_blur",
        "motion_blur",
        "color_diffusion",
        "color_shift",
        "color_quantization",
        "color_saturation_hsv",
        "color_saturation_lab",
        "jpeg2000",
        "jpeg",
        "white_noise",
        "white_noise_ycbcr",
        "impulse_noise",
        "multiplicative_noise",
        "denoise",
        "brighten",
        "darken",
        "mean_shift",
        "jitter",
        "non_eccentricity_patch",
        "pixelate",
        "quantization",
        "color_block",
        "high_sharpen",
        "contrast_change",
    ),
)
"""The 25 degradations of KADIS-700k and KADID-10k (Lin et al., QoMEX 2019), in their order."""

ARNIQA = Bank(
    "arniqa",
    (
        "gaussian_blur",
        "lens_blur",
        "motion_blur",
        "color_diffusion",
        "color_shift",
        "color_saturation_hsv",
        "color_saturation_lab",
        "jpeg2000_arniqa",
        "jpeg",
        "white_noise",
        "white_noise_ycbcr",
        "impulse_noise",
        "multiplicative_noise",
        "brighten",
        "darken",
        "mean_shift_arniqa",
        "jitter",
        "non_eccentricity_patch",
        "pixelate",
        "quantization",
        "color_block",
        "high_sharpen",
        "contrast_change_arniqa",
        "non_linear_contrast",
    ),
)
"""The 24 degradations of ARNIQA (Agnolucci et al., WACV 2024) in their seven groups.

Levels and their order are ARNIQA's. Definitions are KADIS's where ARNIQA's code departs from them
(red and blue swapped in CIE L*a*b*, the percentiles of the color shift, the rim of the lens, the
sigma of the sharpening, equal bins in place of Otsu's). Four more depart from its code:

- ``pixelate`` keeps the picture where it is; ARNIQA's nearest index is floored, so that it moves by
  about a pixel;
- ``jpeg2000_arniqa`` is coded with the lossy 9/7 wavelet, as all JPEG 2000 here, ARNIQA's with the
  reversible 5/3;
- ``white_noise_ycbcr`` adds its noise in the studio range, as MATLAB does, ARNIQA in the full one:
  here it is 13 % stronger;
- ``jitter`` is bicubic, as in KADIS; ARNIQA's is bilinear.
"""

REIQA = Bank(
    "reiqa",
    (
        "resize_bicubic_reiqa",
        "resize_bilinear_reiqa",
        "resize_lanczos",
        "resize_nearest_reiqa",
        "gaussian_blur",
        "lens_blur",
        "motion_blur_reiqa",
        "color_diffusion",
        "color_shift",
        "color_saturation_hsv",
        "color_saturation_lab",
        "jpeg_reiqa",
        "white_noise",
        "white_noise_ycbcr",
        "impulse_noise",
        "multiplicative_noise",
        "denoise_reiqa",
        "brighten",
        "darken",
        "mean_shift",
        "jitter",
        "non_eccentricity_patch",
        "pixelate",
        "color_block",
        "high_sharpen_reiqa",
        "contrast_change",
    ),
)
"""The 26 degradations of Re-IQA's code (Saha et al., CVPR 2023); the paper has 25.

Departs from its code. Definitions are KADIS's where the code leaves them for no stated reason: the
color shift, which wraps around; the smoothing spline of the contrast change; impulses that hit
whole pixels; multiplicative noise that is normal, not uniform; values cut to 8 bits. Two operators
of its own are not followed to the letter:

- ``high_sharpen_reiqa`` takes the Laplacian of the nearest neighbours, the code a gradient of the
  gradient, which skips them, on a lightness of values out of range: with that slip mended, a photo
  changes by 2 to 7 dB less than here;
- ``motion_blur_reiqa`` lies on the pixel's own row or column, the code's one pixel beside it, which
  moves the picture.
"""

QPT = Bank(
    "qpt",
    (
        "unsharp_mask",
        "gaussian_blur_qpt",
        "motion_blur",
        "median_blur",
        "glass_blur",
        "anisotropic_blur",
        "defocus_blur",
        "zoom_blur",
        "iso_noise",
        "gaussian_noise",
        "gray_noise",
        "multiplicative_noise_qpt",
        "brightness_up",
        "brightness_down",
        "contrast_up",
        "contrast_down",
        "gamma_up",
        "gamma_down",
        "hue_up",
        "hue_down",
        "saturation_up",
        "saturation_down",
        "jpeg_qpt",
        "resize_nearest",
        "resize_bilinear",
        "resize_bicubic",
    ),
)
"""The 26 degradations that stand for those of QPT (Zhao et al., CVPR 2023).

QPT does not disclose its operators. Those of ``QualityAwareTransform``, a class in an unofficial
port ("The KaiJIN Authors", 2022), are taken in their place, with their levels: our choice. Its
motion blur has levels without a unit; that of KADIS is here.
"""

BankLike: TypeAlias = str | Bank | Sequence[str]

_BANKS = {bank.name: bank for bank in (KADIS, ARNIQA, REIQA, QPT)}


def get_bank(bank: BankLike) -> Bank:
    """The bank of that name; a :class:`Bank` is returned as it is.

    Parameters
    ----------
    bank : str, Bank, or tuple of str
        "kadis", "arniqa", "reiqa" or "qpt"; "all": every operator registered by now, one's own
        included; or the names of operators, which become a bank of their own.

    Returns
    -------
    Bank

    Raises
    ------
    ValueError
        If there is no such bank.

    Examples
    --------
    >>> from skiqa.degradations import get_bank
    >>> len(get_bank("kadis"))
    25
    >>> get_bank(("jpeg", "white_noise"))
    <Bank 'own': 2 types x 5 levels>
    """
    if isinstance(bank, Bank):
        return bank
    if isinstance(bank, (tuple, list)):
        return Bank("own", tuple(bank))
    if bank == "all":
        return Bank("all", tuple(list_operators()))
    if not isinstance(bank, str) or bank not in _BANKS:
        raise ValueError(f"There is no bank {bank!r}. There are: all, {', '.join(_BANKS)}.")
    return _BANKS[bank]
