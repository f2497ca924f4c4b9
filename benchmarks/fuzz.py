"""Hostile bytes in one process, for as long as is asked: what may come out is a result or an error.

    OMP_NUM_THREADS=1 python benchmarks/fuzz.py pictures --minutes 30    # of CPU
    OMP_NUM_THREADS=1 python benchmarks/fuzz.py models --minutes 20
    OMP_NUM_THREADS=1 python benchmarks/fuzz.py tables --minutes 10

pictures    Small files of all formats of `damage.py`, hurt as in `hostile.py`, through all that a
            look at a picture does: its size, its memory, its damage, its pixels, its flags.
models      Files of `hostile_models.py`: each is loaded, and scores two photos. That there is not
            enough memory for what its graph asks for is an answer, too.
tables      Ratings (`load_folder`) in four dialects, and scores of `skiqa score --csv` with the
            companion that resuming reads.

What is not a result must be a ValueError (of scores, one line of the command; of photos that a
table names, FileNotFoundError), and, of models and tables, name the file. Anything else is printed
with its number, and so is what takes over 5 s. Exit status 1 if there was any. Nothing is kept.
"""

import argparse
import contextlib
import csv
import io
import json
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
from hostile import HARM, SLOW, good_pictures, hurt

ODD_TEXT = ("", '"', "\n", "\0", ";", "\t", "nan", "1e999", "-", "é", "\ufeff", "=1+1", "9" * 400)


def pictures(folder, rng):
    """Yield (what an error must hold, work to do) for ever; here a look at a hurt picture."""
    from skiqa._inputs.decode import damage, footprint, is_animated, to_rgb, upright_size
    from skiqa._inputs.flags import pixel_flags

    good = good_pictures(None, rng)
    files = [data for of_format in good.values() for data in of_format[:7]]

    def look(path, data):
        path.write_bytes(data)
        footprint(data), is_animated(path), damage(path)
        pixel_flags(to_rgb(path, rng.choice((None, 20_000))))
        upright_size(path)
        to_rgb(data, allow_damaged=True)

    while True:
        data = rng.choice(files)
        for _ in range(rng.choice((1, 1, 2))):
            data = hurt(data, rng.choice(HARM), rng, files)
        yield "", partial(look, folder / "picture", data)


def models(folder, rng):
    from hostile_models import write_models
    from sklearn.datasets import load_sample_images

    from skiqa._network.live_engines import CACHE
    from skiqa.persistence import load

    images = load_sample_images().images
    photos = [image[:size, :300] for image, size in zip(images, (200, 64), strict=True)]

    def use(path):
        CACHE.clear()  # weights that are alike share an engine
        model = load(path)
        for method in ("predict", "transform"):
            if hasattr(model, method):  # its errors need not name the file: it was loaded
                with contextlib.suppress(ValueError, MemoryError):
                    getattr(model, method)(photos)

    while True:
        for path in write_models(folder, 600, rng):
            yield Path(path).name, partial(use, path)


def tables(folder, rng):
    from click import ClickException

    from skiqa._sources.films import EVENLY
    from skiqa.cli._csv_file import about_scores, locked
    from skiqa.datasets import load_folder

    about = about_scores(None, None, False, None, EVENLY, None)
    names = [f"photo {i}.jpg" for i in range(6)]
    for name in names:
        (folder / name).touch()
    path = folder / "ratings.csv"

    def table():
        out = io.StringIO()
        writer = csv.writer(out, delimiter=rng.choice(",;\t|"))
        writer.writerow(["file", "mos", "std", "scene"][: rng.choice((2, 2, 4))])
        for name in names:
            writer.writerow([name, rng.uniform(0, 5), rng.random(), rng.randrange(3)])
        return out.getvalue().encode(rng.choice(("utf-8", "utf-8-sig", "utf-16", "cp1252")))

    def scores():
        rows = "".join(f"{name},{rng.uniform(0, 99)},,blank\n" for name in names)
        return f"file,score,error,flags\n{rows}".encode()

    def odd(data):
        text = rng.choice(ODD_TEXT).encode("utf-8", "surrogatepass")
        at = rng.randrange(len(data) + 1)
        data = data[:at] + text + data[at + rng.choice((0, len(text))) :]
        if rng.random() < 0.4:
            return data
        return hurt(data, rng.choice(HARM), rng, [table(), scores()])

    def ratings(data):
        path.write_bytes(data)
        load_folder(folder, path, **({"groups": "scene"} if rng.random() < 0.3 else {}))

    def resumed(data, companion):
        file = folder / "scores.csv"
        file.write_bytes(data)
        file.with_name("scores.csv.skiqa.json").write_bytes(companion)
        try:
            with locked(file, about) as run:
                run.read()
        except ClickException as error:
            raise ValueError(error.message) from None

    while True:
        if rng.random() < 0.5:
            yield path.name, partial(ratings, odd(table()))
        else:
            companion = json.dumps(about).encode()
            data = odd(scores()) if rng.random() < 0.7 else scores()
            companion = odd(companion) if rng.random() < 0.5 else companion
            yield "scores.csv", partial(resumed, data, companion)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=["pictures", "models", "tables"])
    parser.add_argument("--minutes", type=float, default=1.0, help="of CPU")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    counts, bad, slowest, end = Counter(), 0, 0.0, None
    kinds = {"pictures": pictures, "models": models, "tables": tables}
    with tempfile.TemporaryDirectory() as scratch:
        for name, work in kinds[args.kind](Path(scratch), random.Random(args.seed)):
            began, outcome, wrong = time.process_time(), "result", ""
            end = end or began + 60 * args.minutes
            if began > end:
                break
            try:
                with contextlib.redirect_stderr(None):
                    work()
            except (ValueError, FileNotFoundError) as error:  # the latter of a photo of a table
                outcome = "error"
                wrong = "" if name in str(error) else f"{name} is not named: {error}"
            except Exception as error:
                outcome, wrong = "other", repr(error)
            seconds = time.process_time() - began
            slowest = max(slowest, seconds)
            if wrong or seconds > SLOW:
                bad += 1
                print(f"number {counts.total()}, {seconds:.1f} s: {wrong[:500]}", flush=True)
            counts[outcome] += 1
    print(f"{args.kind}: {counts.total():,} in {args.minutes:g} CPU-minutes, {dict(counts)}")
    print(f"slowest {slowest:.2f} s; {bad} not as they should be")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
