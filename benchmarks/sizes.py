"""What a viewing size does to scores: the same picture at many sizes, rows cut off, rated photos.

    python benchmarks/sizes.py --photos large/*.jpg                 # ladder, cuts, frames, decoding
    python benchmarks/sizes.py --photos large/*.jpg --cut-at 12e6 3e6 1e6 0.27e6
    python benchmarks/sizes.py --biq biq2021 --clive ChallengeDB_release     # rated photos

For each viewing size (``--max-pixels``, "native" among them) one row of a Markdown table; 1000+4000
stands for the mean of the scores at both. Of
``--photos``, best of 12 megapixels or more:

ladder     largest difference between the scores of one photo brought to 12, 6, 3, 1.5 and 0.8
           megapixels (Lanczos; sizes above its own are left out);
cut        largest change when 1, 2, 3, 5 or 8 rows or columns are cut off below or on the right, of
           the photo at 0.27 megapixels, where nothing is reduced;
cut first  the same, above or on the left;
decoding   change by decoding at a reduced scale, against a photo that was decoded whole;
frame      change by a white frame of 5 % of each side, letterbox by black bars of 12 % above and
           below, crop by cutting 10 % off each side.

Mean and most over the photos. With ``--order N``, of N photos at 3 megapixels, degraded at that
size at levels 0 to 5: the share of pairs of levels that scores put in order, and the points lost at
level 5, means over operators. With ``--cut-at`` only the two columns about cuts, at the first
viewing size, of photos with so many pixels.

Of rated photos the SROCC of a ridge on the bundled features of 3,200 photos of BIQ2021, on its 800
val photos and on all 1,162 photos of CLIVE (--clive), which the network has not seen.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline

import skiqa
from skiqa.datasets import load_clive
from skiqa.degradations import degrade
from skiqa.metrics import srocc_score
from skiqa.model_selection._tables import markdown_table

LADDER = (12e6, 6e6, 3e6, 1.5e6, 0.8e6)
CUTS = (1, 2, 3, 5, 8)
OPERATORS = (
    "gaussian_blur",
    "lens_blur",
    "motion_blur",
    "white_noise",
    "impulse_noise",
    "jpeg",
    "jpeg2000",
    "pixelate",
    "brighten",
    "darken",
    "quantization",
)
Pixels = npt.NDArray[np.uint8]
Scorer = Callable[[Sequence[object]], npt.NDArray[np.float64]]


def at_pixels(photo: Image.Image, n_pixels: float) -> Image.Image:
    """Return a photo with so many pixels, or as it is if it has no more."""
    factor = (n_pixels / (photo.width * photo.height)) ** 0.5
    if factor >= 1:
        return photo
    size = round(photo.width * factor), round(photo.height * factor)
    return photo.resize(size, Image.Resampling.LANCZOS)


def ladder(photo: Image.Image, predict: Scorer) -> float:
    """Return the largest difference between the scores of a photo at many sizes."""
    n_pixels = photo.width * photo.height
    copies = [np.asarray(at_pixels(photo, n)) for n in LADDER if n <= 1.05 * n_pixels]
    return float(np.ptp(predict(copies)))


def cuts(photo: Image.Image, predict: Scorer, *, first: bool, n_pixels: float = 0.27e6) -> float:
    """Return the largest change of a score by rows or columns that are cut off."""
    pixels = np.asarray(at_pixels(photo, n_pixels))
    height, width = pixels.shape[:2]
    parts = [
        part
        for n in CUTS
        for part in (
            (pixels[n:], pixels[:, n:]) if first else (pixels[: height - n], pixels[:, : width - n])
        )
    ]
    whole, *scores = predict([pixels, *parts])
    return float(np.abs(np.array(scores) - whole).max())


def edits(photo: Image.Image, predict: Scorer) -> list[float]:
    """Return the changes of a score by a white frame, letterbox bars and a crop."""
    pixels = np.asarray(at_pixels(photo, 3e6))
    height, width = pixels.shape[:2]
    frame, bars = round(0.05 * min(height, width)), round(0.12 * height)
    framed = np.pad(pixels, [(frame, frame)] * 2 + [(0, 0)], constant_values=255)
    boxed = np.pad(pixels, [(bars, bars), (0, 0), (0, 0)])
    cropped = pixels[height // 10 : -height // 10, width // 10 : -width // 10]
    whole, *scores = predict([pixels, framed, boxed, cropped])
    return [float(score - whole) for score in scores]


def measure_photos(files: Sequence[str], predict: Scorer) -> list[str]:
    """Return the cells of one viewing size for a folder of large photos."""
    columns: list[list[float]] = []
    for file in files:
        with Image.open(file) as opened:
            photo = opened.convert("RGB")
        by_file, by_pixels = predict([file, np.asarray(photo)])
        differences = [ladder(photo, predict)]
        differences += [cuts(photo, predict, first=first) for first in (False, True)]
        columns.append([*differences, float(by_file - by_pixels), *edits(photo, predict)])
    values = np.abs(np.array(columns))
    signed = np.array(columns).mean(axis=0)
    cells = [
        f"{mean:.2f} / {most:.2f}" for mean, most in zip(values.mean(0), values.max(0), strict=True)
    ]
    return [*cells[:4], *(f"{mean:+.1f}" for mean in signed[4:])]


def measure_cuts(files: Sequence[str], predict: Scorer, n_pixels: float) -> list[str]:
    """Return the cells about cuts of photos brought to so many pixels."""
    columns: list[list[float]] = []
    for file in files:
        with Image.open(file) as opened:
            photo = opened.convert("RGB")
        columns.append([cuts(photo, predict, first=f, n_pixels=n_pixels) for f in (False, True)])
    values = np.array(columns)
    return [f"{a:.2f} / {b:.2f}" for a, b in zip(values.mean(0), values.max(0), strict=True)]


def measure_order(files: Sequence[str], predict: Scorer) -> list[str]:
    """Return how well the levels of degradations at full size are put in order."""
    ordered, lost = [], []
    for file in files:
        with Image.open(file) as opened:
            photo = at_pixels(opened.convert("RGB"), 3e6)
        for operator in OPERATORS:
            scores = predict([photo, *(degrade(photo, operator, level) for level in range(1, 6))])
            ordered.append(np.mean([a > b for a, b in combinations(scores, 2)]))
            lost.append(scores[0] - scores[5])
    return [f"{np.mean(ordered):.3f}", f"{np.mean(lost):.1f}"]


def measure_rated(biq: Path, clive: Path | None, model: Pipeline) -> list[str]:
    """Return the SROCC of a ridge on the bundled features, on the rated photos that are there."""
    with open(biq / "mos.csv", newline="", encoding="utf-8") as file:
        rated = [
            (row["split"], biq / "images" / row["file"], float(row["mos"]))
            for row in csv.DictReader(file)
        ]
    train, val = ([row[1:] for row in rated if row[0] == part] for part in ("train", "val"))
    own = make_pipeline(model[0], Ridge()).fit(*zip(*train, strict=True))
    files, mos = zip(*val, strict=True)
    cells = [srocc_score(mos, own.predict(files))]
    if clive is not None:
        data = load_clive(clive)
        cells.append(srocc_score(data.target, own.predict(data.data)))
    return [f"{cell:.4f}" for cell in cells]


def model_at(max_pixels: str) -> Pipeline:
    """Return the bundled scorer with a viewing size."""
    model = skiqa.load_model()
    model[0].set_params(max_pixels=None if max_pixels == "native" else int(max_pixels), n_jobs=-1)
    return model


def predict_at(max_pixels: str) -> Scorer:
    """Return what scores at a viewing size, or at the mean of several."""
    models = [model_at(part) for part in max_pixels.split("+")]
    return lambda X: np.mean([model.predict(X) for model in models], axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", nargs="*", default=[])
    parser.add_argument("--cut-at", nargs="*", type=float, default=[], metavar="PIXELS")
    parser.add_argument("--order", type=int, default=0, metavar="N")
    parser.add_argument("--biq", type=Path)
    parser.add_argument("--clive", type=Path, help="beside --biq")
    parser.add_argument(
        "--max-pixels", nargs="+", default=["262144", "524288", "1048576", "native"]
    )
    args = parser.parse_args()
    rows = []
    if args.cut_at:
        predict = predict_at(args.max_pixels[0])
        for n_pixels in args.cut_at:
            rows.append([f"{n_pixels:g}", *measure_cuts(args.photos, predict, n_pixels)])
        print(markdown_table(["pixels", "cut", "cut first"], rows))
        return
    for text in args.max_pixels:
        predict = predict_at(text)
        cells = measure_photos(args.photos, predict) if args.photos and not args.order else []
        cells += measure_order(args.photos[: args.order], predict) if args.order else []
        if args.biq:
            cells += measure_rated(args.biq, args.clive, model_at(text))
        rows.append([text, *cells])
    names = ["max_pixels"]
    if args.order:
        names += ["order", "lost at level 5"]
    elif args.photos:
        names += ["ladder", "cut", "cut first", "decoding", "frame", "letterbox", "crop"]
    names += (["BIQ2021 val"] + ["CLIVE"] * (args.clive is not None)) if args.biq else []
    print(markdown_table(names, rows))


if __name__ == "__main__":
    main()
