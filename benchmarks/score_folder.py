"""What `skiqa score` costs for a folder of photos, against decoding, an earlier version, and peers.

    python benchmarks/score_folder.py [--large DIR] [--small DIR] [--n 200]
        [--earlier CHECKOUT] [--peers-python VENV/bin/python] [--part folders|first|huge]

folders   200 photos of 4000 x 3000 (cut from those of --large, resized, JPEG 90), and 200 of
          512 x 512 (copies of those of --small): photos a second, CPU-seconds a photo and peak
          memory of a new process for the folder, start included.
first     seconds and CPU-seconds from the start of a process to the score of one small photo,
          against importing torch: medians, the commands in turn.
huge      peak memory for one JPEG and one PNG of 100 megapixels, against decoding it.

The baseline of folders is decoding alone, by Pillow, on all cores. What is slow gets fewer of the
large photos, as the table says; a run with one tells start from photos, and CPU-seconds are for
the whole folder then. Photos a second are those of the run as it was. CPU-seconds are those of the
process and all it started; on a machine that others use they hold better, the more so with
OMP_WAIT_POLICY=PASSIVE, without which threads that wait for a core count as busy.

Peers are pyiqa's ARNIQA and BRISQUE by its own command, at the photos' own size, which is what it
does. Nothing is downloaded: networks and support vectors of the right shapes are drawn at random,
which changes scores, not time. Without --large or --small, photos are made from scikit-learn's two.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from extract import make_photos, photos_of
from service import print_table

ROOT = Path(__file__).resolve().parents[1]
LARGE, SMALL, HUGE = (4000, 3000), (512, 512), (11600, 8700)
CORES = os.cpu_count() or 1


# ---------------------------------------------------------------- measuring


@dataclass(frozen=True)
class Cost:
    """What a process took; `first` is when its first score stood on standard output."""

    seconds: float
    cpu: float
    peak: float
    first: float


@dataclass(frozen=True)
class Way:
    """A way to go through photos: its name, a command that lacks the path, and its environment."""

    name: str
    command: tuple[str, ...]
    python_path: Path | None = None
    n: int | None = None  # photos of 12 megapixels that it gets; None: all
    rows: bool = False  # a CSV as it goes, with a header; else all scores at the end

    def run(self, path: str | Path, limit: float) -> Cost:
        """Run the command on a file or folder, for so many seconds at most."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        if self.python_path is not None:
            environment["PYTHONPATH"] = str(self.python_path)
        command, first = [*self.command, str(path)], None
        with tempfile.TemporaryFile("w+") as errors:
            start = time.perf_counter()
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            timer = threading.Timer(limit, process.kill)
            timer.start()
            for i, _ in enumerate(process.stdout or ()):
                if i == 1 and self.rows:
                    first = time.perf_counter() - start
            _, status, usage = os.wait4(process.pid, 0)  # children that it waited for count, too
            seconds = time.perf_counter() - start
            timer.cancel()
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                errors.seek(0)
                said = errors.read().strip().splitlines()[-1:] if seconds < limit else ["too slow"]
                raise ChildProcessError(f"ended with {process.returncode}: {' '.join(said)}")
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return Cost(seconds, usage.ru_utime + usage.ru_stime, peak / 2**20, first or seconds)


def child(python: str, task: str, *words: object) -> tuple[str, ...]:
    """Return a command that runs a function of this file.

    This process stays small: what it starts would inherit its peak.
    """
    return (python, __file__, "--child", task, *map(str, words))


DECODING = Way("decoding by Pillow", child(sys.executable, "decode", 1))
HALF = Way("decoding at half the scale", child(sys.executable, "decode", 2))
SCORE = (sys.executable, "-m", "skiqa", "score", "--csv", "-")
OURS = Way("`skiqa score`", SCORE, ROOT, rows=True)


def native(args: argparse.Namespace) -> Way:
    command = (*SCORE, "--max-pixels", "native")
    return Way("`--max-pixels native`", command, ROOT, args.n_native, rows=True)


def others(args: argparse.Namespace) -> list[Way]:
    """Return the earlier version and the peers that can be had."""
    found = []
    if args.earlier:
        found.append(Way("earlier `skiqa score`", SCORE, args.earlier, args.n_earlier, rows=True))
    if args.peers_python:
        for name in ("ARNIQA", "BRISQUE"):
            command = child(args.peers_python, "pyiqa", name.lower())
            found.append(Way(f"pyiqa's {name}", command, n=args.n_peers))
    return found


# ---------------------------------------------------------------- photos and decoding, in a child


def child_make(kind: str, source: str, folder: str, n: str) -> None:
    """Write photos of a kind to a folder."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    if source == "-":
        make_photos(folder, int(n), *(LARGE if kind == "large" else SMALL))
    elif kind == "small":
        paths = photos_of(source)
        for path in paths[:: max(1, len(paths) // int(n))][: int(n)]:
            shutil.copy(path, folder)
    else:
        paths, rng = photos_of(source), random.Random(0)
        for k, path in enumerate(paths):
            photo = Image.open(path).convert("RGB")
            for i in range(k, int(n), len(paths)):
                width = min(photo.width, photo.height * 4 / 3) * rng.uniform(0.75, 1)
                height = width * 3 / 4
                left = rng.uniform(0, photo.width - width)
                top = rng.uniform(0, photo.height - height)
                box = (left, top, left + width, top + height)
                cut = photo.resize(LARGE, Image.Resampling.LANCZOS, box=box)
                cut.save(Path(folder, f"{i:05d}.jpg"), quality=90)


def child_enlarge(source: str, suffix: str, target: str) -> None:
    from PIL import Image

    options = {"quality": 90} if suffix == ".jpg" else {"compress_level": 1}
    with Image.open(source) as photo:
        photo.convert("RGB").resize(HUGE, Image.Resampling.BICUBIC).save(target, **options)


def child_decode(scale: str, path: str) -> None:
    """Decode a photo, or a folder's, on all cores."""
    from concurrent.futures import ThreadPoolExecutor

    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None

    def decode(file: str) -> None:
        with Image.open(file) as photo:
            photo.draft("RGB", (photo.width // int(scale), photo.height // int(scale)))
            photo.convert("RGB")

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(decode, photos_of(path) if Path(path).is_dir() else [path]))


def child_torch(path: str) -> None:
    """Import torch, and look at no photo."""
    import torch  # noqa: F401


# ---------------------------------------------------------------- peers, in a child


def child_pyiqa(metric: str, path: str) -> None:
    """Run pyiqa's command with weights drawn at random where it would download them."""
    import torch
    import torchvision
    from pyiqa import pyiqa_cmd
    from pyiqa.archs import arniqa_arch, brisque_arch

    def network(*_: object, **__: object) -> dict[str, torch.Tensor]:
        return torchvision.models.resnet50().state_dict()

    def encoder(*_: object, **__: object) -> dict[str, torch.Tensor]:
        layers = list(torchvision.models.resnet50().children())[:-1]
        state = torch.nn.Sequential(*layers).state_dict()
        return {f"model.{key}": value for key, value in state.items()}

    with tempfile.TemporaryDirectory() as scratch:
        regressor, vectors = str(Path(scratch, "regressor.pt")), str(Path(scratch, "vectors.pt"))
        linear = torch.jit.trace(torch.nn.Linear(4096, 1), torch.zeros(1, 4096))
        torch.jit.save(linear, regressor)
        torch.save((torch.randn(774), torch.randn(774, 36)), vectors)  # as many as BRISQUE's
        torchvision.models.ResNet50_Weights.get_state_dict = network
        torch.hub.load_state_dict_from_url = encoder
        arniqa_arch.load_file_from_url = lambda *_, **__: regressor
        brisque_arch.load_file_from_url = lambda *_, **__: vectors
        sys.argv = ["pyiqa", metric, "-t", path, "--device", "cpu"]
        pyiqa_cmd.main()


# ---------------------------------------------------------------- parts


def make(kind: str, source: str | None, folder: str | Path, n: int) -> list[str]:
    """Make photos in a process of its own; return their paths."""
    subprocess.run([*child(sys.executable, "make", kind, source or "-", folder, n)], check=True)
    return photos_of(folder)


def folder_cost(way: Way, folder: str, few: int | None, limit: float) -> tuple[Cost, int]:
    """Return what some photos of a folder cost, with CPU-seconds for all, and how many they are."""
    paths = photos_of(folder)
    n = len(paths) if few is None else min(max(2, few), len(paths))
    with tempfile.TemporaryDirectory() as part:
        every = len(paths) // n
        for path in paths[::every][:n]:
            os.link(path, Path(part, Path(path).name))
        cost = way.run(part, n * limit)
    if n < len(paths):
        photo = (cost.cpu - way.run(paths[0], limit).cpu) / (n - 1)
        cost = replace(cost, cpu=cost.cpu + (len(paths) - n) * photo)
    return cost, n


def folders(args: argparse.Namespace) -> None:
    """Print what folders of large and of small photos cost."""
    for kind, source, (width, height) in (
        ("large", args.large, LARGE),
        ("small", args.small, SMALL),
    ):
        with tempfile.TemporaryDirectory() as folder:
            paths = make(kind, source, folder, args.n)
            megabytes = statistics.mean(Path(path).stat().st_size for path in paths) / 1e6
            print(f"{len(paths)} photos of {width} x {height}, {megabytes:.2f} MB on average\n")
            costs: dict[str, tuple[Cost, int]] = {}
            # small photos are looked at as they are anyway
            ways = [DECODING, HALF, OURS, native(args)] if kind == "large" else [DECODING, OURS]
            for way in [*ways, *others(args)]:
                few = way.n if kind == "large" else None
                try:
                    costs[way.name] = folder_cost(way, folder, few, args.limit)
                except ChildProcessError as error:
                    print(f"{way.name}: left out, {error}\n")
                print(f"{kind}, {way.name}: {costs.get(way.name)}", file=sys.stderr, flush=True)
        (base, _), (ours, _) = costs[DECODING.name], costs[OURS.name]
        rows = [
            (
                name,
                n,
                three_digits(n / cost.seconds),
                three_digits(cost.cpu / len(paths)),
                f"{cost.peak:.0f}",
                three_digits(cost.cpu / base.cpu),
                three_digits(cost.cpu / ours.cpu),
            )
            for name, (cost, n) in costs.items()
        ]
        header = ("", "photos run", "photos/s", "CPU-s a photo", "peak MiB")
        print_table((*header, "CPU over decoding", "over `skiqa score`"), rows)


def first(args: argparse.Namespace) -> None:
    """Print how long one waits for the score of one small photo."""
    chosen = [Way("importing torch", child(sys.executable, "torch")), OURS, *others(args)]
    with tempfile.TemporaryDirectory() as folder:
        path = make("small", args.small, folder, 1)[0]
        found: dict[str, list[Cost]] = {way.name: [] for way in chosen}
        for _ in range(args.rounds):
            for way in chosen:
                found[way.name].append(way.run(path, args.limit))
    rows, base = [], 0.0
    for name, costs in found.items():
        seconds = statistics.median(cost.first for cost in costs)
        cpu = statistics.median(cost.cpu for cost in costs)
        base = base or cpu
        peak = statistics.median(cost.peak for cost in costs)
        rows.append((name, f"{seconds:.1f}", f"{cpu:.1f}", f"{peak:.0f}", f"{cpu / base:.2f}"))
    print_table(("", "s to first score", "CPU-s", "peak MiB", "CPU over importing torch"), rows)


def huge(args: argparse.Namespace) -> None:
    """Print the peak memory of one very large photo."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source = make("large", args.large, folder, 1)[0]
        for suffix in (".jpg", ".png"):
            path = str(Path(folder, f"huge{suffix}"))
            subprocess.run([*child(sys.executable, "enlarge", source, suffix, path)], check=True)
            megabytes = Path(path).stat().st_size / 1e6
            base = 0.0
            for way in (DECODING, OURS):
                cost = way.run(path, args.limit)
                base = base or cost.peak
                name = f"{suffix[1:].upper()}, {way.name}"
                cells = (megabytes, cost.seconds, cost.cpu, cost.peak, cost.peak / base)
                rows.append((name, *map(three_digits, cells)))
    print_table(("", "MB", "s", "CPU-s", "peak MiB", "memory over decoding"), rows)


def three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "folders": folders,
    "first": first,
    "huge": huge,
}
CHILDREN: dict[str, Callable[..., None]] = {
    "make": child_make,
    "enlarge": child_enlarge,
    "decode": child_decode,
    "torch": child_torch,
    "pyiqa": child_pyiqa,
}


def main(words: Sequence[str]) -> None:
    if words[:1] == ["--child"]:
        CHILDREN[words[1]](*words[2:])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS, help="default: all three")
    parser.add_argument("--large", help="folder of photos of 5 megapixels or more")
    parser.add_argument("--small", help="folder of photos of 512 x 512")
    parser.add_argument("--n", type=int, default=200, help="photos of a folder")
    parser.add_argument("--earlier", type=Path, help="checkout of an earlier version")
    parser.add_argument("--peers-python", help="an interpreter that has pyiqa")
    for name, n in (("native", 6), ("earlier", 6), ("peers", 3)):
        parser.add_argument(f"--n-{name}", type=int, default=n, help="large photos for these")
    parser.add_argument("--limit", type=float, default=600, help="seconds a photo, at most")
    parser.add_argument("--rounds", type=int, default=3, help="first: how often each is run")
    args = parser.parse_args(words)
    if not args.earlier:
        print("No earlier version: --earlier names none.\n")
    if not args.peers_python:
        print("No peers: --peers-python names none.\n")
    for part, measure in PARTS.items():
        if args.part in (None, part):
            print(f"## {part}\n", flush=True)
            measure(args)


if __name__ == "__main__":
    main(sys.argv[1:])
