"""What tokens, panel, matching, selection and distillation gain, part by part.

    python benchmarks/feature_matching.py --root rated/ChallengeDB_release --work matching.work
    python benchmarks/feature_matching.py --weights imagenet.skiqa --work matching.biq
    python benchmarks/feature_matching.py --root ... --work ... --scales 1 0.5 --splits 3
    python benchmarks/feature_matching.py --root ... --work ... --rows frozen panel --splits 10

Random 80/20 splits of CLIVE or, without --root, the train and val photos of BIQ2021 from
SKIQA_DATA, which the bundled network has seen; each row adds a part to the one before it. Prints a
Markdown table: SROCC and PLCC on the test photos, their spread over the splits, the gain in SROCC
over the frozen ridge with its standard error (paired over splits; of one split a paired bootstrap
over photos), and the cost.
Then the claim itself, on the test photos, before any training and after each:

- pairs of small distance: mean score difference of the twentieth of pairs whose features are
  nearest, over that of all pairs. 1 would be features that say nothing.
- sensitivity: each photo has a partner of nearly equal score and distant features. Half of all
  channels, drawn at random, are taken from it, in the ridge's features and in the tokens; how far
  scores move (root mean square), over the standard deviation of all scores.

Finished fits are read from the JSON-lines file in --work, a killed one goes on. The photos without
a rating that distillation takes are those below --unrated (none: that row is left out).
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from linear_probe import load_split, paired_bootstrap, table_row
from scipy.spatial.distance import pdist
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import ShuffleSplit

from skiqa import (
    ContrastiveQualityEncoder,
    FeatureMatchingQualityRegressor,
    FineTunedQualityRegressor,
)
from skiqa._fine_tuning.fitted_panel import live_panel
from skiqa._fine_tuning.sources import Photos
from skiqa._inputs.containers import as_image_list
from skiqa._matched_noise import matched_pairs
from skiqa._network.live import live_networks
from skiqa.datasets import load_clive
from skiqa.metrics import plcc_score, srocc_score

MATCHING = {"matching": 0.5, "consistency": 0.5}
ROWS = {
    "frozen": {"epochs": 0},
    "linear": {},
    "mean token": {"n_queries": 0},
    "one query": {"n_queries": 1},
    "panel": {"n_queries": 6},
    "panel alone": {"residual": False},
    "+ matching": MATCHING,
    "+ selection": MATCHING | {"selection": 0.01},
    "+ distillation": {"token_matching": 0.1},
}
BY_RIDGE = ("frozen", "linear")


def model_of(name, encoder, args):
    """Return the unfitted model of a row."""
    common = {"random_state": 0, "verbose": args.verbose, "epochs": args.epochs}
    common |= {"checkpoint_dir": args.work / "checkpoints", "maps_dir": args.maps}
    kind = FineTunedQualityRegressor if name in BY_RIDGE else FeatureMatchingQualityRegressor
    return kind(FrozenEstimator(encoder), **common | ROWS[name] | json.loads(args.set))


def looked_at(model, X):
    """Return features of photos and, where a panel looks at them, tokens: (n, d), (n, t, c)."""
    encoder, tokens = model.pipeline_[0], []
    if getattr(model, "panel_", None) is None:
        return encoder.transform(X).astype(float), None
    source = Photos(as_image_list(X), encoder.extraction("cpu"), None, None)
    panel, grid = live_panel(model.panel_, torch.device("cpu"))
    network = live_networks(encoder.state_, source.device, torch.float32)[0]
    rows = []
    with torch.inference_mode():
        for x in source.inputs(range(len(X)), [0] * len(X)):
            row, blocks = source.features_and_tokens(network, [x], grid)
            rows.append(row.double().numpy())
            tokens.append(panel.tokens(blocks))
    return np.concatenate(rows), torch.cat(tokens)


@torch.inference_mode()
def scores_of(model, rows, tokens):
    """Return the scores of what a model looks at."""
    if tokens is None:
        return model.pipeline_[1].predict(rows)
    fitted = model.panel_
    panel, _ = live_panel(fitted, torch.device("cpu"))
    scores = fitted["level"] + fitted["slope"] * panel(tokens).mean(dim=1).double().numpy()
    return scores + (model.pipeline_[1].predict(rows) if fitted["residual"] else 0.0)


def pictured(model, rows, tokens):
    """Return what distances are taken of: features or, with a panel, selected pooled tokens."""
    if tokens is None:
        return rows
    panel, _ = live_panel(model.panel_, torch.device("cpu"))
    with torch.inference_mode():
        return panel.pictured(tokens).mean(dim=1).double().numpy()


def near_pairs(features, y):
    """Return the mean score difference of the nearest twentieth of pairs, over that of all."""
    distance, difference = pdist(features), pdist(y[:, None])
    nearest = distance <= np.quantile(distance, 0.05)
    return float(difference[nearest].mean() / difference.mean())


def sensitivity(model, rows, tokens, partners, n_draws=8):
    """Return how far scores move when half of the channels are the partner's."""
    rng, plain = np.random.default_rng(0), scores_of(model, rows, tokens)
    moves = []
    for _ in range(n_draws):
        drawn = rng.random(rows.shape[1]) < 0.5
        mixed, mixed_tokens = np.where(drawn, rows[partners], rows), tokens
        if tokens is not None:
            drawn = torch.from_numpy(rng.random(tokens.shape[2]) < 0.5)
            mixed_tokens = torch.where(drawn, tokens[torch.from_numpy(partners)], tokens)
        moves.append(scores_of(model, mixed, mixed_tokens) - plain)
    return float(np.sqrt(np.mean(np.square(moves))) / plain.std())


def fitted_record(name, split, encoder, photos, unrated, args):
    """Fit a row on a split; return what is to be kept of it."""
    paths, y, deviations, (train, test) = photos
    X, given = [paths[k] for k in train], y[train]
    spread = None if deviations is None or name in BY_RIDGE else deviations[train]
    if name == "+ distillation":
        X, given = X + unrated, np.concatenate([given, np.full(len(unrated), np.nan)])
        spread = None if spread is None else np.concatenate([spread, np.ones(len(unrated))])
    more = {} if spread is None else {"y_std": spread}
    model = model_of(name, encoder, args)
    start = time.monotonic()
    model.fit(X, given, **more)
    seconds = time.monotonic() - start
    shown = [paths[k] for k in test]
    rows, tokens = looked_at(model, shown)
    first = encoder.transform(shown).astype(float)
    partners, _ = matched_pairs(first, y[test])
    record = {"row": name, "split": split, "seconds": seconds, "history": model.history_}
    record |= {"best_epoch": model.best_epoch_, "y": y[test].tolist()}
    record["predicted"] = model.predict(shown).tolist()
    record["near"] = near_pairs(pictured(model, rows, tokens), y[test])
    record["sensitivity"] = sensitivity(model, rows, tokens, partners)
    if getattr(model, "panel_", None) is not None:
        _, record["spread"] = (x.tolist() for x in model.predict(shown, return_std=True))
    return record


def print_table(records, rows):
    """Print a row for each part: means over the splits, and gains over the frozen ridge."""
    columns = ["row", "splits", "SROCC", "PLCC", "gain in SROCC", "s.e.", "seconds an epoch"]
    columns += ["epoch", "near pairs", "sensitivity"]
    print(table_row(columns))
    print(table_row(["---"] * len(columns)))
    frozen = {r["split"]: r for r in records if r["row"] == "frozen"}
    for name in rows:
        own = [r for r in records if r["row"] == name]
        if not own:
            continue
        scores = {"srocc": srocc_score, "plcc": plcc_score}
        values = {k: [f(np.array(r["y"]), r["predicted"]) for r in own] for k, f in scores.items()}
        cells = [name, str(len(own))]
        for each in values.values():
            spread = f" ± {np.std(each, ddof=1):.3f}" if len(own) > 1 else ""
            cells.append(f"{np.mean(each):.4f}{spread}")
        pairs = [(r, frozen[r["split"]]) for r in own if r["split"] in frozen]
        cells += ["", ""] if name == "frozen" else gain_cells(pairs)
        epochs = [h["seconds"] for r in own for h in r["history"][1:]]
        cells.append(f"{np.mean(epochs):.0f}" if epochs else "")
        cells.append(f"{np.mean([r['best_epoch'] for r in own]):.1f}")
        cells += [f"{np.mean([r[key] for r in own]):.3f}" for key in ("near", "sensitivity")]
        print(table_row(cells))


def gain_cells(pairs):
    """Return the gain in SROCC of a row over the frozen ridge, and its standard error."""
    if not pairs:
        return ["", ""]
    if len(pairs) == 1:
        (ours, theirs) = pairs[0]
        a, b = (np.array(r["predicted"])[None] for r in (ours, theirs))
        gain, error = paired_bootstrap(np.array(ours["y"]), a, b, 1000)
    else:
        gains = [
            srocc_score(np.array(a["y"]), a["predicted"])
            - srocc_score(np.array(b["y"]), b["predicted"])
            for a, b in pairs
        ]
        gain, error = np.mean(gains), np.std(gains, ddof=1) / np.sqrt(len(gains))
    return [f"{gain:+.4f}", f"{error:.4f}"]


def photos_of(args):
    """Return (paths, ratings, their deviations or None, splits as pairs of indices)."""
    if args.root is None:
        train, val = (load_split(split, None) for split in ("train", "val"))
        split = np.split(np.arange(len(train[0]) + len(val[0])), [len(train[0])])
        return train[0] + val[0], np.concatenate([train[1], val[1]]), None, [split]
    clive = load_clive(args.root)
    splits = ShuffleSplit(args.splits, test_size=0.2, random_state=0).split(clive.data)
    return list(clive.data), clive.target, clive.target_std, splits


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="CLIVE; without it BIQ2021")
    parser.add_argument("--work", type=Path, default=Path("matching.work"))
    parser.add_argument("--maps", type=Path, help="maps_dir; default: maps in --work")
    parser.add_argument("--unrated", type=Path, help="a folder of photos for distillation")
    parser.add_argument("--n-unrated", type=int, default=930)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--weights", default="default", help="of the encoder it starts from")
    parser.add_argument("--scales", type=float, nargs="+", default=[0.5])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--set", default="{}", help="other parameters of all rows, as JSON")
    parser.add_argument("--verbose", type=int, default=0)
    args = parser.parse_args()
    args.maps = args.maps or args.work / "maps"
    args.work.mkdir(parents=True, exist_ok=True)
    paths, y, deviations, splits = photos_of(args)
    unrated = []
    if args.unrated:
        files = sorted(map(str, args.unrated.rglob("*.jpg")))
        unrated = [files[k] for k in np.random.default_rng(0).permutation(len(files))]
    unrated = unrated[: args.n_unrated]
    encoder = ContrastiveQualityEncoder(
        weights=args.weights, scales=tuple(args.scales), cache_dir=args.work / "features"
    ).fit(paths[:1])
    results, records = args.work / "results.jsonl", []
    for number, split in enumerate(splits):
        for name in args.rows:
            if name == "+ distillation" and not unrated:
                continue
            key = [name, number, args.scales, args.epochs, args.set]
            key += [len(unrated)] * (name == "+ distillation")
            earlier = [json.loads(line) for line in results.open()] if results.exists() else []
            record = next((r for r in earlier if r["key"] == key), None)
            if record is None:
                photos = (paths, y, deviations, split)
                record = fitted_record(name, number, encoder, photos, unrated, args) | {"key": key}
                with results.open("a") as file:
                    file.write(json.dumps(record) + "\n")
            records.append(record)
    print_table(records, args.rows)


if __name__ == "__main__":
    main()
