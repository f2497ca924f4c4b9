"""Hostile files, made of good ones: what `skiqa score` and `skiqa.persistence.load` do with them.

    OMP_NUM_THREADS=1 python benchmarks/hostile.py [--photos DIR]   # pictures
    OMP_NUM_THREADS=1 python benchmarks/hostile.py --models         # of hostile_models.py
    OMP_NUM_THREADS=1 python benchmarks/hostile.py --bombs          # four of 169 megapixels

pictures    In every format of `damage.py`, 300 x 200 and some of 2400 x 1600: bits flipped, bytes
            dropped, the end cut off, pieces of other files spliced in; half of it in the first 400
            bytes. All go through one `skiqa score --csv`, which shall give each a row. "ruined" is
            as in `damage.py`: over a tenth of the area differs, or the size does.
bombs       PNGs of 13,000 x 13,000 pixels in 2.2 MB each, with --jobs 4.

Exit status 1 if a process ended or took 2 GiB, a file took over 5 s, or anything else came out.
POSIX only. The files stay in --work, if it is given.
"""

import argparse
import csv
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from damage import FORMATS, encode, ruined
from PIL import Image
from sklearn.datasets import load_sample_images

from skiqa._inputs.decode import to_rgb

SMALL = 300, 200
SLOW, LARGE = 5.0, 2 * 2**30  # seconds for a file, bytes for a process
HARM = ("flips", "drops", "cut", "splice")
SUFFIXES = {"JPEG": "jpg", "JPEG2000": "jp2"}


def hurt(data, how, rng, others):
    """Return the bytes of a file after some harm."""
    data = bytearray(data)
    end = len(data) if rng.random() < 0.5 else min(400, len(data))
    at, length = rng.randrange(end), int(2 ** rng.uniform(0, 11))
    if how == "flips":
        for _ in range(rng.choice((1, 1, 3, 16))):
            data[rng.randrange(end)] ^= 1 << rng.randrange(8)
    elif how == "drops":
        del data[at : at + length]
    elif how == "cut":
        del data[max(1, at) :]
    else:
        other = rng.choice(others)
        start = rng.randrange(len(other))
        data[at : at + rng.choice((0, length))] = other[start : start + length]
    return bytes(data)


# A process begins with the peak of the one that it was split from: this one stands between.
LAUNCHER = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
open(sys.argv[1], "w").write(f"{status} {peak * (1 if sys.platform == 'darwin' else 1024)}")
"""


def watched(command):
    """Run a command; return (exit status, [(line, seconds it took)], standard error, peak)."""
    lines, before = [], None
    with tempfile.TemporaryFile("w+") as errors, tempfile.NamedTemporaryFile() as report:
        words = (sys.executable, "-c", LAUNCHER, report.name, *command)
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            for line in process.stdout:
                now = time.monotonic()
                lines.append((line, now - (before or now)))
                before = now
        errors.seek(0)
        status, peak = map(int, Path(report.name).read_text().split())
        return status, lines, errors.read(), peak


# Pictures -----------------------------------------------------------------------------------------


def good_pictures(folder, rng):
    """Return {format: its good files, as bytes}: seven small ones and a large one."""
    photos = [Image.fromarray(image) for image in load_sample_images().images]
    if folder is not None:
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
        photos += [Image.open(p).convert("RGB") for p in rng.sample(paths, 20)]
    good = defaultdict(list)
    for name, (format, options) in FORMATS.items():
        for size in [SMALL] * 7 + [(2400, 1600)]:
            photo = rng.choice(photos)
            left, top = (
                rng.randrange(max(1, side - s)) for side, s in zip(photo.size, SMALL, strict=True)
            )
            box = (left, top, left + 300, top + 200)
            photo = photo.crop(box) if size == SMALL else photo.resize(size)
            try:
                data = encode(photo.quantize(256) if format == "GIF" else photo, format, options)
            except (ImportError, KeyError):
                print(f"{name} is left out: this machine cannot write it")
                break
            good[name].append(data)
    return good


def write_pictures(folder, good, n, rng):
    """Write hostile files; return {path: (format, the good file, how it was hurt)}."""
    made = {}
    everything = [data for files in good.values() for data in files]
    for i in range(n):
        name = list(good)[i % len(good)]
        format, how = FORMATS[name][0], rng.choice(HARM)
        whole = good[name][7 if rng.random() < 0.05 else rng.randrange(7)]
        others = good[name] if rng.random() < 0.5 else everything
        path = folder / f"{i:05d}-{how}.{SUFFIXES.get(format, format.lower())}"
        path.write_bytes(hurt(whole, how, rng, others))
        made[str(path)] = name, whole, how
    return made


def pictures(folder, args, rng):
    made = write_pictures(folder, good_pictures(args.photos, rng), args.n or 3000, rng)
    command = (sys.executable, "-m", "skiqa", "score", str(folder), "--csv", "-", "--jobs", "1")
    status, lines, errors, peak = watched(command)
    rows = list(csv.DictReader(line for line, _ in lines))
    counts = defaultdict(Counter)
    pixels = {whole: to_rgb(whole) for _, whole, _ in made.values()}
    for row in rows:
        name, whole, how = made[row["file"]]
        counts[name]["files"] += 1
        counts[name]["refused"] += not row["score"]
        if row["score"]:
            data = Path(row["file"]).read_bytes()
            area = ruined(data, pixels[whole])
            counts[name]["scored, ruined"] += area > 0.1
            counts[name][f"of these: {how}"] += area > 0.1
            counts[name]["of these flagged"] += area > 0.1 and bool(row["flags"])
            if area > 0.1 and args.list:
                print(f"{row['file']}: {area:.0%} differ, {row['score']}, {row['flags']}")
    columns = ["files", "refused", "scored, ruined", *(f"of these: {how}" for how in HARM)]
    columns.append("of these flagged")
    print(f"| format | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    for name, count in counts.items():
        print(f"| {name} | {' | '.join(str(count[column]) for column in columns)} |")
    slowest = max(range(1, len(lines)), key=lambda i: lines[i][1])
    tracebacks = errors.count("Traceback")
    missing = made.keys() - {row["file"] for row in rows}
    print(f"{len(made)} files in one process: exit status {status}, peak {peak / 2**20:.0f} MiB")
    print(f"{tracebacks} tracebacks, {len(missing)} rows missing")
    print(f"slowest: {lines[slowest][1]:.2f} s, {lines[slowest][0].strip()}")
    print(errors if tracebacks or status not in (0, 1) else "", end="")
    bad = status not in (0, 1) or tracebacks or missing
    return not bad and lines[slowest][1] < SLOW and peak < LARGE


def bombs(folder, args, rng):
    for i in range(4):
        image = Image.new("RGB", (13_000, 13_000), (20 * i, 90, 90))
        image.save(folder / f"{i}.png", compress_level=1)
    command = (sys.executable, "-m", "skiqa", "score", "-r", "--jobs", "4", "--csv", "-")
    status, lines, errors, peak = watched((*command, str(folder)))
    sys.stdout.writelines(line for line, _ in lines)
    print(errors, end="")
    print(f"exit status {status}, peak {peak / 2**30:.2f} GiB")
    return status == 0 and peak < 1.3 * 2**30


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="more photos than scikit-learn's two")
    parser.add_argument("--models", action="store_true")
    parser.add_argument("--bombs", action="store_true")
    parser.add_argument("--n", type=int, help="files; else 3,000 pictures, 2,400 models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder for the files")
    parser.add_argument("--list", action="store_true", help="name pictures that score, ruined")
    args = parser.parse_args()
    part = bombs if args.bombs else pictures
    if args.models:
        from hostile_models import models as part
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        return not part(folder, args, random.Random(args.seed))


if __name__ == "__main__":
    sys.exit(main())
