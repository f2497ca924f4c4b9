"""Train one small network by each objective, and by dead leaves instead of photos: what is learned?

    python benchmarks/objectives.py                    # two hours on one core; repeated: goes on
    python benchmarks/objectives.py --table            # the runs that are done, as Markdown

From random weights, the same number of views run forward and backward for every objective, in the
objective's own batches and at its own rates. Three probes of the frozen network, none on photos it
was trained on:

- SROCC on BIQ2021 (ridge on 1,600 train photos, 800 val photos), with the features of all stages
  and with the mean of the last map, as the papers have it.
- level: SROCC of the level of a degradation, told by a ridge for each of KADIS's 25 operators on
  crops of pristine photos; mean over operators.
- type: share of those crops whose operator a linear classifier finds, of 25.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from from_scratch import degraded
from linear_probe import DATA, load_split
from PIL import Image
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skiqa import ContrastiveQualityEncoder
from skiqa.datasets import make_dead_leaves
from skiqa.degradations import KADIS
from skiqa.metrics import srocc_score
from skiqa.objectives import OBJECTIVES
from skiqa.persistence import save

VIEWS_A_PHOTO = {"contrique": 2, "qpt": 1, "arniqa": 2, "reiqa": 24, "weighted": 2}  # with gradient
RUNS = [(name, "photos") for name in VIEWS_A_PHOTO] + [("contrique", "dead leaves")]
ALPHAS = np.logspace(-1, 6, 22)
COLUMNS = {
    "stages": "BIQ2021, stages",
    "avg": "BIQ2021, last map",
    "level": "level",
    "type": "type",
}


def photos(work, side=320):
    """Return the centres of the photos that training draws from: no val photo, no pristine one."""
    path = work / "photos.npy"
    if not path.exists():  # decoded once: a run goes through all of them ten times
        squares = []
        for photo in map(Image.open, _photo_paths()):
            left, top = (photo.width - side) // 2, (photo.height - side) // 2
            square = photo.convert("RGB").crop((left, top, left + side, top + side))
            squares.append(np.array(square))
        np.save(path, np.stack(squares))
    return list(np.load(path, mmap_mode="r"))


def _photo_paths():
    unrated = [*(DATA / "photos/clothing").rglob("*"), *(DATA / "photos/grocery").rglob("*")]
    unrated = sorted(str(path) for path in unrated if path.suffix.lower() in (".jpg", ".png"))
    paths = load_split("train", None)[0] + unrated
    return [paths[i] for i in np.random.default_rng(0).permutation(len(paths))]


def dead_leaves(work, n):
    """Return n images of textured dead leaves, made once."""
    path = work / "dead_leaves.npy"
    if not path.exists():
        np.save(path, make_dead_leaves(n, image_shape=(256, 256), textured=True, random_state=0))
    return list(np.load(path, mmap_mode="r")[:n])


def synthetic(work, side=160, n=40):
    """Return (crops, types, levels, is_test): pristine photos under every operator and level."""
    pristine = sorted([*(DATA / "photos/gb82").glob("*.png"), *(DATA / "photos/cid22").glob("*")])
    chosen = [pristine[i] for i in np.random.default_rng(0).permutation(len(pristine))[:n]]
    path = work / "synthetic.npy"
    if not path.exists():
        np.save(path, np.stack(degraded(chosen, side, KADIS.operators)[0]))
    photo, kind, level = np.indices((n, len(KADIS.operators), 5)).reshape(3, -1)
    return np.load(path, mmap_mode="r"), kind, level, photo >= 0.6 * n


def last_map(encoder, X):
    """Return the features that ``pooling="avg"`` gives, from those of all stages."""
    center, scale = encoder.state_.center, encoder.state_.scale
    raw = X * np.sqrt(X.shape[1]) * scale.ravel() + center.ravel()
    width = encoder.state_.head["0.weight"].shape[1]
    parts = [half[:, -2 * width : -width] for half in np.split(raw, 2, axis=1)]
    return np.hstack([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts])


def probe(encoder, crops, kind, level, test):
    """Return the measures of a frozen encoder."""
    train, mos = load_split("train", 1600)
    val, val_mos = load_split("val", None)
    X = encoder.transform(train + val)
    found = {}
    for name, Z in (("stages", X), ("avg", last_map(encoder, X))):
        model = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(Z[: len(mos)], mos)
        found[name] = srocc_score(val_mos, model.predict(Z[len(mos) :]))
    X = last_map(encoder, encoder.transform(list(crops)))
    X = StandardScaler().fit(X[~test]).transform(X)
    scores = []
    for k in range(kind.max() + 1):
        a, b = (kind == k) & ~test, (kind == k) & test
        scores.append(srocc_score(level[b], RidgeCV(ALPHAS).fit(X[a], level[a]).predict(X[b])))
    found["level"] = np.mean(scores)
    classifier = RidgeClassifierCV(ALPHAS).fit(X[~test], kind[~test])
    found["type"] = classifier.score(X[test], kind[test])
    return {name: round(float(value), 4) for name, value in found.items()}


def trained(objective, source, seed, args, work):
    """Train a network; return (encoder, what the training took)."""
    batch = OBJECTIVES[objective].defaults_scratch["batch_size"]
    steps = args.views // (batch * VIEWS_A_PHOTO[objective])
    X = photos(work) if source == "photos" else dead_leaves(work, 3840)
    epochs = -(-steps * batch // len(X))
    X = X[: steps // epochs * batch]
    began, cpu = time.perf_counter(), time.process_time()
    encoder = ContrastiveQualityEncoder(
        args.backbone,
        weights=None,
        objective=objective,
        epochs=epochs,
        view_size=args.view_size,
        checkpoint_dir=work,
        random_state=seed,
        n_jobs=1,
        verbose=1,
    ).fit(X, authentic=[False] * len(X))
    record = {
        "photos": epochs * len(X),
        "seconds": round(time.perf_counter() - began),
        "cpu": round(time.process_time() - cpu),
        "loss": [round(loss, 3) for loss in encoder.loss_curve_],
    }
    return encoder, record


def untrained(args, seed, work):
    """Return a network of random weights: BatchNorm has seen photos, nothing else has learned."""
    return ContrastiveQualityEncoder(
        args.backbone,
        weights=None,
        epochs=1,
        learning_rate=1e-12,
        batch_size=32,
        view_size=args.view_size,
        random_state=seed,
    ).fit(photos(work)[:512], authentic=[False] * 512)


def table(records):
    """Print mean and standard deviation over seeds."""
    print(f"| objective | trained on | seeds | {' | '.join(COLUMNS.values())} | CPU s |")
    print("| --- " * (len(COLUMNS) + 4) + "|")
    groups = {}
    for record in records:
        groups.setdefault((record["objective"], record["source"]), []).append(record)
    for (objective, source), rows in groups.items():
        cells = []
        for name in COLUMNS:
            values = [row[name] for row in rows]
            spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}")
        cpu = np.mean([row.get("cpu", 0) for row in rows])
        cells.append(f"{cpu:.0f}")
        print(f"| {objective} | {source} | {len(rows)} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="mobilenetv3_small_100")
    parser.add_argument("--views", type=int, default=38400, help="of a run, with gradient")
    parser.add_argument("--view-size", type=int, default=64)
    names = ["untrained", *VIEWS_A_PHOTO]
    parser.add_argument("--objectives", nargs="+", choices=names, default=names)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", default="objectives.work", help="results, networks, checkpoints")
    parser.add_argument("--table", action="store_true", help="train nothing")
    args = parser.parse_args()
    work = Path(args.work)
    work.mkdir(exist_ok=True)
    results = work / "results.jsonl"
    lines = results.read_text().splitlines() if results.exists() else []
    records = [json.loads(line) for line in lines]
    if args.table:
        return table(records)
    done = {(r["objective"], r["source"], r["seed"]) for r in records}
    crops = synthetic(work)
    for seed in range(args.seeds):
        for objective, source in [("untrained", "-"), *RUNS]:
            if (objective, source, seed) in done or objective not in args.objectives:
                continue
            record = {"objective": objective, "source": source, "seed": seed}
            if objective == "untrained":
                encoder = untrained(args, seed, work)
            else:
                encoder, took = trained(objective, source, seed, args, work)
                record |= took
            save(encoder, work / f"{objective}-{source}-{seed}.skiqa")
            record |= probe(encoder, *crops)
            records.append(record)
            with open(results, "a") as file:
                file.write(json.dumps(record) + "\n")
            print(json.dumps(record), flush=True)
    table(records)


if __name__ == "__main__":
    main()
