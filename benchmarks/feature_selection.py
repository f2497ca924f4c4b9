"""Does noise-aware selection predict opinion scores better? BIQ2021, train -> val.

    python benchmarks/feature_selection.py --weights imagenet.skiqa --cache features
    python benchmarks/feature_selection.py --cost

Draws labels from the train split, tunes every method by the same inner cross-validation (3 folds,
SROCC), fits it to the draw and scores the val photos. Prints a Markdown table: mean and standard
deviation of SROCC over draws, and the difference to Ridge with two paired standard errors, over
draws of the labels and over val photos (bootstrap). Every Ridge has the same grid of penalties, in
units of the mean squared norm of its training rows. With all labels there is one draw.

Strengths, learning rate and steps were chosen while looking at scores on val photos; --fresh scores
photos of the train split instead, which are then not drawn as labels.

"any pairs" are controls: matched regardless of y.

--cost prints seconds and peak memory of `fit` on random features instead; the larger X takes
1.6 GB.

The data are read from the folder that SKIQA_DATA names (default ../shared/data from the project's
root), which must hold biq2021/mos.csv and biq2021/images.
"""

import argparse
import multiprocessing
import resource
import sys
import time

import numpy as np
from linear_probe import DATA, draws, load_split, paired_bootstrap, table_row
from scipy.linalg import solve
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import FunctionTransformer

from skiqa import ContrastiveQualityEncoder, SemanticNoiseRidge, SemanticNoiseSelector
from skiqa._matched_noise import matched_pairs
from skiqa.metrics import srocc_score

ALPHAS = np.logspace(-3, 1.5, 10)
ANY_PAIRS = {"tolerance": 1.0, "n_candidates": 1}


def ridge_path(rows, target, test):
    """Yield (alpha, predictions up to a constant) of ridges on centered rows; few samples."""
    gram = (rows @ rows.T).astype(np.float64)
    products = test @ rows.T
    unit = np.mean(np.square(rows).sum(axis=1))
    for alpha in ALPHAS:
        dual = solve(gram + alpha * unit * np.eye(len(gram)), target, assume_a="pos")
        yield alpha, products @ dual


def then_ridge(*fronts):
    """Return the path of Ridge behind each of some transformers."""

    def path(X, y, test):
        for number, front in enumerate(fronts):
            rows = front.fit_transform(X, y)
            mean = rows.mean(axis=0)
            test_rows = front.transform(test)
            for alpha, predicted in ridge_path(rows - mean, y - y.mean(), test_rows - mean):
                yield (number, alpha), predicted

    return path


def k_best(X, y, test):
    ks = [k for k in (30, 100, 300, 1000) if k < X.shape[1]]
    yield from then_ridge(*(SelectKBest(f_regression, k=k) for k in ks))(X, y, test)


def pca(X, y, test):
    """Yield ridges on leading components, all from one decomposition."""
    parts = PCA(svd_solver="full").fit(X)
    rows, test = parts.transform(X), parts.transform(test)
    for k in (10, 30, 100, 300, 1000):
        if k < len(X):
            for alpha, predicted in ridge_path(rows[:, :k], y - y.mean(), test[:, :k]):
                yield (k, alpha), predicted


def pls(X, y, test):
    """Yield every number of components from one fit: they are nested."""
    model = PLSRegression(16, scale=False).fit(X, y)
    centered = test - X.mean(axis=0)
    for k in (1, 2, 3, 4, 6, 8, 12, 16):
        yield k, centered @ (model.x_rotations_[:, :k] @ model.y_loadings_[0, :k])


def noise_ridge(**pairs):
    """Return the path of SemanticNoiseRidge: differences are samples whose target is 0."""

    def path(X, y, test):
        partners, _ = matched_pairs(X, y, **pairs)
        mean = X.mean(axis=0)
        target = np.concatenate([y - y.mean(), np.zeros(len(X))])
        for penalty in (0.3, 3.0, 30.0):
            differences = np.sqrt(penalty / 2) * (X - X[partners])
            rows = np.concatenate([X - mean, differences])
            for alpha, predicted in ridge_path(rows, target, test - mean):
                yield (penalty, alpha), predicted

    return path


def gates(strengths, **parameters):
    return then_ridge(
        *(SemanticNoiseSelector(strength=s, random_state=0, **parameters) for s in strengths)
    )


METHODS = {
    "Ridge": then_ridge(FunctionTransformer()),
    "SelectKBest + Ridge": k_best,
    "PCA + Ridge": pca,
    "PLSRegression": pls,
    "selector, closed form + Ridge": gates((0.125, 0.25, 0.5)),
    "selector, adversarial + Ridge": gates((0.2, 0.4), solver="adversarial"),
    "SemanticNoiseRidge": noise_ridge(),
    "closed form, any pairs": gates((0.125, 0.25, 0.5), **ANY_PAIRS),
    "adversarial, any pairs": gates((0.2, 0.4), solver="adversarial", **ANY_PAIRS),
    "SemanticNoiseRidge, any pairs": noise_ridge(**ANY_PAIRS),
}


def tuned(path, X, y, test, seed):
    """Return (settings, predictions for test) with the settings best in cross-validation."""
    scores = {}
    for fit, held in KFold(3, shuffle=True, random_state=seed).split(X):
        for settings, predicted in path(X[fit], y[fit], X[held]):
            scores.setdefault(settings, []).append(srocc_score(y[held], predicted))
    best = max(scores, key=lambda settings: np.mean(scores[settings]))
    return best, dict(path(X, y, test))[best]


def compare(train, mos, val, val_mos, sizes, n_draws, n_resamples, names):
    header = ["labels", "draws", "method", "SROCC", "difference", "s.e. draws", "s.e. photos"]
    print(table_row([*header, "settings"]))
    print(table_row(["---"] * (len(header) + 1)))
    for size in sizes:
        chosen = draws(len(train), size, n_draws)
        reference = None
        for name in names:
            fits = [tuned(METHODS[name], train[c], mos[c], val, d) for d, c in enumerate(chosen)]
            settings = [best for best, _ in fits]
            rows = np.stack([predicted for _, predicted in fits])
            scores = np.array([srocc_score(val_mos, row) for row in rows])
            spread = f" ± {scores.std(ddof=1):.4f}" if len(scores) > 1 else ""
            cells = [str(size), str(len(scores)), name, f"{scores.mean():.4f}{spread}"]
            if reference is None:
                reference = rows, scores
                cells += ["", "", ""]
            else:
                gains = scores - reference[1]
                error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.nan
                _, photos = paired_bootstrap(val_mos, rows, reference[0], n_resamples)
                cells += [f"{gains.mean():+.4f}", f"{error:.4f}", f"{photos:.4f}"]
            usual = max(set(settings), key=settings.count)
            cells.append(" ".join(f"{v:.3g}" for v in np.atleast_1d(usual)))
            print(table_row(cells), flush=True)


COSTS = {
    "SemanticNoiseSelector()": lambda: SemanticNoiseSelector(),
    'SemanticNoiseSelector("adversarial")': lambda: SemanticNoiseSelector("adversarial"),
    "SemanticNoiseRidge()": lambda: SemanticNoiseRidge(),
    "Ridge()": lambda: Ridge(),
}


def cost(name, n, d, results):
    generator = np.random.default_rng(0)
    X = np.empty((n, d), np.float32)
    for row in X:
        row[:] = generator.standard_normal(d, np.float32)
    y = X[:, :10].sum(axis=1) + generator.standard_normal(n, np.float32)
    model = COSTS[name]()
    if "adversarial" in name:
        import torch  # its import is no part of the fit

        torch.zeros(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    model.fit(X, y)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    results.put((seconds, cpu, memory / 2**20))


def print_costs(sizes):
    print(table_row(["fit", "n", "d", "seconds", "CPU seconds", "peak memory beside X, GB"]))
    print(table_row(["---"] * 6))
    context = multiprocessing.get_context("spawn")  # each in a process of its own: memory peaks
    for n, d in sizes:
        for name in COSTS:
            results = context.Queue()
            process = context.Process(target=cost, args=(name, n, d, results))
            process.start()
            seconds, cpu, memory = results.get()
            process.join()
            cells = [f"`{name}`", str(n), str(d), f"{seconds:.1f}", f"{cpu:.1f}", f"{memory:.2f}"]
            print(table_row(cells), flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="default", help="of the encoder")
    parser.add_argument("--labels", nargs="+", type=int, default=[100, 400, 1600, 3200])
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--bootstrap", type=int, default=200, help="resamples of the val photos")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    fresh = "score 800 photos of the train split, by which nothing was chosen, instead of val"
    parser.add_argument("--fresh", type=int, metavar="SEED", help=fresh)
    parser.add_argument("--cache", help="folder of the feature cache")
    parser.add_argument("--cost", action="store_true", help="seconds and memory instead")
    args = parser.parse_args()
    if args.cost:
        print_costs([(10_000, 4096), (100_000, 4096)])
        return
    if not (DATA / "biq2021" / "mos.csv").is_file():
        sys.exit(f"no biq2021/mos.csv in {DATA}: set SKIQA_DATA to the folder that holds biq2021/")
    train_paths, train_mos = load_split("train", None)
    val_paths, val_mos = load_split("val", None)
    encoder = ContrastiveQualityEncoder(weights=args.weights, cache_dir=args.cache, verbose=1)
    rows = encoder.fit_transform(train_paths + val_paths)
    train, val = np.split(rows, [len(train_paths)])
    if args.fresh is not None:
        order = np.random.default_rng(args.fresh).permutation(len(train))
        scored, drawn = np.split(order, [len(val)])
        val, val_mos = train[scored], train_mos[scored]
        train, train_mos = train[drawn], train_mos[drawn]
    sizes = sorted({min(size, len(train)) for size in args.labels})
    names = ["Ridge", *(name for name in args.methods if name != "Ridge")]
    compare(train, train_mos, val, val_mos, sizes, args.draws, args.bootstrap, names)


if __name__ == "__main__":
    main()
