"""Frozen pipeline against FineTunedQualityRegressor on biq2021, train -> val.

Run it as often as needed: finished fits are read from the JSON-lines file, a killed one goes on.

    python benchmarks/finetune.py --data ../shared/data/biq2021 --work finetune_runs
"""

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np

from skiqa import ContrastiveQualityEncoder, FineTunedQualityRegressor
from skiqa.metrics import srocc_score


def load(folder, n_train, n_val):
    """Return {split: (paths, mos)}, a fixed random part of each if so many are asked for."""
    with open(folder / "mos.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    parts = {}
    for split, n in (("train", n_train), ("val", n_val)):
        found = [row for row in rows if row["split"] == split]
        chosen = np.sort(np.random.default_rng(0).permutation(len(found))[:n])
        parts[split] = (
            [str(folder / "images" / found[i]["file"]) for i in chosen],
            np.array([float(found[i]["mos"]) for i in chosen]),
        )
    return parts


def paired_standard_error(y, a, b, n=1000):
    """Return the standard error of srocc(b) - srocc(a) under resampling of the photos."""
    rng = np.random.default_rng(0)
    draws = (rng.integers(len(y), size=len(y)) for _ in range(n))
    return float(np.std([srocc_score(y[i], b[i]) - srocc_score(y[i], a[i]) for i in draws]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--n-train", type=int)
    parser.add_argument("--n-val", type=int)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--semantic-noise", type=float, nargs="+", default=[0.0, 1.0])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    parts = load(args.data, args.n_train, args.n_val)
    (X, y), (X_val, y_val) = parts["train"], parts["val"]
    results = args.work / "results.jsonl"
    done = [json.loads(line) for line in results.open()] if results.exists() else []
    todo = [("frozen", 0.0, 0, 0)]
    todo += [("fine-tuned", w, s, args.epochs) for w in args.semantic_noise for s in args.seeds]
    records = []
    for name, noise, seed, epochs in todo:
        key = [name, noise, seed, epochs, len(y), len(y_val)]
        record = next((r for r in done if r["key"] == key), None)
        if record is None:
            start = time.monotonic()
            model = FineTunedQualityRegressor(
                ContrastiveQualityEncoder(cache_dir=args.work / "features"),
                epochs=epochs, semantic_noise=noise, random_state=seed,
                checkpoint_dir=args.work / "checkpoints",
            ).fit(X, y)  # fmt: skip
            record = {"key": key, "predicted": model.predict(X_val).tolist(),
                      "history": model.history_, "best_epoch": model.best_epoch_,
                      "seconds": time.monotonic() - start}  # fmt: skip
            with results.open("a") as file:
                file.write(json.dumps(record) + "\n")
        records.append(record)
    frozen = np.array(records[0]["predicted"])
    print("| model | semantic_noise | seed | best epoch | val SROCC | gain | s.e. | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for record in records:
        name, noise, seed = record["key"][:3]
        predicted = np.array(record["predicted"])
        value, base = srocc_score(y_val, predicted), srocc_score(y_val, frozen)
        error = paired_standard_error(y_val, frozen, predicted)
        print(
            f"| {name} | {noise:g} | {seed} | {record['best_epoch']} | {value:.4f} | "
            f"{value - base:+.4f} | {error:.4f} | {record['seconds']:.0f} |"
        )


if __name__ == "__main__":
    main()
