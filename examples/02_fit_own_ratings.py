"""
Fit a model to your own ratings
===============================

You learn to fit the frozen encoder and a ridge to ratings, to choose the ridge's penalty by SROCC
with the photos of one scene kept on one side of every split, and that ``cache_dir`` makes the
search pay for the network once, however many fits it takes.
"""

# %%
# Six scenes, each in six qualities. The ratings here are made up from the strength of the blur;
# yours come from people.
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from skiqa import ContrastiveQualityEncoder
from skiqa.degradations import degrade
from skiqa.inspection import PredictedMosDisplay
from skiqa.metrics import srocc_scorer

scratch = TemporaryDirectory()
folder = Path(scratch.name)
corners = [(0, 0), (60, 220), (200, 400)]
scenes = [p[y : y + 224, x : x + 224] for p in load_sample_images().images for y, x in corners]
paths, mos, scene = [], [], []
for i, pixels in enumerate(scenes):
    for level in range(6):
        photo = degrade(pixels, "gaussian_blur", level) if level else pixels
        paths.append(folder / f"scene{i}_level{level}.png")
        Image.fromarray(photo).save(paths[-1])
        mos.append(1 - level / 5)
        scene.append(i)

# %%
# One pass of feature extraction, to compare with.
start = time.perf_counter()
ContrastiveQualityEncoder().fit(paths).transform(paths)
one_pass = time.perf_counter() - start
print(f"one pass over {len(paths)} photos: {one_pass:.1f} s")

# %%
# 10 penalties x 3 folds, and the refit: 31 pipelines, each with features of all photos. The first
# ones fill the cache, all others read it; what remains is the loading of weights and the ridge.
encoder = ContrastiveQualityEncoder(cache_dir=folder / "features")
model = make_pipeline(encoder, Ridge())
alphas = {"ridge__alpha": np.logspace(-4, 2, 10)}
search = GridSearchCV(model, alphas, scoring=srocc_scorer, cv=GroupKFold(3))
start = time.perf_counter()
search.fit(paths, mos, groups=scene)
print(f"the search: {time.perf_counter() - start:.1f} s; 31 passes: {31 * one_pass:.0f} s")
print(f"best penalty {search.best_params_['ridge__alpha']:.2g}, SROCC {search.best_score_:.3f}")

# %%
# Each photo as predicted by a model that has not seen its scene, and the photos it got most wrong.
# The features come from the cache again.
predicted = cross_val_predict(search.best_estimator_, paths, mos, groups=scene, cv=GroupKFold(3))
PredictedMosDisplay.from_predictions(mos, predicted, X=paths, n_outliers=4)
plt.show()

scratch.cleanup()
