"""Kill work with SIGKILL at random moments, ten times over: does the same come out?

    python benchmarks/kill.py                      # QPT: queue and momentum encoder, too
    python benchmarks/kill.py --objective contrique --in-one-run
    python benchmarks/kill.py --command fit        # `skiqa fit --fine-tune 2 --cache-dir`
    python benchmarks/kill.py --command score --kills 20    # `skiqa score --csv --resume`

Each training is a process of its own, killed once and started again; with --in-one-run it is one
training that is killed ten times. Prints whether its weights have the bits of the run that was
never killed. A command is killed and given again, the same, until it ends: `fit` anywhere, `score`
after it has written a row more. Prints whether its scores have the same digits, and which temporary
files are left. POSIX only.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images

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


# Commands: what is given, what it writes.
COMMANDS = {
    "fit": (
        "fit ../ratings.csv --images ../photos --group-column group --out own.skiqa "
        "--cache-dir cache --fine-tune 2 --jobs 1",
        "own.skiqa",
    ),
    "score": ("score ../photos --csv s.csv --resume --jobs 1", "s.csv"),
}


def make_rated(folder, n_contents):
    """Write photos at five levels of blur each, and a table of ratings."""
    from skiqa.degradations import degrade

    rows = ["file,mos,group"]
    (folder / "photos").mkdir()
    for content in range(n_contents):
        photo = load_sample_images().images[content % 2]
        top, left = 4 * (content // 2), 8 * (content // 2)
        photo = Image.fromarray(photo[top : top + 180, left : left + 240])
        for level in range(1, 6):
            name = f"{content:02d}-{level}.png"
            degrade(photo, "gaussian_blur", level).save(folder / "photos" / name)
            rows.append(f"{name},{6 - level},{content}")
    (folder / "ratings.csv").write_text("\n".join(rows))


def skiqa(folder, command):
    """Start a command in a folder."""
    words = [sys.executable, "-m", "skiqa", *command.split()]
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(folder, command):
    """Run a command to its end; return what it printed."""
    process = skiqa(folder, command)
    output, errors = process.communicate()
    if process.returncode:
        sys.exit(f"skiqa {command} ended with {process.returncode}: {errors.decode()}")
    return output


def kill_at_random(folder, name, seconds):
    """Start a command and kill it; return whether it was not faster."""
    command, out = COMMANDS[name]
    process = skiqa(folder, command)
    if name == "score":  # once it has a row more
        seconds, before = 0.5, n_lines(folder / out)
        while process.poll() is None and n_lines(folder / out) <= max(1, before):
            time.sleep(0.002)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=random.uniform(0, seconds))
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def n_lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def result(folder, name):
    """Return what is to be equal: the rows, or all scores by the scorer that was fitted."""
    if name == "score":
        return (folder / "s.csv").read_bytes()
    return finish(folder, "score ../photos --model own.skiqa --csv - --jobs 1")


def kill_command(name, kills):
    """Kill a command that often; return how many of its results are not those of the whole run."""
    command, out = COMMANDS[name]
    with tempfile.TemporaryDirectory() as scratch:
        make_rated(Path(scratch), {"fit": 10, "score": 24}[name])
        whole = Path(scratch) / "whole"
        whole.mkdir()
        before = time.monotonic()
        finish(whole, command)
        seconds = time.monotonic() - before
        print(f"{name}: {seconds:.0f} s, never killed", flush=True)
        expected, done, equal = result(whole, name), 0, []
        while done < kills:
            folder, here = Path(scratch) / f"killed-{len(equal)}", 0
            folder.mkdir()
            while done < kills and kill_at_random(folder, name, seconds):
                done, here = done + 1, here + 1
                if name == "fit" and (folder / out).exists():  # it was about to end
                    break
            if name == "score" or not (folder / out).exists():
                finish(folder, command)
            equal.append(result(folder, name) == expected)
            print(f"killed {here} times, then to the end: equal {equal[-1]}", flush=True)
            for path in folder.rglob("*"):
                if path.suffix == ".tmp" or path.name.startswith("."):
                    print(f"left: {path.relative_to(folder)}, {path.stat().st_size} bytes")
        print(f"{done} kills, equal results: {sum(equal)} of {len(equal)}")
    return len(equal) - sum(equal)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objective", default="qpt")
    parser.add_argument("--command", choices=COMMANDS, help="a command, not a training")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--in-one-run", action="store_true", help="kill one training that often")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", metavar="DIR", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return train(args.objective, args.child)
    random.seed(args.seed)
    if args.command:
        return kill_command(args.command, args.kills) > 0
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
