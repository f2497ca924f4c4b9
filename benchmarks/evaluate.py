"""`evaluate` in one line, and the same protocol by scikit-learn and scipy alone.

    python benchmarks/evaluate.py --weights imagenet.skiqa --cache features

Ten random splits of the val photos of BIQ2021, frozen features of an encoder and
``Ridge()``. BIQ2021 has no content groups: each photo is its own. Prints the table of `evaluate`,
that of the plain script, and their largest difference; ends with status 1 if that is above 1e-4.

The plain script maps predictions by scipy's `curve_fit` of the published logistic, from the usual
start. That is a local search; where it ends away from the best curve the difference is printed all
the same.

The data are read from the folder that SKIQA_DATA names (default ../shared/data from the project's
root), which must hold biq2021/mos.csv and biq2021/images.
"""

import argparse
import sys
import time

import numpy as np
from linear_probe import DATA
from scipy.optimize import curve_fit
from scipy.stats import kendalltau, pearsonr, spearmanr
from sklearn.linear_model import Ridge
from sklearn.model_selection import ShuffleSplit
from sklearn.pipeline import make_pipeline

from skiqa import ContrastiveQualityEncoder
from skiqa.datasets import load_folder
from skiqa.model_selection import evaluate

NAMES = ("srocc", "plcc", "krocc", "rmse")


def logistic(x: np.ndarray, top: float, bottom: float, centre: float, width: float) -> np.ndarray:
    return (top - bottom) / (1 + np.exp(-(x - centre) / np.abs(width))) + bottom


def score_plainly(features: np.ndarray, mos: np.ndarray) -> np.ndarray:
    """Return the four numbers of each of the ten splits, with nothing of skiqa."""
    rows = []
    for train, test in ShuffleSplit(10, test_size=0.2, random_state=0).split(features):
        y = mos[test]
        predicted = Ridge().fit(features[train], mos[train]).predict(features[test])
        start = [y.max(), y.min(), predicted.mean(), predicted.std() / 4]
        curve, _ = curve_fit(logistic, predicted, y, start, ftol=1e-14, xtol=1e-14, maxfev=100_000)
        mapped = logistic(predicted, *curve)
        srocc, krocc = spearmanr(y, predicted).statistic, kendalltau(y, predicted).statistic
        plcc, rmse = pearsonr(y, mapped).statistic, np.sqrt(np.mean((y - mapped) ** 2))
        rows.append([srocc, plcc, krocc, rmse])
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="default", help="of the encoder")
    parser.add_argument("--cache", help="folder of the feature cache")
    args = parser.parse_args()
    folder = DATA / "biq2021"
    if not (folder / "mos.csv").is_file():
        sys.exit(f"no biq2021/mos.csv in {DATA}: set SKIQA_DATA to the folder that holds biq2021/")
    data = load_folder(folder / "images", folder / "mos.csv", split="val")
    encoder = ContrastiveQualityEncoder(weights=args.weights, cache_dir=args.cache)

    start = time.perf_counter()
    found = evaluate(make_pipeline(encoder, Ridge()), data)
    print(found, f"\n\n{time.perf_counter() - start:.0f} s\n")

    rows = score_plainly(encoder.fit(data.data).transform(data.data), data.target)
    print("scikit-learn and scipy alone\n")
    for name, values in (("median", np.median(rows, axis=0)), ("std", rows.std(axis=0, ddof=1))):
        print(name.ljust(8), *(f"{value:.6f}" for value in values))
    difference = np.abs(rows - np.stack([found.scores[name] for name in NAMES], axis=1)).max(axis=0)
    print("\nlargest difference over splits")
    print(" " * 8, *(f"{name} {value:.1e}" for name, value in zip(NAMES, difference, strict=True)))
    sys.exit(int(difference.max() > 1e-4))


if __name__ == "__main__":
    main()
