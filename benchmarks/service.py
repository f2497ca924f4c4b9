"""What a service needs to know: threads, milliseconds, memory, files, and signs of drift.

    python benchmarks/service.py [--part threads] [--rounds 3]
    python benchmarks/service.py --part drift [--photos DIR ...]

threads  photos/s of 512 x 512 by so many workers (threads that call ``predict`` of one model), with
         so many threads within the network, each in a process of its own; against one and one.
sizes    milliseconds and peak memory for one JPEG of 0.25, 4 and 24 megapixels, on all cores,
         against Pillow's decoding of the same file.
files    the bundled scorer in each kind of file: size, and milliseconds to load, against the file
         that ships.
drift    scores and norms of features of photos, of the same ones degraded, and of what is no photo.

Rounds go in turn, so that other work on the machine meets all alike; medians are printed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from extract import make_photos, peak_bytes, photos_of

CORES = os.cpu_count() or 1
SIZES = ((500, 500), (2000, 2000), (6000, 4000))


def median_ms(function: Callable[[], object], repeats: int) -> float:
    """Return the median milliseconds of several calls, after one that does not count."""
    function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def in_child(task: str, *arguments: object, threads: int = CORES) -> dict[str, float]:
    """Run one of the functions `child_...` in a fresh process; return what it returns."""
    command = [sys.executable, __file__, "--child", json.dumps([task, *arguments])]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    print("| " + " | ".join(header) + " |")
    print("| --- |" + " ---: |" * (len(header) - 1))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


# ---------------------------------------------------------------- threads


def child_threads(folder: str, workers: int) -> dict[str, float]:
    """Score a folder by so many workers: what a server's threads do with single photos."""
    import skiqa

    model = skiqa.load_model()
    photos = [Path(path).read_bytes() for path in photos_of(folder)]

    def milliseconds(photo: bytes) -> float:
        start = time.perf_counter()
        model.predict([photo])
        return 1000 * (time.perf_counter() - start)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(milliseconds, photos[: 2 * workers]))
        start, cpu = time.perf_counter(), time.process_time()
        each = list(pool.map(milliseconds, photos))
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        "rate": len(photos) / seconds,
        "ms": statistics.median(each),
        "cpu": 1000 * cpu / len(photos),
        "peak": peak_bytes() / 2**20,
    }


def threads(args: argparse.Namespace) -> None:
    """Print photos/s of each way to use the cores, against one worker and one thread."""
    ways = sorted({(1, 1), (1, CORES), (CORES, 1), (CORES, CORES), (2 * CORES, 1)})
    found: dict[tuple[int, int], list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        make_photos(folder, args.n, 512, 512)
        for _ in range(args.rounds):
            for workers, within in ways:
                result = in_child("threads", folder, workers, threads=within)
                found[workers, within].append(result)
    medians = {
        way: {key: statistics.median(one[key] for one in results) for key in results[0]}
        for way, results in found.items()
    }
    print(f"{CORES} cores, {args.n} photos of 512 x 512, median of {args.rounds} rounds\n")
    header = ("workers x threads", "photos/s", "over 1 x 1", "ms a photo", "CPU ms", "peak MiB")
    rows = [
        (
            f"{workers} x {within}",
            f"{one['rate']:.1f}",
            f"{one['rate'] / medians[1, 1]['rate']:.2f}",
            f"{one['ms']:.0f}",
            f"{one['cpu']:.0f}",
            f"{one['peak']:.0f}",
        )
        for (workers, within), one in medians.items()
    ]
    print_table(header, rows)


# ---------------------------------------------------------------- sizes


def child_size(file: str, repeats: int) -> dict[str, float]:
    """Decode and score one photo, or load the scorer only; return milliseconds and memory."""
    from PIL import Image

    import skiqa

    model = skiqa.load_model()
    model.predict([Image.new("RGB", (64, 64))])
    if not file:
        return {"peak": peak_bytes() / 2**20}
    photo = Path(file).read_bytes()
    decode = median_ms(lambda: Image.open(io.BytesIO(photo)).convert("RGB"), repeats)
    score = median_ms(lambda: model.predict([photo]), repeats)
    return {"decode": decode, "score": score, "peak": peak_bytes() / 2**20}


def sizes(args: argparse.Namespace) -> None:
    """Print time and memory of one photo of each size, against its decoding."""
    print(f"{CORES} cores; loaded and idle: {in_child('size', '', 0)['peak']:.0f} MiB\n")
    rows = []
    for width, height in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            make_photos(folder, 1, width, height)
            (file,) = photos_of(folder)
            one = in_child("size", file, args.rounds)
            megabytes = Path(file).stat().st_size / 1e6
        times = (
            f"{one['decode']:.0f}",
            f"{one['score']:.0f}",
            f"{one['score'] / one['decode']:.0f}",
        )
        rows.append((f"{width * height / 1e6:g}", f"{megabytes:.2f}", *times, f"{one['peak']:.0f}"))
    header = ("megapixels", "JPEG, MB", "decode, ms", "score, ms", "score / decode", "peak MiB")
    print_table(header, rows)


# ---------------------------------------------------------------- files


def files(args: argparse.Namespace) -> None:
    """Print size and loading time of the bundled scorer in each kind of file."""
    import joblib

    import skiqa
    from skiqa import persistence

    model = skiqa.load_model()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        writers = {
            "half.skiqa": lambda path: persistence.save(model, path, half=True),
            "full.skiqa": lambda path: persistence.save(model, path),
            "scorer.skops": lambda path: persistence.save(model, path),
            "scorer.joblib": lambda path: joblib.dump(model, path),
        }
        shipped = 0.0
        for name, write in writers.items():
            path = Path(scratch, name)
            write(path)
            load = joblib.load if path.suffix == ".joblib" else persistence.load
            ms = median_ms(lambda load=load, path=path: load(path), max(3, args.rounds))
            shipped = shipped or ms
            megabytes = f"{path.stat().st_size / 1e6:.1f}"
            rows.append((name, megabytes, f"{ms:.0f}", f"{ms / shipped:.2f}"))
    print_table(("file", "MB", "ms to load", "over half.skiqa"), rows)


# ---------------------------------------------------------------- drift


def drift(args: argparse.Namespace) -> None:
    """Print scores and norms of photos, of degraded ones, and of what is none."""
    import numpy as np
    from PIL import Image, ImageDraw

    import skiqa
    from skiqa.datasets import make_dead_leaves
    from skiqa.degradations import degrade

    def reduced(path: str) -> Image.Image:
        with Image.open(path) as photo:
            photo = photo.convert("RGB")
        photo.thumbnail((512, 512))
        return photo

    def text(seed: int) -> Image.Image:
        page, rng = Image.new("RGB", (512, 512), "white"), np.random.default_rng(seed)
        for y in range(10, 500, 14):
            words = "".join(rng.choice(list("abcdefghijklmnop    "), 80))
            ImageDraw.Draw(page).text((10, y), words, fill="black")
        return page

    kinds = {}
    with tempfile.TemporaryDirectory() as scratch:
        if not args.photos:
            make_photos(scratch, args.n, 512, 512)
        for folder in args.photos or [scratch]:
            paths = photos_of(folder)
            every = max(1, len(paths) // args.n)
            kinds[f"photos, {Path(folder).name}"] = [reduced(p) for p in paths[::every][: args.n]]
    first = next(iter(kinds.values()))
    for name in ("gaussian_blur", "white_noise", "jpeg", "darken"):
        kinds[f"the first ones, {name} 5"] = [degrade(photo, name, 5) for photo in first]
    kinds["pages of text"] = [text(seed) for seed in range(8)]
    kinds["dead leaves"] = list(make_dead_leaves(8, random_state=0))
    kinds["black"] = [np.zeros((256, 256, 3), np.uint8)]
    model, rows = skiqa.load_model(), []
    for name, images in kinds.items():
        features = model[:-1].transform(images)
        cells = []
        for values, digits in (
            (model[-1].predict(features), 0),
            (np.linalg.norm(features, axis=1), 2),
        ):
            low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
            cells.append(f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
        rows.append((name, len(images), *cells))
    print_table(("images", "n", "score, median (90 %)", "norm, median (90 %)"), rows)


PARTS = {"threads": threads, "sizes": sizes, "files": files, "drift": drift}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS, help="default: all four")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--n", type=int, default=32, help="photos of threads, and of drift")
    parser.add_argument("--photos", nargs="*", help="folders for drift; default: generated")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        task, *arguments = json.loads(args.child)
        print(json.dumps({"threads": child_threads, "size": child_size}[task](*arguments)))
        return
    for part, measure in PARTS.items():
        if args.part in (None, part):
            print(f"## {part}\n")
            measure(args)


if __name__ == "__main__":
    main()
