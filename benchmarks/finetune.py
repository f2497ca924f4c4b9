"""Frozen pipeline against FineTunedQualityRegressor on BIQ2021, train -> val.

    python benchmarks/finetune.py --weights imagenet.skiqa
    python benchmarks/finetune.py --weights imagenet.skiqa --scales 0.5
    python benchmarks/finetune.py --speed 64

With and without semantic noise, three seeds; prints Markdown tables: val SROCC, the gain over the
frozen pipeline with its paired-bootstrap standard error, and mean and spread over seeds. With
semantic noise every other photo of a batch is a partner, so half as many epochs see as many photos.
Run it as often as needed, or twice at once with other --scales or --seeds: finished fits are read
from the JSON-lines file in --work, a killed one goes on. The regressors' pipelines are saved beside
it, for benchmarks/distill_finetuned.py.

--speed N prints, for N photos, what an epoch costs with `maps_dir` and without, once the maps are
there, and the disk that they take.

The data are read from the folder that SKIQA_DATA names (default ../shared/data from the project's
root), which must hold biq2021/mos.csv and biq2021/images.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from linear_probe import load_split, paired_bootstrap, table_row
from sklearn.frozen import FrozenEstimator

from skiqa import ContrastiveQualityEncoder, FineTunedQualityRegressor
from skiqa.metrics import plcc_score, srocc_score
from skiqa.persistence import save


def speed(n):
    """Print the cost of an epoch with and without kept maps, in one run."""
    X, y = load_split("train", n)
    with tempfile.TemporaryDirectory() as folder:
        parameters = {"epochs": 3, "random_state": 0}
        whole = FineTunedQualityRegressor(**parameters).fit(X, y)
        kept = FineTunedQualityRegressor(**parameters, maps_dir=folder).fit(X, y)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.npz"))
    slow, fast = (np.mean([h["seconds"] for h in m.history_[2:]]) / n for m in (whole, kept))
    times = f"{1e3 * slow:.0f} ms a photo, with maps_dir {1e3 * fast:.0f} ms: {slow / fast:.2f}x"
    print(f"an epoch: {times}; {1e-6 * size / n:.2f} MB of maps a photo")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="default", help="of the encoder")
    parser.add_argument("--work", type=Path, default=Path("finetune.work"))
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 0.5])
    parser.add_argument("--speed", type=int, metavar="N")
    parser.add_argument("--n-train", type=int)
    parser.add_argument("--n-val", type=int)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--semantic-noise", type=float, nargs="+", default=[0.0, 0.1])
    args = parser.parse_args()
    if args.speed:
        return speed(args.speed)
    args.work.mkdir(parents=True, exist_ok=True)
    (X, y), (X_val, y_val) = load_split("train", args.n_train), load_split("val", args.n_val)
    how = {"scales": args.scales, "cache_dir": args.work / "features"}
    encoder = ContrastiveQualityEncoder(weights=args.weights, **how)
    encoder = FrozenEstimator(encoder.fit(X))
    results = args.work / "results.jsonl"
    todo = [("frozen", 0.0, 0, 0)]
    todo += [
        ("fine-tuned", noise, seed, args.epochs // 2 if noise else args.epochs)
        for noise in args.semantic_noise
        for seed in args.seeds
    ]
    records = []
    for name, noise, seed, epochs in todo:
        key = [name, noise, seed, epochs, args.scales, len(y), len(y_val)]
        earlier = [json.loads(line) for line in results.open()] if results.exists() else []
        record = next((r for r in earlier if r["key"] == key), None)
        if record is None:
            start = time.monotonic()
            model = FineTunedQualityRegressor(
                encoder, epochs=epochs, semantic_noise=noise, random_state=seed, verbose=1
            )
            folders = {"checkpoint_dir": args.work / "checkpoints", "maps_dir": args.work / "maps"}
            model.set_params(**folders).fit(X, y)
            record = {"key": key, "history": model.history_, "best_epoch": model.best_epoch_}
            record["seconds"] = time.monotonic() - start
            record["predicted"] = model.predict(X_val).tolist()
            scales = "-".join(f"{scale:g}" for scale in args.scales)
            if args.n_train or args.n_val:  # a quick look leaves those of a whole run alone
                scales += f"-of-{len(y)}"
            save(model.pipeline_, args.work / f"{name}-{scales}-{noise:g}-{seed}.skiqa")
            with results.open("a") as file:
                file.write(json.dumps(record) + "\n")
        records.append(record)
    print_gains(records, y_val)
    print(f"\nover {len(args.seeds)} seeds\n")
    print_means(records, y_val, args.semantic_noise)


def print_gains(records, y_val):
    """Print a row for each fit: val SROCC and PLCC, and the gain over the first, the frozen one."""
    frozen = np.array(records[0]["predicted"])
    columns = ["model", "semantic_noise", "seed", "best epoch", "val SROCC", "PLCC"]
    columns += ["gain in SROCC", "s.e.", "seconds"]
    print(table_row(columns))
    print(table_row(["---"] * len(columns)))
    for record in records:
        name, noise, seed, epochs = record["key"][:4]
        predicted = np.array(record["predicted"])
        gain, error = paired_bootstrap(y_val, predicted[None], frozen[None], 1000)
        cells = [name, f"{noise:g}", str(seed), f"{record['best_epoch']} of {epochs}"]
        cells += [f"{score(y_val, predicted):.4f}" for score in (srocc_score, plcc_score)]
        cells += [f"{gain:+.4f}", f"{error:.4f}", f"{record['seconds']:.0f}"]
        print(table_row(cells))


def print_means(records, y_val, semantic_noise):
    """Print a row for each weight of semantic noise: val SROCC over the seeds."""
    print(table_row(["semantic_noise", "val SROCC", "mean prediction"]))
    print(table_row(["---"] * 3))
    for noise in semantic_noise:
        seeds = [r["predicted"] for r in records if r["key"][:2] == ["fine-tuned", noise]]
        values = [srocc_score(y_val, predicted) for predicted in seeds]
        spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
        ensemble = srocc_score(y_val, np.mean(seeds, axis=0))
        print(table_row([f"{noise:g}", f"{np.mean(values):.4f}{spread}", f"{ensemble:.4f}"]))


if __name__ == "__main__":
    main()
