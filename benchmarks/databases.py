"""What frozen features are worth on the database that they come from, and on another one.

    python benchmarks/databases.py --rated rated --cache features --alpha 3 \
        --weights imagenet=start.skiqa tuned=tuned.skiqa

A ridge (--alpha) is fitted to BIQ2021 without its val photos, or to CLIVE, and asked about val, or
the other database. CLIVE by itself is the field's protocol: ten random splits, 80 % to train on;
median and standard deviation. Of few of its labels, mean and standard deviation over twenty draws,
tested on all its other photos. In these the penalty is chosen by leaving one out. Differences of
other weights to the first have standard errors of a paired bootstrap over photos.

With --few BIQ2021's part are the 3,200 train photos in the folder that SKIQA_DATA names, and each
network's features are standardised anew over these.
"""

import argparse
from pathlib import Path

import numpy as np
from linear_probe import ALPHAS, load_split, paired_bootstrap, table_row
from sklearn.linear_model import Ridge, RidgeCV
from start import as_encoder, standardised_anew
from train_default import rated

from skiqa._network.weight_files import load_state
from skiqa.metrics import srocc_score
from skiqa.model_selection import evaluate

FEW = (50, 100, 200)
DRAWS = 20


def few_labels(rows, y, n):
    """Return the SROCC of tuned ridges of `n` photos on all others, one for each draw."""
    sroccs = []
    for draw in range(DRAWS):
        order = np.random.default_rng([draw, n]).permutation(len(y))
        ridge = RidgeCV(ALPHAS).fit(rows[order[:n]], y[order[:n]])
        sroccs.append(srocc_score(y[order[n:]], ridge.predict(rows[order[n:]])))
    return np.array(sroccs)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rated", type=Path, required=True, help="folder of lay_out.py")
    parser.add_argument("--weights", nargs="+", required=True, metavar="NAME=FILE")
    parser.add_argument("--alpha", type=float, default=1.0, help="from one database to another")
    parser.add_argument("--cache", help="folder of the feature cache")
    parser.add_argument("--few", action="store_true", help="3,200 photos of BIQ2021 to train on")
    args = parser.parse_args()
    photos = rated(args.rated)
    if args.few:
        names = {Path(path).name for path in load_split("train", None)[0]}
        is_few = np.array([Path(path).name in names for path in photos.paths])
        photos = photos.part(is_few | photos.held_out | (photos.database == "CLIVE"))
    biq = photos.database == "BIQ2021"
    train, val, clive = biq & ~photos.held_out, biq & photos.held_out, ~biq
    asked = [("BIQ2021 -> val", train, val), ("BIQ2021 -> CLIVE", train, clive)]
    asked += [("CLIVE -> BIQ2021 val", clive, val)]
    few = [f"CLIVE, {n} labels" for n in FEW]
    print(table_row(["weights", *[name for name, *_ in asked], "CLIVE, ten splits", *few]))
    print(table_row(["---"] * (2 + len(asked) + len(few))))
    found = {}
    for pair in args.weights:
        name, file = pair.split("=", 1)
        state = load_state(file)
        encoder = as_encoder(state, cache_dir=args.cache, n_jobs=-1, verbose=1)
        rows = encoder.transform(photos.paths).astype(np.float64)
        if args.few:
            rows = standardised_anew(state, rows[train])[1](rows)
        cells = [name]
        for _, fitted, tested in asked:
            ridge = Ridge(alpha=args.alpha).fit(rows[fitted], photos.y[fitted])
            predicted = ridge.predict(rows[tested])
            found.setdefault(name, []).append(predicted)
            cells.append(f"{srocc_score(photos.y[tested], predicted):.4f}")
        own, y = rows[clive], photos.y[clive]
        splits = evaluate(RidgeCV(ALPHAS), own, y).scores["srocc"]
        cells.append(f"{np.median(splits):.4f} ± {np.std(splits, ddof=1):.4f}")
        for n in FEW:
            sroccs = few_labels(own, y, n)
            cells.append(f"{sroccs.mean():.4f} ± {sroccs.std(ddof=1):.4f}")
        print(table_row(cells), flush=True)
    (first, ours), *others = found.items()
    for other, theirs in others:
        for (name, _, tested), a, b in zip(asked, theirs, ours, strict=True):
            d, error = paired_bootstrap(photos.y[tested], a[None], b[None], 1000)
            print(f"\n{name}: {other} minus {first} {d:+.4f} ± {error:.4f}")


if __name__ == "__main__":
    main()
