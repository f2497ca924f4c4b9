"""
Deploy a fitted model
=====================

You learn two ways to carry a fitted pipeline to another machine: a pickle by joblib, as for any
scikit-learn model, and a ``.skiqa`` file, which holds arrays only, so that loading it runs no code
of whoever made it. In a clean process both predict the same numbers.
"""

# %%
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import joblib
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skiqa import ContrastiveQualityEncoder, persistence
from skiqa.degradations import degrade
from skiqa.inspection import QualityMapDisplay

scratch = TemporaryDirectory()
folder = Path(scratch.name)
paths, mos = [], []
for i, pixels in enumerate(load_sample_images().images):
    for level in (1, 3, 5):
        paths.append(folder / f"photo{i}_level{level}.png")
        Image.fromarray(degrade(pixels[:256, :256], "jpeg", level)).save(paths[-1])
        mos.append(1 - level / 5)

# %%
# Fit and save, both ways.
model = make_pipeline(ContrastiveQualityEncoder(), Ridge()).fit(paths, mos)
here = model.predict(paths)
joblib.dump(model, folder / "quality.joblib", compress=3)
persistence.save(model, folder / "quality.skiqa")

# %%
# Another process knows nothing but the files.
CLEAN = """
import sys, joblib, numpy
from skiqa import persistence
pickle, file, *paths = sys.argv[1:]
models = joblib.load(pickle), persistence.load(file)
numpy.save("there.npy", [model.predict(paths) for model in models])
"""
files = [folder / "quality.joblib", folder / "quality.skiqa"]
subprocess.run([sys.executable, "-c", CLEAN, *files, *paths], cwd=folder, check=True)
for file, there in zip(files, np.load(folder / "there.npy"), strict=True):
    megabytes = file.stat().st_size / 1e6
    print(f"{file.name}: {megabytes:.1f} MB, off by {np.abs(there - here).max():.1e}")

# %%
# Nothing is lost on the way: the loaded model also says where a photo is good or bad.
model = persistence.load(folder / "quality.skiqa")
_, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for path, place in zip((paths[0], paths[2]), axes, strict=True):
    QualityMapDisplay.from_estimator(model, path, ax=place)
plt.show()

scratch.cleanup()
