"""
Where is a photo good or bad?
=============================

You learn to split the score of a photo over its area. The bundled scorer is linear in means over
positions, so the split is exact: the cells add up to the score, and no gradient is taken.
"""

# %%
# Two photos whose left halves are blurred.
import matplotlib.pyplot as plt
from sklearn.datasets import load_sample_images

import skiqa
from skiqa.degradations import degrade
from skiqa.inspection import QualityMapDisplay, quality_map

photos = []
for photo in load_sample_images().images:
    photo = photo.copy()
    photo[:, :320] = degrade(photo, "gaussian_blur", level=5)[:, :320]
    photos.append(photo)

# %%
# Blue parts raise the score of the photo, red ones lower it. Parts with nothing in them, sky or
# dark leaves, do little either way.
model = skiqa.load_model()
_, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
for photo, (left, right) in zip(photos, axes, strict=True):
    left.imshow(photo)
    left.set_axis_off()
    QualityMapDisplay.from_estimator(model, photo, grid=(18, 27), ax=right)
plt.show()

# %%
# The map as numbers: cells that add up to the score.
score, cells = quality_map(model, photos[0], grid=(18, 27))
print(f"score {score:.3f}, sum of {cells.size} cells {cells.sum():.3f}")
