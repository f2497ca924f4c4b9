"""What noise scores on few images, and how wide the interval of a good scorer is there.

    python benchmarks/few_images.py

Prints, for each number of images: of predictions that know nothing (normal numbers against normal
numbers) the absolute SROCC and PLCC after either logistic, their median and 95 % quantile; and of
predictions whose correlation with the opinions is .8 the mean width of `srocc_interval`, and how
often it holds the truth. Two minutes of one core.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skiqa.metrics import plcc_score, srocc_score
from skiqa.model_selection import srocc_interval

N_DRAWS = 300
RHO = 0.8
TRUTH = 6 / np.pi * np.arcsin(RHO / 2)  # SROCC of a normal distribution


def quantiles(values):
    return " / ".join(f"{q:.2f}" for q in np.quantile(np.abs(values), [0.5, 0.95]))


def main():
    warnings.simplefilter("ignore", ConvergenceWarning)
    rng = np.random.default_rng(0)
    print("| images | SROCC | PLCC, logistic4 | PLCC, logistic5 | interval | holds the truth |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for n in (6, 8, 12, 20, 30, 50, 100):
        noise = [rng.standard_normal((2, n)) for _ in range(N_DRAWS)]
        row = [quantiles([srocc_score(y, x) for y, x in noise])]
        for mapping in ("logistic4", "logistic5"):
            row.append(quantiles([plcc_score(y, x, mapping=mapping) for y, x in noise]))
        found = []
        for _ in range(N_DRAWS):
            y, x = rng.multivariate_normal([0, 0], [[1, RHO], [RHO, 1]], n).T
            found.append(srocc_interval(x, y, n_resamples=200))
        held = np.mean([f.low <= TRUTH <= f.high for f in found])
        row += [f"{np.mean([f.high - f.low for f in found]):.2f}", f"{held:.2f}"]
        print(f"| {n} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
