"""Speed of the degradations against three libraries, and what they do to a full-reference score.

    python benchmarks/degradations.py                     operators, spaces, and the GPU if any
    python benchmarks/degradations.py --only spaces       one part: operators, spaces, gpu
    python benchmarks/degradations.py --ssim --photos DIR

The rivals, in an environment of their own if you like (imagecorruptions is of 2020 and asks for the
full OpenCV and for numba, which it does not import):

    pip install kornia torchvision scikit-image opencv-python-headless "setuptools<81"
    pip install --no-deps imagecorruptions

operators  Batches of 32 x 3 x 256 x 256 (crops of two photographs) through each operator that a
           rival has as well, at the rival's strength: images/s of both, and their ratio. Each
           library gets its native input and gives its native output: a float32 batch for skiqa,
           kornia and torchvision, uint8 arrays one by one for imagecorruptions. "change" is the RMS
           difference from the input, skiqa's and the rival's, of 255: where the two agree, the
           strengths do. Calls of the two sides alternate, and each side counts by its fastest call,
           for other programs can only slow it down. One core (``--cores``), to which the process
           is bound where the system can do that.
spaces     CPU time to draw one sequence, and to draw and apply it to one crop of 256 x 256.
gpu        Images/s of ShuffleSpace on 256 crops of 256 x 256, and its share of a training step of
           timm's ResNet-50 on these (bfloat16 autocast, SGD).
--ssim     For each operator the share of pairs of levels a < b, over 20 photos, with SSIM(a) >
           SSIM(b); SSIM of scikit-image as Wang et al. define it, on the central 384 x 384.

Left out, as the definitions differ: imagecorruptions' brightness (HSV value plus a constant), fog
(a plasma fractal), frost, snow, spatter and elastic; torchvision's and kornia's sharpness (3 x 3).
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from skiqa import degradations as d
from skiqa._types import Floats, Pixels
from skiqa.degradations import get_operator, get_space, list_operators
from skiqa.degradations._pillow import to_bytes

SIDE = 256
SEEDS = torch.arange(32)

Call: TypeAlias = Callable[[], "torch.Tensor | Pixels"]
Rows: TypeAlias = dict[tuple[str, str], tuple[Call, Call]]


def crops(n: int) -> Pixels:
    """Return n crops of scikit-learn's two photographs, uint8 (n, SIDE, SIDE, 3)."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photos = load_sample_images().images
    result = []
    for i in range(n):
        photo = photos[i % 2]
        top, left = (int(rng.integers(size - SIDE)) for size in photo.shape[:2])
        result.append(photo[top : top + SIDE, left : left + SIDE])
    return np.stack(result)


# ---------------------------------------------------------------- the rivals
#
# A row: what the table says, the operator and the rival's function with its strength; then skiqa's
# call and the rival's. `x` is the batch as floats, `photos` as uint8 arrays.


def imagecorruptions_caller(photos: Pixels) -> Callable[..., Call]:
    """Return a maker of calls that corrupt the first n photos one by one."""
    from imagecorruptions import corrupt, corruptions
    from skimage import filters

    def gaussian(
        image: Floats, sigma: float, multichannel: bool = False, **options: object
    ) -> Floats:
        return filters.gaussian(image, sigma, channel_axis=-1 if multichannel else None, **options)

    corruptions.gaussian = gaussian  # its keyword is of 2020, and scikit-image has renamed it since

    def corrupted(name: str, severity: int, n: int = 32) -> Call:
        return lambda: np.stack([corrupt(photo, severity, name) for photo in photos[:n]])

    return corrupted


def imagecorruptions_rows(x: torch.Tensor, photos: Pixels) -> Rows:
    corrupted = imagecorruptions_caller(photos)
    rows: Rows = {}
    rows["gaussian_blur", "gaussian_blur, sigma 3, cut at 4 sigma (skiqa: 2 sigma)"] = (
        lambda: d.blur.gaussian_blur(x, 3),
        corrupted("gaussian_blur", 3),
    )
    rows["defocus_blur", "defocus_blur, radius 6"] = (
        lambda: d.blur.defocus_blur(x, 6),
        corrupted("defocus_blur", 3),
    )
    words = "motion_blur, half a Gaussian of sigma 8 (skiqa: a line of 16 pixels)"
    rows["motion_blur", words] = (
        lambda: d.blur.motion_blur(x, 16, SEEDS),
        corrupted("motion_blur", 3),
    )
    rows["zoom_blur", "zoom_blur, up to 1.2"] = (
        lambda: d.blur.zoom_blur(x, 1.2),
        corrupted("zoom_blur", 3),
    )
    # so slow that it gets four images only
    rows["glass_blur", "glass_blur, sigma 0.9, one pass, up to 2 pixels (skiqa: 5)"] = (
        lambda: d.blur.glass_blur(x, 5, SEEDS),
        corrupted("glass_blur", 2, n=4),
    )
    rows["gaussian_noise", "gaussian_noise, deviation 0.18"] = (
        lambda: d.noise.gaussian_noise(x, 0.18, SEEDS),
        corrupted("gaussian_noise", 3),
    )
    rows["poisson_noise", "shot_noise, 12 photons"] = (
        lambda: d.noise.poisson_noise(x, 12, SEEDS),
        corrupted("shot_noise", 3),
    )
    rows["impulse_noise", "impulse_noise, 9 % of the values"] = (
        lambda: d.noise.impulse_noise(x, 0.09, SEEDS),
        corrupted("impulse_noise", 3),
    )
    words = "speckle_noise, deviation 0.35, Gaussian (skiqa: uniform)"
    rows["multiplicative_noise", words] = (
        lambda: d.noise.multiplicative_noise(x, 0.35**2, SEEDS),
        corrupted("speckle_noise", 3),
    )
    rows["contrast_down", "contrast, 0.2, about each channel's mean (skiqa: the mean gray)"] = (
        lambda: d.sharpness.contrast(x, 0.2),
        corrupted("contrast", 3),
    )
    rows["color_saturation_hsv", "saturate, 0.3"] = (
        lambda: d.color.color_saturation_hsv(x, 0.3),
        corrupted("saturate", 1),
    )
    rows["jpeg", "jpeg_compression, quality 15"] = (
        lambda: d.compression.jpeg(x, 15),
        corrupted("jpeg_compression", 3),
    )
    rows["pixelate", "pixelate, to 0.4 of the size, by box (skiqa: nearest)"] = (
        lambda: d.spatial.pixelate(x, 0.55 ** (1 / 0.6)),
        corrupted("pixelate", 3),
    )
    return rows


def kornia_rows(x: torch.Tensor, photos: Pixels) -> Rows:
    return kornia_filters(x) | kornia_enhancements(x) | kornia_noise_and_jpeg(x) | kornia_sizes(x)


def kornia_filters(x: torch.Tensor) -> Rows:
    from kornia import filters as f

    angles, even = torch.linspace(0, 180, len(x)), torch.zeros(len(x))
    rows: Rows = {}
    rows["gaussian_blur", "gaussian_blur2d, sigma 2, 9 taps"] = (
        lambda: d.blur.gaussian_blur(x, 2),
        lambda: f.gaussian_blur2d(x, (9, 9), (2.0, 2.0), "replicate"),
    )
    rows["gaussian_blur", "gaussian_blur2d, sigma 5, 21 taps"] = (
        lambda: d.blur.gaussian_blur(x, 5),
        lambda: f.gaussian_blur2d(x, (21, 21), (5.0, 5.0), "replicate"),
    )
    rows["motion_blur", "motion_blur, 9 pixels, each image its own angle"] = (
        lambda: d.blur.motion_blur(x, 9, SEEDS),
        lambda: f.motion_blur(x, 9, angles, even, "replicate"),
    )
    rows["median_blur", "median_blur, 3 x 3"] = (
        lambda: d.blur.median_blur(x, 3),
        lambda: f.median_blur(x, 3),
    )
    rows["median_blur", "median_blur, 7 x 7"] = (
        lambda: d.blur.median_blur(x, 7),
        lambda: f.median_blur(x, 7),
    )
    rows["unsharp_mask", "unsharp_mask, sigma 2, amount 1, neither clipped"] = (
        lambda: d.sharpness.unsharp_mask(x, 1, clip=False),
        lambda: f.unsharp_mask(x, (9, 9), (2.0, 2.0), "replicate"),
    )
    return rows


def kornia_enhancements(x: torch.Tensor) -> Rows:
    from kornia import enhance as e

    rows: Rows = {}
    rows["brightness_up", "adjust_brightness_accumulative, 1.2"] = (
        lambda: d.brightness.brightness(x, 1.2),
        lambda: e.adjust_brightness_accumulative(x, 1.2),
    )
    rows["mean_shift", "adjust_brightness, 0.15"] = (
        lambda: d.brightness.mean_shift(x, 0.15),
        lambda: e.adjust_brightness(x, 0.15),
    )
    rows["gamma_up", "adjust_gamma, 1.125"] = (
        lambda: d.brightness.gamma(x, 1.125),
        lambda: e.adjust_gamma(x, 1.125),
    )
    rows["contrast_down", "adjust_contrast_with_mean_subtraction, 0.75"] = (
        lambda: d.sharpness.contrast(x, 0.75),
        lambda: e.adjust_contrast_with_mean_subtraction(x, 0.75),
    )
    rows["saturation_down", "adjust_saturation_with_gray_subtraction, 0.5"] = (
        lambda: d.color.saturation(x, 0.5),
        lambda: e.adjust_saturation_with_gray_subtraction(x, 0.5),
    )
    rows["color_saturation_hsv", "adjust_saturation, 0.2"] = (
        lambda: d.color.color_saturation_hsv(x, 0.2),
        lambda: e.adjust_saturation(x, 0.2),
    )
    rows["hue_up", "adjust_hue, 0.05 turns"] = (
        lambda: d.color.hue(x, 0.05),
        lambda: e.adjust_hue(x, 0.05 * 2 * math.pi),
    )
    rows["banding", "posterize, 3 bits, rounded down (skiqa: 8 values, to the nearest)"] = (
        lambda: d.color.banding(x, 8),
        lambda: e.posterize(x, 3),
    )
    return rows


def kornia_noise_and_jpeg(x: torch.Tensor) -> Rows:
    from kornia import augmentation as a
    from kornia import enhance as e

    quality = torch.full((len(x),), 24.0)
    noise = a.RandomGaussianNoise(std=0.07, p=1)
    impulses = a.RandomSaltAndPepperNoise(amount=(0.03, 0.03), salt_vs_pepper=(0.5, 0.5), p=1)
    rows: Rows = {}
    rows["gaussian_noise", "RandomGaussianNoise, 0.07, neither clipped"] = (
        lambda: d.noise.gaussian_noise(x, 0.07, SEEDS, clip=False),
        lambda: noise(x),
    )
    rows["impulse_noise", "RandomSaltAndPepperNoise, 3 % of the pixels (skiqa: of the values)"] = (
        lambda: d.noise.impulse_noise(x, 0.03, SEEDS),
        lambda: impulses(x),
    )
    rows["jpeg", "jpeg_codec_differentiable, quality 24"] = (
        lambda: d.compression.jpeg(x, 24),
        lambda: e.jpeg_codec_differentiable(x, quality),
    )
    return rows


def kornia_sizes(x: torch.Tensor) -> Rows:
    from kornia.geometry import resize

    def resized(method: str) -> Call:
        def there_and_back() -> torch.Tensor:
            half, antialias = (SIDE // 2, SIDE // 2), method != "nearest"
            small = resize(x, half, method, antialias=antialias)
            return resize(small, (SIDE, SIDE), method)

        return there_and_back

    rows: Rows = {}
    rows["resize_nearest", "resize to a half and back"] = (
        lambda: d.spatial.resize_nearest(x, 2),
        resized("nearest"),
    )
    rows["resize_bilinear", "resize to a half and back, antialiased"] = (
        lambda: d.spatial.resize_bilinear(x, 2),
        resized("bilinear"),
    )
    rows["resize_bicubic", "resize to a half and back, antialiased"] = (
        lambda: d.spatial.resize_bicubic(x, 2),
        resized("bicubic"),
    )
    return rows


def torchvision_rows(x: torch.Tensor, photos: Pixels) -> Rows:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as v

    def jpeg() -> torch.Tensor:
        coded = v.jpeg(v.to_dtype(x, torch.uint8, scale=True), 24)
        return v.to_dtype(coded, torch.float32, scale=True)

    def resized(method: str) -> Call:
        mode, half = InterpolationMode(method), [SIDE // 2, SIDE // 2]
        return lambda: v.resize(v.resize(x, half, mode), [SIDE, SIDE], mode)

    rows: Rows = {}
    rows["gaussian_blur", "gaussian_blur, sigma 2, 9 taps"] = (
        lambda: d.blur.gaussian_blur(x, 2),
        lambda: v.gaussian_blur(x, [9, 9], [2.0, 2.0]),
    )
    rows["gaussian_blur", "gaussian_blur, sigma 5, 21 taps"] = (
        lambda: d.blur.gaussian_blur(x, 5),
        lambda: v.gaussian_blur(x, [21, 21], [5.0, 5.0]),
    )
    rows["brightness_up", "adjust_brightness, 1.2"] = (
        lambda: d.brightness.brightness(x, 1.2),
        lambda: v.adjust_brightness(x, 1.2),
    )
    rows["gamma_up", "adjust_gamma, 1.125"] = (
        lambda: d.brightness.gamma(x, 1.125),
        lambda: v.adjust_gamma(x, 1.125),
    )
    rows["contrast_down", "adjust_contrast, 0.75"] = (
        lambda: d.sharpness.contrast(x, 0.75),
        lambda: v.adjust_contrast(x, 0.75),
    )
    rows["saturation_down", "adjust_saturation, 0.5"] = (
        lambda: d.color.saturation(x, 0.5),
        lambda: v.adjust_saturation(x, 0.5),
    )
    rows["hue_up", "adjust_hue, 0.05 turns"] = (
        lambda: d.color.hue(x, 0.05),
        lambda: v.adjust_hue(x, 0.05),
    )
    rows["banding", "posterize, 3 bits, rounded down (skiqa: 8 values, to the nearest)"] = (
        lambda: d.color.banding(x, 8),
        lambda: v.posterize(x, 3),
    )
    rows["gaussian_noise", "gaussian_noise, 0.07"] = (
        lambda: d.noise.gaussian_noise(x, 0.07, SEEDS),
        lambda: v.gaussian_noise(x, 0.0, 0.07),
    )
    rows["jpeg", "jpeg, quality 24, with to_dtype to uint8 and back, which it needs"] = (
        lambda: d.compression.jpeg(x, 24),
        jpeg,
    )
    rows["resize_nearest", "resize to a half and back"] = (
        lambda: d.spatial.resize_nearest(x, 2),
        resized("nearest"),
    )
    rows["resize_bilinear", "resize to a half and back, antialiased"] = (
        lambda: d.spatial.resize_bilinear(x, 2),
        resized("bilinear"),
    )
    rows["resize_bicubic", "resize to a half and back, antialiased"] = (
        lambda: d.spatial.resize_bicubic(x, 2),
        resized("bicubic"),
    )
    return rows


RIVALS = {
    "imagecorruptions": (imagecorruptions_rows, "a geometric mean of 2"),
    "kornia": (kornia_rows, "a geometric mean of 2"),
    "torchvision": (torchvision_rows, "0.9 in every row"),
}


# ---------------------------------------------------------------- operators


def seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return clock() - start


def fastest(
    *calls: Callable[[], object], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Return the fastest time of each call; they take turns, for half a minute at most."""
    for call in calls:
        call()  # warm up
    times: list[list[float]] = []
    start = time.perf_counter()
    while len(times) < rounds and time.perf_counter() - start < 30:
        times.append([seconds(call, clock) for call in calls])
    return [min(column) for column in zip(*times, strict=True)]


def as_values(result: torch.Tensor | Pixels) -> Floats:
    """Return a result of any of the libraries as float64 (n, H, W, 3) in 0..255."""
    if isinstance(result, np.ndarray):
        return result.astype(np.float64)
    return result.detach().permute(0, 2, 3, 1).double().numpy() * 255


def change(result: torch.Tensor | Pixels, photos: Pixels) -> float:
    values = as_values(result)
    if values.shape != photos[: len(values)].shape:
        raise SystemExit(f"a result has the shape {values.shape}")
    return float(np.sqrt(((values - photos[: len(values)]) ** 2).mean()))


def benchmark_operators(rivals: list[str], rounds: int) -> None:
    photos = crops(32)
    x = torch.from_numpy(photos).permute(0, 3, 1, 2).float().div(255).contiguous()
    print("Images/s on batches of 32 x 3 x 256 x 256.")
    for rival in rivals:
        make, target = RIVALS[rival]
        try:
            rows = make(x, photos)
        except ImportError as error:
            print(f"\n{rival}: left out, {error}")
            continue
        print(f"\n| operator | {rival} | change | skiqa | {rival} | ratio |")
        print("| --- | --- | ---: | ---: | ---: | ---: |")
        ratios = []
        for (operator, words), (ours, theirs) in rows.items():
            get_operator(operator)  # the name is one
            times = fastest(ours, theirs, rounds=rounds)
            results = ours(), theirs()
            rates = len(results[0]) / times[0], len(results[1]) / times[1]
            ratios.append(rates[0] / rates[1])
            changes = ", ".join(f"{change(result, photos):.1f}" for result in results)
            print(
                f"| {operator} | {words} | {changes} | {rates[0]:,.0f} | {rates[1]:,.0f} "
                f"| {ratios[-1]:.2f} |",
                flush=True,
            )
        mean = statistics.geometric_mean(ratios)
        print(
            f"\nAgainst {rival}: {mean:.2f} times as fast, the geometric mean of {len(ratios)} "
            f"rows; the lowest ratio is {min(ratios):.2f}. The target: {target}."
        )


# ---------------------------------------------------------------- spaces


def benchmark_spaces(rounds: int) -> None:
    x = torch.from_numpy(crops(256)).permute(0, 3, 1, 2).float().div(255).contiguous()
    print("\n| space | sequences | drawing one, us | drawing and applying, ms a crop |")
    print("| --- | ---: | ---: | ---: |")
    seeds = torch.arange(10_000)
    for name in ("contrique", "arniqa", "qpt", "qpt_small", "reiqa"):
        space = get_space(name)
        clock = {"clock": time.process_time}  # of one core: others may be using it, too
        (drawing,) = fastest(partial(space.sample, seeds), rounds=rounds, **clock)
        (applying,) = fastest(partial(space.degrade, x, seeds[: len(x)]), rounds=2, **clock)
        print(
            f"| {name}: {type(space).__name__} | {space.size():,} | {drawing / 10_000 * 1e6:.1f} "
            f"| {applying / len(x) * 1e3:.2f} |",
            flush=True,
        )


# ---------------------------------------------------------------- GPU


def benchmark_gpu(rounds: int) -> None:
    if not torch.cuda.is_available():
        print("No GPU at hand: ShuffleSpace on a GPU is not measured.\n")
        return
    import timm

    device = torch.device("cuda")
    x = torch.from_numpy(crops(256)).permute(0, 3, 1, 2).float().div(255).contiguous().to(device)
    labels = torch.arange(len(x), device=device)
    space, seeds = get_space("qpt"), torch.arange(len(x))
    network = timm.create_model("resnet50", num_classes=len(x)).to(device).train()
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def degrade() -> torch.Tensor:
        result = space.degrade(x, seeds)
        torch.cuda.synchronize()
        return result

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            outputs = network(x.to(memory_format=torch.channels_last))
        torch.nn.functional.cross_entropy(outputs.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()

    degrading, training = fastest(degrade, step, rounds=max(rounds, 5))
    print(
        f"{torch.cuda.get_device_name()}: ShuffleSpace degrades {len(x) / degrading:,.0f} crops "
        f"of 256 x 256 a second; a ResNet-50 training step on {len(x)} of them takes "
        f"{training * 1e3:.0f} ms; degrading is {degrading / (degrading + training):.0%} of both.\n"
    )


# ---------------------------------------------------------------- SSIM


def central(photo: Pixels, side: int = 384) -> Pixels:
    top, left = ((size - side) // 2 for size in photo.shape[:2])
    return photo[top : top + side, left : left + side]


def ssim_table(folders: list[str], n_photos: int = 20) -> None:
    from PIL import Image
    from skimage.metrics import structural_similarity

    from skiqa.inspection import level_concordance

    def ssim(a: Pixels, b: Pixels) -> float:
        window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        return structural_similarity(a, b, channel_axis=2, data_range=255, **window)

    paths = [p for f in folders for p in sorted(Path(f).iterdir()) if p.suffix in {".png", ".jpg"}]
    if len(paths) < n_photos:
        sys.exit(f"{n_photos} photos are needed, there are {len(paths)}: give other --photos")
    paths = [paths[i * len(paths) // n_photos] for i in range(n_photos)]
    photos = [central(np.array(Image.open(path).convert("RGB"))) for path in paths]
    levels = torch.arange(1, 6)
    print("| operator | pairs in order | SSIM at levels 1 to 5, mean |")
    print("| --- | ---: | --- |")
    for name in list_operators():
        operator = get_operator(name)
        scores = np.empty((5, n_photos))
        for i, photo in enumerate(photos):
            x = torch.from_numpy(photo).permute(2, 0, 1)[None].float().div(255)
            degraded = to_bytes(operator(x.expand(5, -1, -1, -1).contiguous(), levels, i))
            scores[:, i] = [ssim(photo, image) for image in degraded]
        ordered = float(level_concordance(scores))
        means = " ".join(f"{mean:.3f}" for mean in scores.mean(1))
        claim = "" if operator.monotone else " (not monotone)"
        print(f"| {name}{claim} | {ordered:.3f} | {means} |", flush=True)


# ---------------------------------------------------------------- main


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["operators", "spaces", "gpu"])
    parser.add_argument("--rivals", nargs="+", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--rounds", type=int, default=15, help="calls of each side, in turn; 15")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--ssim", action="store_true", help="the table of SSIM")
    parser.add_argument("--photos", nargs="+", metavar="DIR", help="folders of photos for --ssim")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of the rivals, about their own dependencies
    torch.set_num_threads(args.cores)
    if args.ssim:
        if not args.photos:
            parser.error("--ssim needs --photos")
        ssim_table(args.photos)
        return
    if args.only in (None, "gpu"):  # first, as its codecs may have all cores
        benchmark_gpu(args.rounds)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-args.cores :])
    if args.only in (None, "operators"):
        benchmark_operators(args.rivals, args.rounds)
    if args.only in (None, "spaces"):
        benchmark_spaces(args.rounds)


if __name__ == "__main__":
    main()
