"""
Features once for a whole cluster
=================================

You learn to let a Dask cluster search over a regressor while each photo goes through the network
once: workers share a ``cache_dir``, which is filled by all of them before the search (``pip install
"dask[distributed]"``). Here the cluster is two processes of this machine; ``--dask ADDRESS`` takes
another one, whose workers see the folder of ``--cache-dir``.
"""

# %%
# Rated photos: crops of two scenes, blurred by known amounts. In earnest: paths and ratings.
import argparse
import tempfile
import time

import joblib
import matplotlib.pyplot as plt
from dask.distributed import Client
from sklearn.datasets import load_sample_images
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from skiqa import ContrastiveQualityEncoder
from skiqa.degradations import degrade
from skiqa.metrics import srocc_scorer

photos, ratings, scenes = [], [], []
for scene, image in enumerate(load_sample_images().images):
    for left in (0, 160, 320):
        crop = image[100:260, left : left + 160]
        for level in (1, 3, 5):
            photos.append(degrade(crop, "gaussian_blur", level=level))
            ratings.append(1 - level / 6)
            scenes.append(3 * scene + left // 160)

# %%
# Three penalties and two folds are six fits, each of which asks for the features of all photos.


def search(cache_dir):
    """Return a search over the penalty of a ridge."""
    encoder = ContrastiveQualityEncoder(cache_dir=cache_dir)
    grid = {"ridge__alpha": [0.1, 1.0, 10.0]}
    model = make_pipeline(encoder, Ridge())
    return GridSearchCV(model, grid, scoring=srocc_scorer, cv=GroupKFold(2), n_jobs=2)


def fill_cache(cache_dir, some):
    """Compute the features of some photos, for whoever asks next."""
    ContrastiveQualityEncoder(cache_dir=cache_dir).fit(some).transform(some)


# %%
# One process without a cache, then the cluster. The guard is for workers, which import this file.
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--dask", metavar="ADDRESS")
    parser.add_argument("--cache-dir", metavar="DIR")
    arguments = parser.parse_args()
    start = time.perf_counter()
    alone = search(None).set_params(n_jobs=1).fit(photos, ratings, groups=scenes)
    seconds = [time.perf_counter() - start]

    local = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        tempfile.TemporaryDirectory() as folder,
        Client(arguments.dask, **({} if arguments.dask else local)),
        joblib.parallel_config(backend="dask"),
    ):
        shared = arguments.cache_dir or folder
        start = time.perf_counter()
        parts = [photos[first::4] for first in range(4)]
        joblib.Parallel()(joblib.delayed(fill_cache)(shared, part) for part in parts)
        spread = search(shared).fit(photos, ratings, groups=scenes)
        seconds.append(time.perf_counter() - start)

    print(f"one process, no cache: {seconds[0]:.1f} s, penalty {alone.best_params_}")
    print(f"cluster, shared cache: {seconds[1]:.1f} s, penalty {spread.best_params_}")

# %%
# Where the seconds go. A fit on the cluster costs some of them by itself: it pays when photos are
# many.
if __name__ == "__main__":
    _, axes = plt.subplots(figsize=(6, 1.8), layout="constrained")
    axes.barh(["one process, no cache", "cluster, shared cache"], seconds, color="tab:blue")
    axes.set_xlabel("seconds")
    axes.spines[["top", "right"]].set_visible(False)
    plt.show()
