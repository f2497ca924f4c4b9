"""What a training step costs, part by part, and its memory with and without micro-batches.

    python benchmarks/train.py [--objective contrique] [--backbone resnet18] [--photos DIR]
    python benchmarks/train.py --part memory

speed   milliseconds a view for decoding, degradations, forward, backward and the rest, each run
        alone; then whole steps of the training loop, decoding ahead in a thread, against forward +
        backward on a batch that is in memory already: the ratio is what all else costs.
memory  peak memory of a fresh process for one step, by batch size, all at once and in
        micro-batches; what the process holds before it is taken off.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

import numpy as np
import torch
from extract import chosen_photos

from skiqa._encoder import ContrastiveQualityEncoder
from skiqa._inputs.containers import as_image_list
from skiqa._inputs.prefetch import iter_decoded
from skiqa._network.build import random_state_of
from skiqa._network.device import resolve_device, training_dtype
from skiqa._training.checkpoints import NoFolder
from skiqa._training.loop import train
from skiqa._training.schedule import Plan, cut_window, sample_seeds
from skiqa._training.trainer import Trainer
from skiqa.objectives import OBJECTIVES


def trainer_of(args, batch_size, micro_batch_size=None):
    """Return a trainer as `fit` makes it, from random weights."""
    device = resolve_device(args.device, strict=True)
    state = random_state_of(args.backbone, 0)
    depthwise = any(a.ndim == 4 and a.shape[1] == 1 for a in state.networks[0].values())
    dtype = training_dtype(args.precision, device, depthwise=depthwise)
    plan = Plan(
        epochs=1,
        batch_size=batch_size,
        view_size=args.view_size,
        learning_rate=1e-3,
        weight_decay=1e-4,
        train_statistics=True,
        micro_batch_size=micro_batch_size,
    )
    return Trainer(state, OBJECTIVES[args.objective](), plan, device, dtype, 0)


class Clock:
    """Best time of each of several parts, over rounds."""

    def __init__(self, device):
        self.device, self.best = device, {}

    @contextmanager
    def __call__(self, name):
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        self.best[name] = min(self.best.get(name, np.inf), time.perf_counter() - began)

    def _wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class NoHooks:
    """A training loop that tells nobody."""

    def epoch_begins(self, n_steps):
        pass

    def step_ended(self, loss):
        pass

    def epoch_ended(self, trainer):
        return False


def part_times(args, photos):
    """Return ({part: best seconds of a step}, trainer, views with a gradient) of an objective.

    `photos` are an ImageList of args.batch_size x args.steps.
    """
    trainer, n = trainer_of(args, args.batch_size), args.batch_size
    device, objective = trainer.device, trainer.objective
    size, clock = objective.window_size(args.view_size), Clock(device)
    seeds = sample_seeds(0, 0, range(n))
    marks = torch.zeros(n, dtype=torch.int64)
    fill = objective.fills_windows
    for _ in range(args.rounds):
        with clock("decode"):
            decoded = iter_decoded(photos, n_jobs=1, prefetch=4, on_error="raise", indices=range(n))
            windows = [
                cut_window(photo, size, seed, fill=fill)
                for (_, photo), seed in zip(decoded, seeds, strict=True)
            ]
            windows = np.stack(windows) if fill else windows
        with clock("degrade"):
            views, labels = trainer.views(windows, torch.arange(n), marks, seeds)
        with clock("forward"), torch.no_grad():
            trainer._outputs(views if trainer.memory is None else views[0], 0)
        with clock("forward + backward"):
            trainer.optimizer.zero_grad(set_to_none=True)
            trainer.gradients(views, labels, 0)
        with clock("optimizer"):
            trainer.optimizer.step()
        fresh, unknown = trainer_of(args, n), np.zeros(len(photos), dtype=np.int64)
        how = {"n_jobs": args.jobs, "on_error": "raise", "hooks": NoHooks(), "folder": NoFolder()}
        train(fresh, photos, unknown, **how)
        step = fresh.history[0]["seconds"] * n / len(photos)  # without the filling of a queue
        clock.best["loop"] = min(clock.best.get("loop", np.inf), step)
    return clock.best, trainer, len(views if trainer.memory is None else views[0])


def speed(args):
    with tempfile.TemporaryDirectory() as scratch:
        args.n = args.batch_size * args.steps
        photos = as_image_list(chosen_photos(args, scratch)[: args.n])
        seconds, trainer, n_views = part_times(args, photos)
    n, device = args.batch_size, trainer.device
    best = {name: 1000 * value / n_views for name, value in seconds.items()}
    both, step = best["forward + backward"], best["loop"]
    rows = {
        "decoding, one thread": best["decode"],
        "degradations, crops": best["degrade"],
        "forward": best["forward"],
        "backward and loss": both - best["forward"],
        "optimizer": best["optimizer"],
        "whole step of the loop": step,
    }
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(
        f"{args.objective}, {args.backbone}, {n} photos a step, {n_views} views with gradient of "
        f"{args.view_size} px, {trainer.dtype or torch.float32}, {where}, "
        f"{torch.get_num_threads()} threads, decoding ahead in {args.jobs}\n"
    )
    print("| part | ms a view | share of forward + backward |\n| --- | --- | --- |")
    for name, value in rows.items():
        print(f"| {name} | {value:.2f} | {value / both:.2f} |")
    print(
        f"\n{1000 / step * n / n_views:.1f} photos/s, {1000 / step:.1f} views/s; "
        f"a step is {step / both:.2f}x forward + backward"
    )


def one_step(args):
    """Take a step and print how far memory rose, as JSON: run in a process of its own."""
    trainer = trainer_of(args, args.batch_size, args.micro_batch_size)
    cuda = trainer.device.type == "cuda"
    size = trainer.objective.window_size(args.view_size)
    windows = np.random.default_rng(0).integers(0, 256, (args.batch_size, size, size, 3), np.uint8)
    seeds, index = sample_seeds(0, 0, range(args.batch_size)), torch.arange(args.batch_size)
    before = 0 if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    trainer.step_on(windows, index, torch.zeros_like(index), seeds, 1.0)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else after
    print(json.dumps({"gib": peak - before}))


def memory(args):
    micro = args.micro_batch_size or 32
    print(f"{args.objective}, {args.backbone}, {args.view_size} px: GiB that one step takes\n")
    print(f"| photos a step | all at once | micro-batches of {micro} views |\n| --- | --- | --- |")
    for batch in (32, 64, 128, 256):
        cells = []
        for size in (0, micro):
            command = [sys.executable, __file__, "--part", "step", "--batch-size", str(batch)]
            for name in ("objective", "backbone", "view_size", "device", "precision"):
                command += ["--" + name.replace("_", "-"), str(getattr(args, name))]
            if size:
                command += ["--micro-batch-size", str(size)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            cells.append(f"{json.loads(done.stdout.splitlines()[-1])['gib']:.2f}")
        print(f"| {batch} | {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["speed", "memory", "step"], default="speed")
    parser.add_argument("--objective", choices=sorted(OBJECTIVES), default="contrique")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--batch-size", type=int, default=32, help="photos a step")
    parser.add_argument("--micro-batch-size", type=int, help="views that run at a time")
    parser.add_argument("--view-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4, help="of the loop, each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", help="a folder; default: generated ones, 512 x 512")
    parser.add_argument("--jobs", type=int, default=1, help="decoding threads")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default=ContrastiveQualityEncoder().precision)
    args = parser.parse_args()
    {"speed": speed, "memory": memory, "step": one_step}[args.part](args)


if __name__ == "__main__":
    main()
