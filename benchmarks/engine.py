"""ONNX Runtime against PyTorch on one thread: CPU time of `transform`, and how far features differ.

    OMP_NUM_THREADS=1 python benchmarks/engine.py [--part speed|agreement] [--rounds 15]

speed       CPU milliseconds that the bundled encoder takes for a photo of 512 x 512 and one of
            840 x 624, from decoded pixels to features, PyTorch and engine in turn: the least of
            all rounds, and the median of the ratios of rounds.
agreement   largest difference between the features of both, relative to the largest feature, over
            ten networks of timm with random weights at five sizes each, three of them odd.
"""

import argparse
import statistics
import time
from dataclasses import replace
from unittest import mock

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from skiqa import load_model
from skiqa._features import runners as module
from skiqa._features.extract import Extraction, extract
from skiqa._inputs.containers import as_image_list
from skiqa._network.build import random_state_of

NETWORKS = (
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "regnety_002",
    "mobilenetv3_small_100",
    "efficientnet_b0",
    "tf_efficientnet_lite0",
    "convnext_atto",
    "densenet121",
    "vit_tiny_patch16_224",
)
SIZES = ((512, 512), (384, 512), (331, 257), (97, 131), (33, 65))


def photo_of(height, width):
    """Return china.jpg of scikit-learn at a size, uint8."""
    china = Image.fromarray(load_sample_images().images[0])
    return np.asarray(china.resize((width, height), Image.Resampling.BICUBIC)).copy()


def features(extraction, photo, engine):
    """Return the features of a photo, by the engine or by PyTorch."""
    with mock.patch.object(module, "live_engines", module.live_engines if engine else no_engine):
        ((_, row),) = extract(as_image_list([photo]), extraction, n_jobs=1, on_error="raise")
    return row


def no_engine(state, pooling):
    return [None] * len(state.networks)


def speed(rounds):
    extraction = load_model()[0].extraction("cpu")
    print("| pixels | PyTorch, ms | engine, ms | ratio |\n| --- | --- | --- | --- |")
    for height, width in ((512, 512), (624, 840)):
        photo = photo_of(height, width)
        times = {False: [], True: []}
        for engine in (False, True):  # builds what is needed
            features(extraction, photo, engine)
        for _ in range(rounds):
            for engine, found in times.items():
                start = time.process_time()
                features(extraction, photo, engine)
                found.append(1e3 * (time.process_time() - start))
        ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
        least = [min(found) for found in times.values()]
        print(f"| {width} x {height} | {least[0]:.0f} | {least[1]:.0f} | {ratio:.2f} |", flush=True)


def random_state(name):
    """Return random weights; branches that timm starts at zero add something."""
    state, rng = random_state_of(name, 0), np.random.default_rng(0)
    arrays = {
        key: rng.uniform(0.5, 1.0, array.shape).astype(np.float32)
        if array.ndim == 1 and not key.endswith(("bias", "running_mean"))
        else array
        for key, array in state.networks[0].items()
    }
    return replace(state, networks=[arrays])


def agreement():
    print("| network | " + " | ".join(f"{w} x {h}" for h, w in SIZES) + " |")
    print("| --- |" + " --- |" * len(SIZES))
    worst = 0.0
    for name in NETWORKS:
        extraction = Extraction(random_state(name), (1.0, 0.5), "stages", "cpu", "float32")
        if None in module.live_engines(extraction.state, "stages"):
            print(f"| {name} | runs in PyTorch |", flush=True)
            continue
        cells = []
        for size in SIZES:
            photo = photo_of(*size)
            expected, found = (features(extraction, photo, engine) for engine in (False, True))
            cells.append(np.abs(found - expected).max() / np.abs(expected).max())
        worst = max(worst, *cells)
        print(f"| {name} | " + " | ".join(f"{cell:.1e}" for cell in cells) + " |", flush=True)
    print(f"\nlargest: {worst:.1e}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=["speed", "agreement"], help="default: both")
    parser.add_argument("--rounds", type=int, default=15, help="speed: of each, in turn")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.part != "agreement":
        speed(args.rounds)
    if args.part != "speed":
        agreement()


if __name__ == "__main__":
    main()
