"""Does a small student learn from photos that a fine-tuned teacher rated? BIQ2021, train -> val.

    python benchmarks/finetune.py --weights imagenet.skiqa               # the teacher
    python benchmarks/finetune.py --weights imagenet.skiqa --scales 0.5  # the student alone
    python benchmarks/distill_finetuned.py --weights imagenet.skiqa

The teacher is the bundled network at both scales, fine-tuned to the train photos. It rates the
photos in SKIQA_DATA/photos, which have no scores. Students, a fifth of its cost, see half scale: a
ridge on frozen features, or a network fine-tuned itself. They learn from the train photos alone,
or also, by PseudoLabelRegressor, from those that the teacher rated; the fine-tuning then has fewer
epochs, so that it takes about as many steps. Prints val SROCC, and the difference to the same
student alone with its paired-bootstrap standard error. A killed fit goes on.

The data are read from the folder that SKIQA_DATA names (default ../shared/data from the project's
root), which must hold biq2021/ and photos/.
"""

import argparse
from pathlib import Path

import numpy as np
from linear_probe import DATA, load_split, paired_bootstrap, table_row
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skiqa import ContrastiveQualityEncoder, FineTunedQualityRegressor, PseudoLabelRegressor
from skiqa.metrics import srocc_score
from skiqa.persistence import load


class KeptRatings(RegressorMixin, BaseEstimator):
    """A teacher whose ratings are kept, as all students ask for the same."""

    def __init__(self, scores):
        self.scores = scores

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.array([self.scores[path] for path in X])


def ratings_by_path(file, paths, model):
    """Return the ratings of some photos as a dict, read from a file or made once."""
    if not file.exists():
        np.save(file, load(model).set_params(contrastivequalityencoder__verbose=1).predict(paths))
    return dict(zip(paths, np.load(file).tolist(), strict=True))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="default", help="of the encoder")
    parser.add_argument("--work", type=Path, default=Path("finetune.work"))
    parser.add_argument("--teacher", type=int, default=0, metavar="SEED")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the students")
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    (train, mos), (val, val_mos) = load_split("train", None), load_split("val", None)
    suffixes = (".jpg", ".jpeg", ".png")
    others = sorted(str(p) for p in (DATA / "photos").rglob("*") if p.suffix.lower() in suffixes)
    X, y = train + others, np.concatenate([mos, np.full(len(others), np.nan)])

    model = args.work / f"fine-tuned-1-0.5-0-{args.teacher}.skiqa"
    scores = ratings_by_path(args.work / f"teacher-{args.teacher}.npy", others + val, model)
    teacher = FrozenEstimator(KeptRatings(scores))
    how = {"scales": (0.5,), "cache_dir": args.work / "features"}
    encoder = ContrastiveQualityEncoder(weights=args.weights, **how)
    ridge = make_pipeline(encoder, Ridge())
    students = [("ridge", ridge, ridge.fit(train, mos))]
    start = FrozenEstimator(encoder)  # `fit` of the pipeline has fitted it
    options = {"epochs": args.epochs, "verbose": 1}
    options |= {"checkpoint_dir": args.work / "checkpoints", "maps_dir": args.work / "maps"}
    for seed in args.seeds:
        tuned = FineTunedQualityRegressor(start, random_state=seed, **options)
        alone = load(args.work / f"fine-tuned-0.5-0-{seed}.skiqa")
        students.append((f"fine-tuned, seed {seed}", tuned, alone))
    print(f"{len(mos)} labels, {len(others)} photos rated by the teacher; {len(val)} val photos")
    print(f"teacher: {srocc_score(val_mos, teacher.predict(val)):.4f}\n")
    print(table_row(["student", "alone", "distilled", "difference", "s.e."]))
    print(table_row(["---"] * 5), flush=True)
    for name, student, alone in students:
        distilled = PseudoLabelRegressor(teacher, student).fit(X, y)
        predicted = [m.predict(val) for m in (distilled, alone)]
        gain, error = paired_bootstrap(val_mos, *(p[None] for p in predicted), 1000)
        scores = [f"{srocc_score(val_mos, p):.4f}" for p in reversed(predicted)]
        print(table_row([name, *scores, f"{gain:+.4f}", f"{error:.4f}"]), flush=True)


if __name__ == "__main__":
    main()
