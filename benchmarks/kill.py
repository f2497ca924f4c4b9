"""Kill a training with SIGKILL at a random step, ten times over: do the same weights come out?

    python benchmarks/kill.py                      # QPT: queue and momentum encoder, too
    python benchmarks/kill.py --objective contrique --in-one-run

Each training is a process of its own, killed once and started again; with --in-one-run it is one
training that is killed ten times. Prints whether its weights have the bits of the run that was
never killed. POSIX only.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

N_PHOTOS, BATCH, EPOCHS = 96, 8, 4
N_STEPS = EPOCHS * N_PHOTOS // BATCH


def train(objective, folder):
    """Train in this process; print a line after each step, and the digest of the weights."""
    import skiqa._training.checkpoints
    from skiqa import ContrastiveQualityEncoder
    from skiqa.datasets import make_dead_leaves

    class Steps:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            if context.task_name == "batch":
                print("step", flush=True)

    skiqa._training.checkpoints.CHECKPOINT_SECONDS = 0.1  # a minute is longer than this training
    photos = list(make_dead_leaves(N_PHOTOS, image_shape=(160, 160), min_radius=3, random_state=0))
    encoder = ContrastiveQualityEncoder(
        "mobilenetv3_small_100",
        weights=None,
        objective=objective,
        epochs=EPOCHS,
        batch_size=BATCH,
        view_size=64,
        checkpoint_dir=folder,
        random_state=0,
    )
    encoder.set_callbacks(Steps()).fit(photos)
    print("digest", encoder.state_.digest, flush=True)


def run(objective, folder, kill_after=None):
    """Start a training; kill it after some of its own steps, or return (digest, steps taken)."""
    command = [sys.executable, __file__, "--objective", objective, "--child", str(folder)]
    steps, digest = 0, None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line == "step\n":
                steps += 1
                if steps == kill_after:
                    time.sleep(random.uniform(0, 0.05))  # anywhere in the step that follows
                    os.kill(process.pid, signal.SIGKILL)
            elif line.startswith("digest"):
                digest = line.split()[1]
    if digest is None and process.returncode != -signal.SIGKILL:
        sys.exit(f"the training ended with {process.returncode}")
    return digest, steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objective", default="qpt")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--in-one-run", action="store_true", help="kill one training that often")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", metavar="DIR", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return train(args.objective, args.child)
    random.seed(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        whole, steps = run(args.objective, Path(scratch) / "whole")
        print(f"{args.objective}, {steps} steps, never killed: {whole[:16]}")
        equal = []
        if args.in_one_run:
            folder = Path(scratch) / "one"
            for kill in range(args.kills):
                digest, steps = run(
                    args.objective, folder, random.randint(1, N_STEPS // args.kills)
                )
                if digest is not None:
                    sys.exit("the training ended before it was killed often enough")
                print(f"kill {kill + 1} in the step after its {steps}", flush=True)
            digest, steps = run(args.objective, folder)
            equal.append(digest == whole)
            print(f"then {steps} steps to the end: {digest[:16]}")
        else:
            for kill in range(args.kills):
                folder = Path(scratch) / str(kill)
                digest, before = run(args.objective, folder, random.randint(1, N_STEPS - 2))
                digest, after = run(args.objective, folder)
                equal.append(digest == whole)
                print(f"killed in the step after {before}, then {after} more: {digest[:16]}")
        print(f"bits equal: {sum(equal)} of {len(equal)}")
        return sum(equal) < len(equal)


if __name__ == "__main__":
    sys.exit(main())
