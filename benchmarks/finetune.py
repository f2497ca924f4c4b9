"""Frozen pipeline against FineTunedQualityRegressor on BIQ2021, train -> val.

    python benchmarks/finetune.py --work finetune.work

With and without semantic noise, three seeds; prints a Markdown table with the gain over the frozen
pipeline and its paired-bootstrap standard error. Run it as often as needed: finished fits are read
from the JSON-lines file in --work, a killed one goes on.

The data are read from the folder that SKIQA_DATA names (default ../shared/data from the project's
root), which must hold biq2021/mos.csv and biq2021/images.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from linear_probe import load_split, paired_bootstrap, table_row

from skiqa import ContrastiveQualityEncoder, FineTunedQualityRegressor
from skiqa.metrics import srocc_score


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("finetune.work"))
    parser.add_argument("--n-train", type=int)
    parser.add_argument("--n-val", type=int)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--semantic-noise", type=float, nargs="+", default=[0.0, 1.0])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    (X, y), (X_val, y_val) = load_split("train", args.n_train), load_split("val", args.n_val)
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
    header = [
        "model",
        "semantic_noise",
        "seed",
        "best epoch",
        "val SROCC",
        "gain",
        "s.e.",
        "seconds",
    ]
    print(table_row(header))
    print(table_row(["---"] * len(header)))
    for record in records:
        name, noise, seed = record["key"][:3]
        predicted = np.array(record["predicted"])
        gain, error = paired_bootstrap(y_val, predicted[None], frozen[None], 1000)
        print(table_row([
            name, f"{noise:g}", str(seed), str(record["best_epoch"]),
            f"{srocc_score(y_val, predicted):.4f}", f"{gain:+.4f}", f"{error:.4f}",
            f"{record['seconds']:.0f}",
        ]))  # fmt: skip


if __name__ == "__main__":
    main()
