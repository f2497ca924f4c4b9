"""All that is to be known of a GPU that is at hand for minutes: tests, speed, and a training.

    python benchmarks/gpu/minutes.py --pack pack.zip --out found        # eight minutes at most
    python benchmarks/gpu/minutes.py --small --device cpu --out found   # on a CPU, in small

In this order, so that what was cut off has lost the least:

tests      the tests that need CUDA; elsewhere they are passed over, which is said
transform  images of 512 x 512 a second, from memory, of the bundled network and of a ResNet-50, in
           float32 and bfloat16
steps      for each objective the seconds of a training step's parts, each alone, and of a whole
           step of the loop with decoding hidden; decoding, and JPEG as a degradation, by the codec
           on the host and on the device
train      contrast from the bundled weights on the pack (pack.py) and on dead leaves made here, for
           as many epochs as the minutes allow, which the first one tells

Each number is written to numbers.json as soon as it is known, and the weights to contrast.skiqa,
which benchmarks/contrast_pays.py --encoders measures anywhere.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from pack import unpack

sys.path.append(str(Path(__file__).resolve().parents[1]))
from contrast_pays import CANDIDATES
from extract import chosen_photos
from start import as_encoder
from train import part_times

from skiqa import ContrastiveQualityEncoder
from skiqa._inputs.containers import as_image_list
from skiqa._network.build import random_state_of
from skiqa.datasets import make_dead_leaves
from skiqa.degradations import get_operator
from skiqa.objectives import NAMES
from skiqa.persistence import save

ROOT = Path(__file__).resolve().parents[2]
TESTS = [
    "test_degradations_operators.py",
    "test_degradations_random.py",
    "test_degradations_spaces.py",
    "test_objectives.py",
]
BATCH = {"reiqa": 8}  # photos a step, where a photo gives many views
SMALL = {
    "backbone": "resnet18",
    "images": 2,
    "batch_size": 4,
    "step_view_size": 64,
    "steps": 1,
    "rounds": 1,
    "leaves": 32,
    "train_seconds": 5.0,
    "test_seconds": 90.0,
}


class Found:
    """Numbers, written as soon as they are known."""

    def __init__(self, folder, device):
        self.path, self.began = folder / "numbers.json", time.perf_counter()
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        self.numbers = {"device": name, "torch": torch.__version__, "cores": os.cpu_count()}

    def add(self, part, numbers):
        numbers = {key: round(x, 4) if isinstance(x, float) else x for key, x in numbers.items()}
        self.numbers[part] = numbers
        self.path.write_text(json.dumps(self.numbers, indent=1))
        print(
            f"{time.perf_counter() - self.began:6.0f} s  {part}: {json.dumps(numbers)}", flush=True
        )


def timed(call, device):
    """Return the seconds of a call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def cuda_tests(args):
    """Return how the tests that need CUDA end."""
    files = [str(ROOT / "tests" / name) for name in TESTS]
    command = [sys.executable, "-m", "pytest", "-q", "-k", "cuda", "-p", "no:cacheprovider", *files]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=args.test_seconds
        )
    except subprocess.TimeoutExpired:
        return {"result": f"not done after {args.test_seconds} s"}
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    return {"result": done.stdout.splitlines()[-1], "failed": failed}


def transform_speed(args, device):
    """Yield (what, {images a second}) for networks and precisions."""
    images = np.random.default_rng(0).integers(0, 256, (args.images, 512, 512, 3), dtype=np.uint8)
    bundled = ContrastiveQualityEncoder().fit(images).state_
    for name, state in (("bundled", bundled), (args.backbone, random_state_of(args.backbone, 0))):
        for precision in ("float32", "bfloat16"):
            encoder = as_encoder(state, precision=precision, device=args.device, n_jobs=args.jobs)
            encoder.transform(images[: max(2, args.images // 8)])  # warm up
            seconds = timed(lambda run=encoder: run.transform(images), device)
            yield f"transform, {name}, {precision}", {"images_per_second": args.images / seconds}


def step_parts(args, folder):
    """Yield (what, seconds of the parts of a step) for each objective."""
    for name in NAMES:
        args.objective, args.batch_size = name, min(BATCH.get(name, args.batch), args.batch)
        args.view_size = args.step_view_size
        args.n = args.batch_size * args.steps
        photos = as_image_list(chosen_photos(args, folder)[: args.n])
        try:
            seconds, trainer, n_views = part_times(args, photos)
        except torch.cuda.OutOfMemoryError as error:  # a smaller card: go on with the next
            yield f"step, {name}", {"error": str(error).splitlines()[0]}
            continue
        parts = ("decode", "degrade", "forward + backward", "optimizer")
        yield (
            f"step, {name}",
            {
                "photos": args.batch_size,
                "views": n_views,
                "dtype": str(trainer.dtype or torch.float32),
                "views_per_second": n_views / seconds["loop"],
                **seconds,
                "loop, nothing hidden": sum(seconds[part] for part in parts),
            },
        )


def jpeg_on_device(args, device, folder):
    """Yield (what, seconds a photo) of JPEG by the codec on the host, and on the device."""
    args.n = 16 if device.type == "cpu" else 256
    files = [Path(path).read_bytes() for path in chosen_photos(args, folder)[: args.n]]
    images = as_image_list(files)
    on_host = timed(lambda: [images.load(i) for i in range(len(files))], device)
    yield "decoding 512 x 512, host, one thread", {"seconds_a_photo": on_host / len(files)}
    try:
        from torchvision.io import decode_jpeg

        coded = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is deprecated
            decode_jpeg(coded[:2], device=device) if device.type == "cuda" else None
            call = (
                (lambda: decode_jpeg(coded, device=device))
                if device.type == "cuda"
                else (lambda: [decode_jpeg(x) for x in coded])
            )
            seconds = timed(call, device)
        yield f"decoding, torchvision, {device.type}", {"seconds_a_photo": seconds / len(files)}
    except Exception as error:  # no nvJPEG in this build, or no torchvision
        yield f"decoding, torchvision, {device.type}", {"error": repr(error)[:200]}
    batch = torch.rand(len(files), 3, args.view_size, args.view_size, device=device)
    jpeg = get_operator("jpeg")
    jpeg(batch[:2], 3)
    seconds = timed(lambda: jpeg(batch, 3), device)
    yield "degradation jpeg, codec on the host", {"seconds_a_view": seconds / len(batch)}
    try:
        from kornia.enhance import jpeg_codec_differentiable

        quality = torch.full((len(batch),), 36.0, device=device)
        jpeg_codec_differentiable(batch[:2], quality[:2])
        seconds = timed(lambda: jpeg_codec_differentiable(batch, quality), device)
        yield "degradation jpeg, kornia on the device", {"seconds_a_view": seconds / len(batch)}
    except Exception as error:
        yield "degradation jpeg, kornia on the device", {"error": repr(error)[:200]}


def training(args, out):
    """Train for as long as there is time; return what it took, and write the weights."""
    began = time.perf_counter()
    X = unpack(args.pack) if args.pack else []
    shares = np.full(args.jobs, args.leaves // args.jobs)
    leaves = Parallel(n_jobs=args.jobs)(
        delayed(make_dead_leaves)(int(n), textured=True, random_state=k)
        for k, n in enumerate(shares)
        if n
    )
    X += [image for part in leaves for image in part]
    how = {
        "objective": CANDIDATES[args.candidate](),
        "batch_size": min(args.train_batch, len(X)),
        "view_size": args.train_view_size,
        "trained_first_stages": args.first_stages,
        "device": args.device,
        "n_jobs": args.jobs,
        "random_state": 0,
    }
    authentic = np.zeros(len(X), bool)
    first = ContrastiveQualityEncoder(epochs=1, **how).fit(X, authentic=authentic)
    begun = time.perf_counter() - began
    epochs = max(1, int((args.train_seconds - begun) / first.history_[0]["seconds"]))
    encoder = ContrastiveQualityEncoder(epochs=epochs, **how).fit(X, authentic=authentic)
    seconds = time.perf_counter() - began - begun
    save(encoder, out / "contrast.skiqa")
    speed = np.median([epoch["images_per_second"] for epoch in encoder.history_])
    return {
        "candidate": args.candidate,
        "photos": len(X),
        "epochs": epochs,
        "views": 2 * epochs * (len(X) // how["batch_size"]) * how["batch_size"],
        "views_per_second": 2 * float(speed),
        "seconds": seconds,
        "loss": [round(loss, 4) for loss in encoder.loss_curve_],
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=["tests", "transform", "steps", "train"])
    parser.add_argument("--pack", type=Path, help="what pack.py has written; none: dead leaves")
    parser.add_argument("--out", type=Path, default=Path("found"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="decoding threads")
    parser.add_argument("--small", action="store_true", help="small numbers for all that follow")
    parser.add_argument("--minutes", type=float, default=8.0, help="training ends before")
    parser.add_argument("--test-seconds", type=float, default=90.0)
    parser.add_argument("--images", type=int, default=2000, help="of transform")
    parser.add_argument("--backbone", default="resnet50", help="of transform and of steps")
    parser.add_argument("--batch", type=int, default=128, help="photos a step, of steps")
    parser.add_argument("--step-view-size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=4, help="of the loop")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--precision", default="auto", help="of steps")
    parser.add_argument("--candidate", choices=CANDIDATES, default="arniqa")
    parser.add_argument("--train-seconds", type=float, default=240.0)
    parser.add_argument("--train-batch", type=int, default=128)
    parser.add_argument("--train-view-size", type=int, default=96)
    parser.add_argument("--first-stages", type=int, default=3)
    parser.add_argument("--leaves", type=int, default=500, help="dead leaves beside the pack")
    if "--small" in sys.argv:
        parser.set_defaults(**{**SMALL, "batch": SMALL["batch_size"], "train_batch": 8})
    args = parser.parse_args()
    args.photos, args.out = None, args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name if args.device == "auto" else args.device)
    found = Found(args.out, device)
    if "tests" in args.parts:
        found.add("tests", cuda_tests(args))
    if "transform" in args.parts:
        for what, numbers in transform_speed(args, device):
            found.add(what, numbers)
    if "steps" in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            for what, numbers in step_parts(args, folder):
                found.add(what, numbers)
            for what, numbers in jpeg_on_device(args, device, folder):
                found.add(what, numbers)
    if "train" in args.parts:
        left = 60 * args.minutes - (time.perf_counter() - found.began) - 15
        args.train_seconds = min(args.train_seconds, left)
        found.add("train", training(args, args.out))


if __name__ == "__main__":
    main()
