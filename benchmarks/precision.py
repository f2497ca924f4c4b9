"""What short floats and huge pages change on this CPU: CPU seconds of a training step and a photo.

    python benchmarks/precision.py
    THP_MEM_ALLOC_ENABLE=1 python benchmarks/precision.py

step   forward and backward pass of 64 views of 128 pixels, float32 and autocast to bfloat16.
photo  forward pass of one photo of 512 pixels, weights in float32 and in bfloat16.

Ratios above 1 say that bfloat16 is faster. Each number is the least of several runs on one thread;
CPU seconds, so that other work on the machine changes them less.
"""

import argparse
import resource
import time

import torch

from skiqa._network.stages import Stages, seeded

NETWORKS = ("resnet18", "resnet50", "mobilenetv3_small_100", "tf_efficientnet_lite0")


def least(function, repeats):
    """Return the least CPU seconds of several calls, after one that does not count."""
    function()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return min(seconds)


def input_of(n, side, dtype=torch.float32):
    return torch.rand(n, 3, side, side).to(dtype, memory_format=torch.channels_last)


def step_seconds(name, dtype, repeats):
    network, views = Stages(name).to(memory_format=torch.channels_last), input_of(64, 128)

    def step():
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            last = network(views)
        last.float().mean().backward()

    return least(step, repeats)


def photo_seconds(name, dtype, repeats):
    network = Stages(name).eval().to(dtype, memory_format=torch.channels_last)
    photo = input_of(1, 512, dtype)

    def forward():
        with torch.inference_mode():
            network(photo)

    return least(forward, repeats)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="timm's names")
    parser.add_argument("--repeats", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | what | float32 | bfloat16 | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for name in args.networks:
        for what, seconds in (("step", step_seconds), ("photo", photo_seconds)):
            with seeded(0):
                a, b = (seconds(name, d, args.repeats) for d in (torch.float32, torch.bfloat16))
            print(f"| {name} | {what} | {a:.3f} | {b:.3f} | {a / b:.2f} |", flush=True)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_minflt:,} page faults")


if __name__ == "__main__":
    main()
