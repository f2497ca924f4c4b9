"""Where does contrast pay? An encoder against its start: alone, beside it, and stage by stage.

    python benchmarks/lay_out.py ...                                      # rated photos
    python benchmarks/contrast_pays.py --start imagenet.skiqa --rated rated   # the start alone
    python benchmarks/contrast_pays.py ... --train arniqa levels --views 100000
    python benchmarks/contrast_pays.py ... --encoders mine=FILE.skiqa --stages

Four measures of frozen stage features, each by ridges whose penalty is chosen by cross-validation
that keeps photos apart, and each many times, with other labels and other photos (seeds):

faults  SROCC of the level within each of KADIS's 25 operators, and share of crops whose operator is
        found, on crops of pristine photos that no training has seen; from 50, 200 and 1,000 crops
opinions  SROCC on val photos of BIQ2021 and on CLIVE, from 50, 100 and 200 labels of the same
transfer  a ridge learns the level from one group of operators; SROCC of the level within each
        operator of the other groups
order   a ridge learns from 200 opinions; share of pairs of copies of pristine photos that it puts
        in the order of their levels, which nothing has told it

Each cell is the mean over seeds, and, in brackets, the difference to the start with its standard
error over seeds, both having met the same labels and photos. Seeds share their photos, so the error
is that of the labels, and on other photos would be larger. "verdict" counts the measures (the mean
over their cells) that are above and below the start's by more than two such errors.

The start is that of `start.py`: the bundled network has seen ratings of BIQ2021, and levels of
copies. Candidates, trained from it on the train photos of BIQ2021 and phone photos, the
first stages only, go on where they were when the command is repeated:

arniqa  ARNIQA's contrast, at its own rate and batch
levels  the yardstick that contrast must beat: one degradation of KADIS, its type told by a linear
        classifier and its level by a regression, with the same photos, views, rate and batch
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from copies import DISLIKED, chains, share_in_order
from linear_probe import load_split
from objectives import photos, synthetic
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from torch.nn import functional as F
from train_default import pristine_photos

from skiqa import ContrastiveQualityEncoder
from skiqa._network.build import build
from skiqa.datasets import load_clive
from skiqa.degradations import KADIS
from skiqa.degradations._random import uniform
from skiqa.metrics import srocc_score
from skiqa.objectives import Arniqa, Objective
from skiqa.objectives._common import cut_at_offsets, halved
from skiqa.persistence import save

ALPHAS = np.logspace(-4, 3, 22)
CROPS = (50, 200, 1000)
LABELS = (50, 100, 200)
GROUP = np.array([operator.group for operator in KADIS.operators])
N_TOLD = len(KADIS) + 1  # a number for each type, and the level
MONOTONE = np.array([operator.monotone for operator in KADIS.operators])


class Levels(Objective):
    """No contrast: the type of a degradation by a linear classifier, its level by a regression."""

    defaults_scratch = Arniqa.defaults_scratch
    defaults_pretrained = Arniqa.defaults_pretrained
    learning_rate_batch = Arniqa.learning_rate_batch

    def __init__(self, *, temperature=1.0, projection_dim=N_TOLD):
        super().__init__(temperature=temperature, projection_dim=projection_dim)

    def views(self, windows, indices, authentic, seeds, view_size):
        """Return a view at full and one at half scale of each photo, both degraded alike."""
        draw = uniform(seeds, (4,), stream=1000)
        types = (draw[:, 0] * len(KADIS)).long()
        levels = 1 + (draw[:, 1] * 5).long()
        full = cut_at_offsets(windows, draw[:, 2:], view_size)
        half = halved(windows, "bicubic").clamp(0, 1)
        views = [KADIS.apply(x, types, levels, seeds + k) for k, x in enumerate((full, half))]
        return torch.cat(views), torch.stack([types, levels], dim=1)

    def loss(self, projections, labels):
        """Return the cross-entropy of the type and the squared error of the level, in fifths."""
        types, levels = labels.repeat(2, 1).T
        told = projections[:, -1] - (levels - 3) / 5
        return F.cross_entropy(projections[:, :-1], types) + told.square().mean()


CANDIDATES = {"arniqa": Arniqa, "levels": Levels}


def candidate(name, X, args, work):
    """Return the file of a network trained from the start; train it if there is none."""
    path = work / f"{name}-{args.view_size}-{args.first_stages}-{args.views}.skiqa"
    if not path.exists():
        epochs = max(1, round(args.views / (2 * len(X))))  # two views of each photo
        encoder = ContrastiveQualityEncoder(
            weights=args.start,
            objective=CANDIDATES[name](),
            epochs=epochs,
            view_size=args.view_size,
            learning_rate=args.learning_rate,
            trained_first_stages=args.first_stages,
            checkpoint_dir=work,
            device=args.device,
            random_state=0,
            verbose=1,
        )
        began, cpu = time.perf_counter(), time.process_time()
        encoder.fit(X, authentic=np.zeros(len(X), bool))  # degraded, all of them
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        losses = " ".join(f"{loss:.3f}" for loss in encoder.loss_curve_)
        print(
            f"{name}: {2 * epochs * len(X):,} views, {seconds:.0f} s, {cpu:.0f} CPU s; loss by "
            f"epoch {losses}\n",
            flush=True,
        )
        save(encoder, path)
    return path


# ---------------------------------------------------------------- what is measured on


def fitted_ridge(X, Y, groups):
    """Return a ridge with the penalty that predicts groups best that it has not seen.

    Leaving single crops out would choose too small a one: crops of one photo are alike.
    """
    X, errors = X.astype(np.float64), np.zeros(len(ALPHAS))
    for a, b in GroupKFold(min(5, len(np.unique(groups)))).split(X, Y, groups):
        center, level = X[a].mean(axis=0), Y[a].mean(axis=0)
        values, axes = np.linalg.eigh((X[a] - center) @ (X[a] - center).T)
        told = axes.T @ (Y[a] - level)  # of k axes, for t targets: (k, t)
        seen = (X[b] - center) @ (X[a] - center).T @ axes
        for i, alpha in enumerate(ALPHAS):
            predicted = level + (seen / (values + alpha)) @ told
            errors[i] += np.square(predicted - Y[b]).sum()
    return Ridge(ALPHAS[errors.argmin()]).fit(X, Y)


class Data:
    """Photos and crops of all measures, and the draws of each seed."""

    def __init__(self, args, work):
        of_crops = work / f"crops-{args.pristine}"
        of_crops.mkdir(exist_ok=True)
        self.crops, self.type, self.level, _ = synthetic(of_crops, n=args.pristine)
        self.photo = np.arange(len(self.type)) // (len(KADIS) * 5)
        pool, pool_mos = load_split("train", args.pool)
        val, val_mos = load_split("val", args.val)
        self.biq2021, self.biq2021_mos = pool + val, np.concatenate([pool_mos, val_mos])
        self.in_pool = np.arange(len(self.biq2021)) < len(pool)
        clive = load_clive(Path(args.rated) / "ChallengeDB_release")
        chosen = np.random.default_rng(0).permutation(len(clive.target))[: args.clive]
        self.clive = [str(clive.data[i]) for i in chosen]
        self.clive_mos = clive.target[chosen]
        self.pristine = pristine_photos()[:: max(1, 85 // args.copied)][: args.copied]

    def rows(self, encoder):
        """Return the stage features of everything: {what: array}."""
        some = chains(encoder, self.pristine, operators=DISLIKED, n_operators=6)
        return {
            "crops": encoder.transform(list(self.crops)),
            "biq2021": encoder.transform(self.biq2021),
            "clive": encoder.transform(self.clive),
            "copies": np.stack([chain.rows for chain in some]),
        }

    def measure(self, rows, seed):
        """Return {measure: {cell: value}} of one encoder's rows, for one seed."""
        return {
            "faults": self._faults(rows["crops"], np.random.default_rng([seed, 1])),
            "opinions": self._opinions(rows, np.random.default_rng([seed, 2])),
            "transfer": self._transfer(rows["crops"], np.random.default_rng([seed, 3])),
            "order": self._order(rows, np.random.default_rng([seed, 4])),
        }

    def _split_photos(self, rng):
        n = self.photo.max() + 1
        train = np.isin(self.photo, rng.permutation(n)[: round(0.6 * n)])
        return rng.permutation(np.flatnonzero(train)), np.flatnonzero(~train)

    def _faults(self, X, rng):
        train, test = self._split_photos(rng)
        found = {}
        for n in CROPS:
            a = train[:n]
            told = fitted_ridge(X[a], self.level[a], self.photo[a]).predict(X[test])
            found[f"level, {n}"] = self._level_srocc(test, told, np.unique(self.type))
            told = fitted_ridge(X[a], np.eye(len(KADIS))[self.type[a]], self.photo[a])
            right = told.predict(X[test]).argmax(axis=1) == self.type[test]
            found[f"type, {n}"] = right.mean()
        return found

    def _opinions(self, rows, rng):
        found = {}
        pool = rng.permutation(np.flatnonzero(self.in_pool))
        val = np.flatnonzero(~self.in_pool)
        order = rng.permutation(len(self.clive_mos))
        for n in LABELS:
            for name, X, y, a, b in (
                ("BIQ2021", rows["biq2021"], self.biq2021_mos, pool[:n], val),
                ("CLIVE", rows["clive"], self.clive_mos, order[:n], order[max(LABELS) :]),
            ):
                told = fitted_ridge(X[a], y[a], a).predict(X[b])
                found[f"{name}, {n}"] = srocc_score(y[b], told)
        return found

    def _transfer(self, X, rng):
        train, test = self._split_photos(rng)
        scores = []
        for group in np.unique(GROUP[MONOTONE]):
            learned = np.flatnonzero(MONOTONE & (group == GROUP))
            a = train[np.isin(self.type[train], learned)][:200]
            told = fitted_ridge(X[a], self.level[a], self.photo[a]).predict(X[test])
            others = np.flatnonzero(MONOTONE & (group != GROUP))
            scores.append(self._level_srocc(test, told, others))
        return {"level": np.mean(scores)}

    def _order(self, rows, rng):
        a = rng.permutation(np.flatnonzero(self.in_pool))[:200]
        ridge = fitted_ridge(rows["biq2021"][a], self.biq2021_mos[a], a)
        copies = rows["copies"]
        scores = ridge.predict(copies.reshape(-1, copies.shape[2])).reshape(copies.shape[:2])
        return {"in order": share_in_order(scores)}

    def _level_srocc(self, test, told, types):
        """Return the SROCC of the level within each of some types, mean over these."""
        scores = [
            srocc_score(self.level[test][self.type[test] == t], told[self.type[test] == t])
            for t in types
        ]
        return np.mean(scores)


# ---------------------------------------------------------------- what is compared


def beside(rows, start):
    """Return rows of two encoders side by side, as `keep_start` has them."""
    return {k: np.concatenate([x, start[k]], axis=-1) / np.sqrt(2) for k, x in rows.items()}


def stages(state, rows):
    """Yield the rows of each stage alone, both scales: (number from 1, rows)."""
    network = build(state)
    side = network.stride
    with torch.no_grad():
        widths = [2 * x.shape[1] for x in network.eval().maps(torch.zeros(1, 3, side, side))]
    ends = np.cumsum(widths)  # of each stage the means and deviations, for one scale
    for k, (end, width) in enumerate(zip(ends, widths, strict=True), 1):
        one = np.arange(end - width, end)
        columns = np.concatenate([one, ends[-1] + one])
        yield k, {name: x[..., columns] for name, x in rows.items()}


def table(found, against):
    """Print one measure's cells and the verdict; found: {row: [{measure: {cell: value}}]}."""
    for measure in ("faults", "opinions", "transfer", "order"):
        cells = list(next(iter(found.values()))[0][measure])
        print(f"\n| {measure} | {' | '.join(cells)} |\n| --- {'| --- ' * len(cells)}|")
        for name, seeds in found.items():
            values = np.array([[seed[measure][cell] for cell in cells] for seed in seeds])
            texts = [f"{mean:.3f}" for mean in values.mean(axis=0)]
            if name != against[name]:
                gains = differences(found, name, against[name], measure)
                texts = [
                    f"{text} ({gain:+.3f} ± {error:.3f})"
                    for text, gain, error in zip(texts, *mean_and_error(gains), strict=True)
                ]
            print(f"| {name} | {' | '.join(texts)} |", flush=True)
    print("\n| verdict | faults | opinions | transfer | order | above | below |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in found:
        if name == against[name]:
            continue
        texts, z = [], []
        for measure in ("faults", "opinions", "transfer", "order"):
            gains = differences(found, name, against[name], measure).mean(axis=1)
            gain, error = mean_and_error(gains)
            texts.append(f"{gain:+.4f} ± {error:.4f}")
            z.append(gain / max(error, 1e-12))
        above, below = np.sum(np.array(z) > 2), np.sum(np.array(z) < -2)
        print(f"| {name} | {' | '.join(texts)} | {above} | {below} |", flush=True)


def differences(found, name, other, measure):
    """Return the differences of all cells of a measure, seed by seed: (n_seeds, n_cells)."""
    pairs = zip(found[name], found[other], strict=True)
    return np.array([[a[measure][c] - b[measure][c] for c in a[measure]] for a, b in pairs])


def mean_and_error(x):
    """Return mean and standard error over the first axis."""
    return x.mean(axis=0), x.std(axis=0, ddof=1) / np.sqrt(len(x))


def arguments(parser):
    """Add what a training takes, which benchmarks/gpu asks for, too."""
    parser.add_argument("--start", default="default", help="weights that training starts from")
    parser.add_argument("--views", type=int, default=100_000, help="of a candidate's training")
    parser.add_argument("--view-size", type=int, default=96)
    parser.add_argument("--first-stages", type=int, default=3, help="those that are trained")
    parser.add_argument("--learning-rate", type=float, help="default: the objective's own")
    parser.add_argument("--device", default="auto")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rated", default="rated", help="what lay_out.py has written")
    parser.add_argument("--train", nargs="+", choices=CANDIDATES, default=[])
    arguments(parser)
    parser.add_argument("--encoders", nargs="+", default=[], metavar="NAME=FILE", help="to measure")
    parser.add_argument("--stages", action="store_true", help="also each stage alone")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pristine", type=int, default=40, help="photos whose crops are degraded")
    parser.add_argument("--copied", type=int, default=20, help="photos of which copies are ordered")
    parser.add_argument("--pool", type=int, default=600, help="train photos that labels come from")
    parser.add_argument("--val", type=int, default=800)
    parser.add_argument("--clive", type=int, default=1162)
    parser.add_argument(
        "--work", default="contrast_pays.work", help="networks, checkpoints, caches"
    )
    args = parser.parse_args()
    work = Path(args.work)
    work.mkdir(exist_ok=True)
    files = {name: candidate(name, photos(work), args, work) for name in args.train}
    files |= dict(item.split("=", 1) for item in args.encoders)
    data, found, against = Data(args, work), {}, {}
    start = None
    for name, weights in [("start", args.start), *files.items()]:
        encoder = ContrastiveQualityEncoder(
            weights=weights, cache_dir=work / "cache", device=args.device, verbose=1
        ).fit(data.biq2021)
        rows = data.rows(encoder)
        start = rows if start is None else start
        kinds = {name: (rows, "start")}
        if name != "start":
            kinds[f"{name} + start"] = (beside(rows, start), "start")
        if args.stages:
            for k, part in stages(encoder.state_, rows):
                kinds[f"{name}, stage {k}"] = (part, f"start, stage {k}")
        for kind, (part, other) in kinds.items():
            found[kind] = [data.measure(part, seed) for seed in range(args.seeds)]
            against[kind] = other
    table(found, against)


if __name__ == "__main__":
    main()
