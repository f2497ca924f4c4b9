"""
Search over objectives, on one machine or a cluster
===================================================

You learn to let GridSearchCV choose the objective an encoder is trained by, and its temperature, by
how well a ridge on its features ranks photos by their ratings. joblib runs the fits: here in
processes of this machine; ``--dask`` sends them to a Dask cluster instead (``pip install
"dask[distributed]"``), a local one of two workers unless you give the address of a scheduler.
"""

# %%
# Rated photos: crops of two scenes, blurred by known amounts. In earnest: paths and ratings.
import argparse
from contextlib import nullcontext

import joblib
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline

from skiqa import ContrastiveQualityEncoder
from skiqa.degradations import degrade
from skiqa.metrics import srocc_scorer
from skiqa.objectives import Contrique

photos, ratings, scenes = [], [], []
for scene, image in enumerate(load_sample_images().images):
    for left in (0, 160, 320):
        crop = image[100:260, left : left + 160]
        for level in range(1, 6):
            photos.append(degrade(crop, "gaussian_blur", level=level))
            ratings.append(1 - level / 6)
            scenes.append(3 * scene + left // 160)

# %%
# The pipeline. One thread for each fit: the processes share the cores.
encoder = ContrastiveQualityEncoder(
    "test_resnet.r160_in1k", weights=None, epochs=3, batch_size=8, view_size=64, random_state=0
)
search = GridSearchCV(
    make_pipeline(encoder, Ridge(alpha=0.01)),
    [
        {"contrastivequalityencoder__objective": ["arniqa", "weighted"]},
        {
            "contrastivequalityencoder__objective": [Contrique()],
            "contrastivequalityencoder__objective__temperature": [0.1, 0.5],
        },
    ],
    scoring=srocc_scorer,
    cv=GroupKFold(2),
    n_jobs=2,
    refit=False,  # the best is named here, and not used
)


def backend(address):
    """Return the context in which joblib's work goes to Dask; without an address to processes."""
    if address is None:
        return nullcontext()
    from dask.distributed import Client

    Client(address or None, **({} if address else {"n_workers": 2, "threads_per_worker": 1}))
    return joblib.parallel_config(backend="dask")


# %%
# The guard is for workers that are started anew and import this file.
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--dask", nargs="?", const="", metavar="ADDRESS")
    with backend(parser.parse_args().dask):
        search.fit(photos, ratings, groups=scenes)
    results = search.cv_results_
    for i in np.argsort(results["rank_test_score"]):
        values = ", ".join(map(str, results["params"][i].values()))
        print(f"SROCC {results['mean_test_score'][i]:.3f}  {values}")

# %%
# The candidates, best above; dots are the folds. Two folds of two photographs say little: a search
# in earnest needs hundreds of contents.
if __name__ == "__main__":
    order = np.argsort(-results["rank_test_score"])
    folds = np.stack([results[f"split{k}_test_score"][order] for k in range(2)])
    names = [", ".join(map(str, results["params"][i].values())) for i in order]
    _, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
    axes.barh(names, results["mean_test_score"][order], color="tab:blue", alpha=0.35)
    for fold in folds:
        axes.plot(fold, names, "o", color="tab:blue")
    axes.set_xlabel("SROCC on scenes that the fit has not seen")
    axes.spines[["top", "right"]].set_visible(False)
    plt.show()
