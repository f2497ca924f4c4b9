"""Does a small student learn from photos that only a larger teacher rated? BIQ2021, train -> val.

    python benchmarks/distillation.py --weights imagenet.skiqa --cache features
    python benchmarks/distillation.py --weights imagenet.skiqa --cache features --teacher ridge

Draws labels from the train split. The teacher learns from them and rates photos without a label:
those of SKIQA_DATA/photos ("other photos", phone photos for the most part), or the train photos
that were not drawn ("same database"). The student, features at half scale (a fifth of the
network's cost) and a ridge, learns from labels and ratings by `PseudoLabelRegressor`. Its penalty
and what a rating counts are chosen by 3-fold cross-validation on the labels (SROCC), in which the
teacher is fitted anew; "student alone" has the same labels, penalties and folds.

Prints a Markdown table: mean and standard deviation of val SROCC over draws, and the difference to
the student alone with two paired standard errors, over draws of the labels and over val photos
(bootstrap).

Teachers see both scales: "ridge", or "kernel" (kernel ridge, Gaussian), tuned by cross-validation
on the labels. A fine-tuned teacher: benchmarks/distill_finetuned.py.

For speed, all features are their first 512 principal components over train and other photos. The
data are read from the folder that SKIQA_DATA names (default ../shared/data from the project's
root), which must hold biq2021/ and photos/.
"""

import argparse

import numpy as np
from linear_probe import DATA, draws, load_split, paired_bootstrap, table_row
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skiqa import ContrastiveQualityEncoder, PseudoLabelRegressor
from skiqa.metrics import srocc_score, srocc_scorer

N_COMPONENTS = 512
ALPHAS = np.logspace(-2, 2, 13)
WEIGHTS = (0.03, 0.1, 0.3, 1.0, 3.0)


def components(paths, n_known, cache, weights, **parameters):
    """Return features; their axes are those of the first `n_known` photos."""
    encoder = ContrastiveQualityEncoder(weights=weights, cache_dir=cache, verbose=1, **parameters)
    rows = encoder.fit(paths).transform(paths)
    known = PCA(N_COMPONENTS, svd_solver="randomized", random_state=0).fit(rows[:n_known])
    return known.transform(rows)


def columns(start, stop, regressor):
    """Return a regressor of some columns of X."""
    return make_pipeline(ColumnTransformer([("of", "passthrough", slice(start, stop))]), regressor)


def tuned_teacher(kind, width, X, y):
    """Return a teacher with the settings best on the labels."""
    grid = {"alpha": [0.03, 0.1, 0.3, 1.0, 3.0], "kernel": ["linear"]}
    if kind == "kernel":
        grid |= {"kernel": ["rbf"], "gamma": [0.1, 0.3, 1.0]}
    grid = {f"regressor__{name}": values for name, values in grid.items()}
    regressor = TransformedTargetRegressor(KernelRidge(), transformer=StandardScaler())
    search = GridSearchCV(regressor, grid, scoring=srocc_scorer, cv=3).fit(X[:, :width], y)
    return columns(0, width, search.best_estimator_)


def ridge_path(X, y, weights, test):
    """Yield (alpha, predictions) of weighted ridges, all from one decomposition."""
    total = weights.sum()
    mean, level = weights @ X / total, weights @ y / total
    rows = X - mean
    values, axes = np.linalg.eigh((rows.T * weights) @ rows)
    projected = axes.T @ (rows.T @ (weights * (y - level)))
    test = (test - mean) @ axes
    for alpha in ALPHAS:
        yield alpha, level + test @ (projected / (values + alpha))


def students(model, X, rated, test):
    """Yield ((weight of a rating, alpha), predictions for test); weight 0 is the student alone."""
    kept = model.confidence_ >= model.min_confidence
    for weight in (0.0, *WEIGHTS):
        counts = np.where(rated, 1.0, weight * model.confidence_) * kept
        used = counts > 0
        path = ridge_path(X[used], model.transduction_[used], counts[used], test)
        for alpha, predicted in path:
            yield (weight, alpha), predicted


def one_draw(teacher, width, X, y, test, seed):
    """Return (predictions of the student alone, of the distilled one, of the teacher, settings)."""
    model = PseudoLabelRegressor(teacher, columns(width, None, Ridge()), random_state=0)
    labelled, scores = np.flatnonzero(~np.isnan(y)), {}
    for _, held in KFold(3, shuffle=True, random_state=seed).split(labelled):
        held = labelled[held]
        rows = np.setdiff1d(np.arange(len(y)), held)
        part = y[rows]
        model.fit(X[rows], part)
        for key, predicted in students(model, X[rows, width:], ~np.isnan(part), X[held, width:]):
            scores.setdefault(key, []).append(srocc_score(y[held], predicted))
    mean = {key: np.mean(values) for key, values in scores.items()}
    alone = max((key for key in mean if key[0] == 0), key=mean.get)
    best = max((key for key in mean if key[0] > 0), key=mean.get)
    weight, alpha = best
    model.set_params(unlabeled_weight=weight, student__ridge__alpha=alpha).fit(X, y)
    single = Ridge(alone[1]).fit(X[labelled, width:], y[labelled])
    return single.predict(test[:, width:]), model.predict(test), model.teacher_.predict(test), best


def srocc_of_rows(y, predictions):
    return np.array([srocc_score(y, row) for row in predictions])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="default", help="of the encoder")
    parser.add_argument("--teacher", choices=["ridge", "kernel"], default="kernel")
    parser.add_argument("--labels", nargs="+", type=int, default=[100, 400, 1600])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples")
    parser.add_argument("--cache", help="folder of the feature cache")
    args = parser.parse_args()
    train_paths, train_mos = load_split("train", None)
    val_paths, val_mos = load_split("val", None)
    suffixes = (".jpg", ".jpeg", ".png")
    others = sorted(str(p) for p in (DATA / "photos").rglob("*") if p.suffix.lower() in suffixes)
    paths = train_paths + others + val_paths
    n_train, n_known = len(train_paths), len(train_paths) + len(others)
    how = (n_known, args.cache, args.weights)
    small = components(paths, *how, scales=(0.5,))
    large = components(paths, *how)
    width = large.shape[1]
    X = np.hstack([large, small]).astype(np.float64)
    X, val = X[:n_known], X[n_known:]

    header = ["labels", "unlabelled", "draws", "teacher", "student alone", "distilled"]
    header += ["difference", "s.e. draws", "s.e. photos", "usual weight"]
    print(f"BIQ2021, teacher: {args.teacher}; {len(val)} val photos, SROCC\n")
    print(table_row(header))
    print(table_row(["---"] * len(header)), flush=True)
    for size in args.labels:
        chosen = draws(n_train, size, args.draws)
        teachers = [tuned_teacher(args.teacher, width, X[c], train_mos[c]) for c in chosen]
        for pool in ("other photos", "same database"):
            results = []
            for seed, (c, teacher) in enumerate(zip(chosen, teachers, strict=True)):
                rated = np.sort(c)  # in either pool the same folds
                if pool == "same database":
                    rows = np.arange(n_train)
                else:
                    rows = np.concatenate([rated, np.arange(n_train, n_known)])
                y = np.full(n_known, np.nan)
                y[c] = train_mos[c]
                results.append(one_draw(teacher, width, X[rows], y[rows], val, seed))
            *predictions, settings = zip(*results, strict=True)
            alone, distilled, taught = map(np.stack, predictions)
            scores = [srocc_of_rows(val_mos, drawn) for drawn in (taught, alone, distilled)]
            gains = scores[2] - scores[1]
            _, photos = paired_bootstrap(val_mos, distilled, alone, args.bootstrap)
            weights = [weight for weight, _ in settings]
            cells = [f"{s.mean():.4f} ± {s.std(ddof=1):.4f}" for s in scores]
            error = gains.std(ddof=1) / np.sqrt(len(gains))
            cells += [f"{gains.mean():+.4f}", f"{error:.4f}", f"{photos:.4f}"]
            unlabelled = f"{len(rows) - size:,}, {pool}"
            usual = f"{max(set(weights), key=weights.count):g}"
            print(table_row([f"{size:,}", unlabelled, str(len(gains)), *cells, usual]), flush=True)


if __name__ == "__main__":
    main()
