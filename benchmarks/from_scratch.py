"""Train a small network from scratch by CONTRIQUE on a few hundred photos, on a CPU.

    python benchmarks/from_scratch.py

Prints the loss against its plateau log(N - 1), and the SROCC with which a ridge on frozen features
tells the degradation level (white noise, blur, JPEG; levels 1 to 5) of photos that the training
has not seen, for the trained network and for the same network untrained.
"""

import argparse
import math
import os
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skiqa import ContrastiveQualityEncoder
from skiqa.degradations import degrade
from skiqa.metrics import srocc_score

DATA = Path(os.environ.get("SKIQA_DATA", Path(__file__).parents[2] / "shared" / "data"))
OPERATORS = ("white_noise", "gaussian_blur", "jpeg")


def degraded(paths, side=192, operators=OPERATORS):
    """Return (images, levels, operators): each photo's centre under every operator and level."""
    images, levels, names = [], [], []
    for path in paths:
        photo = Image.open(path).convert("RGB")
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        photo = np.asarray(photo.crop((left, top, left + side, top + side)))
        for name in operators:
            for level in range(1, 6):
                images.append(degrade(photo, name, level=level))
                levels.append(level)
                names.append(name)
    return images, np.array(levels), np.array(names)


def probe(encoder, train, test):
    """Return the SROCC of the predicted level on unseen photos, mean over operators."""
    X, Z = encoder.transform(train[0]), encoder.transform(test[0])
    scores = []
    for name in OPERATORS:
        a, b = train[2] == name, test[2] == name
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 16)))
        model.fit(X[a], train[1][a])
        scores.append(srocc_score(test[1][b], model.predict(Z[b])))
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--batch-size", type=int, default=128)  # two photos of a class in a batch
    parser.add_argument("--view-size", type=int, default=64)
    parser.add_argument("--backbone", default="resnet18")
    args = parser.parse_args()
    paths = sorted(str(p) for p in (DATA / "photos").rglob("*") if p.suffix in (".jpg", ".png"))
    paths = [str(p) for p in np.random.default_rng(0).permutation(paths)]
    train, test = degraded(paths[-60:-30]), degraded(paths[-30:])
    options = {"weights": None, "pooling": "avg", "random_state": 0}
    began = time.perf_counter()
    encoder = ContrastiveQualityEncoder(
        args.backbone,
        epochs=args.epochs,
        batch_size=args.batch_size,
        view_size=args.view_size,
        verbose=1,
        **options,
    ).fit(paths[: args.photos], authentic=[False] * args.photos)
    plateau = math.log(8 * args.batch_size - 1)
    print(f"{args.photos} photos, {args.epochs} epochs, {time.perf_counter() - began:.0f} s")
    print("loss of every tenth epoch", [round(loss, 2) for loss in encoder.loss_curve_[::10]])
    last = np.mean(encoder.loss_curve_[-5:])
    print(f"plateau log(N - 1) {plateau:.3f}, below it by {plateau - last:.3f} (last 5 epochs)")
    untrained = ContrastiveQualityEncoder(args.backbone, epochs=0, **options).fit(paths[:2])
    for name, fitted in (("untrained", untrained), ("trained", encoder)):
        scores = probe(fitted, train, test)
        each = ", ".join(f"{o} {s:.3f}" for o, s in zip(OPERATORS, scores, strict=True))
        print(f"{name}: SROCC of the level on unseen photos {np.mean(scores):.3f} ({each})")


if __name__ == "__main__":
    main()
