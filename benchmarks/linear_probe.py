"""How well do frozen features predict opinion scores? The linear probe on BIQ2021.

    python benchmarks/linear_probe.py --weights bundled=default plain=imagenet.skiqa \
        --pooling stages avg --cache features

Fits a ridge on whole photos of the train split, at several numbers of labels, and scores the val
photos. Prints a Markdown table: mean and standard deviation over draws of the labels, tuned ridge
(penalty by leave-one-out) and plain ``Ridge()``; then the difference of val SROCC between the first
model and each other with its paired-bootstrap standard error. PLCC and RMSE are of predictions
mapped by the four-parameter logistic, as the field does; RMSE is in units of the opinion scale,
0..1. Where all labels of the split are used there is one draw only.

The data are read from the folder that SKIQA_DATA names (default ../shared/data from the project's
root), which must hold biq2021/mos.csv and biq2021/images. Features are kept in --cache, so that a
second run takes seconds.
"""

import argparse
import csv
import os
import sys
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import rankdata
from sklearn.linear_model import Ridge, RidgeCV

from skiqa import ContrastiveQualityEncoder
from skiqa.metrics import krocc_score, plcc_score, rmse_error, srocc_score

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("SKIQA_DATA", ROOT / ".." / "shared" / "data"))
ALPHAS = np.logspace(-6, 3, 28)
METRICS = {
    "SROCC": srocc_score,
    "PLCC": lambda y, p: plcc_score(y, p, mapping="logistic4"),
    "KROCC": krocc_score,
    "RMSE": lambda y, p: rmse_error(y, p, mapping="logistic4"),
}
REGRESSORS = {"tuned": lambda: RidgeCV(alphas=ALPHAS), "Ridge()": lambda: Ridge()}


def load_split(split, limit, seed=0):
    """Return (paths, MOS) of a split; `limit` photos drawn at random, or all."""
    with open(DATA / "biq2021" / "mos.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    if limit is not None and limit < len(rows):
        order = np.random.default_rng(seed).permutation(len(rows))[:limit]
        rows = [rows[i] for i in order]
    paths = [str(DATA / "biq2021" / "images" / row["file"]) for row in rows]
    return paths, np.array([float(row["mos"]) for row in rows])


def features(weights, pooling, paths, args):
    """Return the frozen features of photos, from the cache where they are."""
    encoder = ContrastiveQualityEncoder(
        weights=weights,
        pooling=pooling,
        precision=args.precision,
        device=args.device,
        n_jobs=args.jobs,
        cache_dir=args.cache,
        verbose=1,
    )
    return encoder.fit(paths).transform(paths)


def draws(n_train, n_labels, n_draws):
    """Return the label draws; all labels can be drawn in one way only."""
    if n_labels == n_train:
        return [np.arange(n_train)]
    return [
        np.random.default_rng([d, n_labels]).permutation(n_train)[:n_labels] for d in range(n_draws)
    ]


def predictions(train, mos, val, sizes, n_draws):
    """Return {(regressor, size): predictions of shape (n_draws, n_val)}."""
    result = {}
    for size in sizes:
        chosen = draws(len(train), size, n_draws)
        for name, make in REGRESSORS.items():
            rows = [make().fit(train[c], mos[c]).predict(val) for c in chosen]
            result[name, size] = np.stack(rows)
    return result


def table_row(cells):
    return "| " + " | ".join(cells) + " |"


def print_table(results, val_mos):
    """Print mean and standard deviation over draws of every metric."""
    print(table_row(["weights", "pooling", "labels", "draws", "ridge", *METRICS]))
    print(table_row(["---"] * (5 + len(METRICS))))
    for (name, pooling), by_size in results.items():
        for (regressor, size), rows in by_size.items():
            cells = [name, pooling, str(size), str(len(rows)), regressor]
            for metric in METRICS.values():
                values = [metric(val_mos, row) for row in rows]
                spread = f" ± {np.std(values, ddof=1):.3f}" if len(rows) > 1 else ""
                cells.append(f"{np.mean(values):.3f}{spread}")
            print(table_row(cells))


def paired_bootstrap(y, a, b, n_resamples, seed=0):
    """Return (difference, standard error) of SROCC(a) - SROCC(b), averaged over draws.

    Parameters
    ----------
    y : ndarray of shape (n_val,)
    a, b : ndarray of shape (n_draws, n_val)
        Two models' predictions, draw by draw from the same labels.
    n_resamples : int
        Resamples of the val photos, the same for both models.
    """

    def difference(index):
        truth = rankdata(y[index])
        correlation = [
            [np.corrcoef(truth, rankdata(row[index]))[0, 1] for row in model] for model in (a, b)
        ]
        return np.mean(correlation[0]) - np.mean(correlation[1])

    rng = np.random.default_rng(seed)
    resampled = [difference(rng.integers(len(y), size=len(y))) for _ in range(n_resamples)]
    return difference(np.arange(len(y))), np.std(resampled, ddof=1)


def print_differences(results, val_mos, n_resamples):
    """Compare the first model with every other, in the tuned ridge."""
    (first, ours), *others = results.items()
    if not others:
        return
    print(f"\nSROCC of {' '.join(first)}, tuned ridge, minus SROCC of another model:\n")
    print(table_row(["other", "labels", "difference", "bootstrap standard error", "ratio"]))
    print(table_row(["---"] * 5))
    for other, theirs in others:
        for (regressor, size), rows in ours.items():
            if regressor != "tuned":
                continue
            d, error = paired_bootstrap(val_mos, rows, theirs[regressor, size], n_resamples)
            ratio = f"{d / error:+.1f}" if error else "-"
            print(table_row([" ".join(other), str(size), f"{d:+.4f}", f"{error:.4f}", ratio]))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        default=["bundled=default"],
        metavar="NAME=WEIGHTS",
        help='models to compare: a .skiqa file, or "default" for the bundled weights',
    )
    parser.add_argument(
        "--pooling", nargs="+", default=["stages", "avg"], choices=["stages", "avg"]
    )
    parser.add_argument("--labels", nargs="+", type=int, default=[100, 400, 1600, 3200])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--train", type=int, help="train photos to draw from; default: all")
    parser.add_argument("--val", type=int, help="val photos; default: all")
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, help="decoding threads")
    parser.add_argument("--cache", help="folder of the feature cache")
    args = parser.parse_args()
    if not (DATA / "biq2021" / "mos.csv").is_file():
        sys.exit(f"no biq2021/mos.csv in {DATA}: set SKIQA_DATA to the folder that holds biq2021/")
    warnings.filterwarnings("ignore", message="Singular matrix|Ill-conditioned")

    train_paths, train_mos = load_split("train", args.train)
    val_paths, val_mos = load_split("val", args.val)
    sizes = sorted({min(size, len(train_paths)) for size in args.labels})
    results = {}
    for item in args.weights:
        name, _, weights = item.rpartition("=")
        for pooling in args.pooling:
            rows = features(weights, pooling, train_paths + val_paths, args)
            train, val = np.split(rows, [len(train_paths)])
            key = (name or Path(weights).stem, pooling)
            results[key] = predictions(train, train_mos, val, sizes, args.draws)
    print(f"BIQ2021, {len(val_paths)} val photos, whole, frozen features, {args.precision}\n")
    print_table(results, val_mos)
    print_differences(results, val_mos, args.bootstrap)


if __name__ == "__main__":
    main()
