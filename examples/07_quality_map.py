"""
Where is a photo good or bad?
=============================

You learn to split the score of a photo over its area. The bundled scorer is linear in means over
positions, so the split is exact: the cells add up to the score, and no gradient is taken.
"""

# %%
# A photo that is spoiled in three places, each in its own way.
import matplotlib.pyplot as plt
from sklearn.datasets import load_sample_images

import skiqa
from skiqa.degradations import degrade
from skiqa.inspection import QualityMapDisplay, quality_map

photo = load_sample_images().images[0]
spoiled = photo.copy()
for operator, top, left in [("lens_blur", 130, 60), ("jpeg", 130, 260), ("white_noise", 130, 460)]:
    place = slice(top, top + 150), slice(left, left + 150)
    spoiled[place] = degrade(photo, operator, level=5)[place]

# %%
# Blue parts raise the score of the photo, red ones lower it.
model = skiqa.load_model()
_, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
for picture, (left, right) in zip((photo, spoiled), axes, strict=True):
    left.imshow(picture)
    left.set_axis_off()
    QualityMapDisplay.from_estimator(model, picture, grid=(24, 36), ax=right)
plt.show()

# %%
# The map as numbers: cells that add up to the score.
score, cells = quality_map(model, spoiled, grid=(24, 36))
print(f"score {score:.3f}, sum of {cells.size} cells {cells.sum():.3f}")
