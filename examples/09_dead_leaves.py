"""
Photographs made from nothing
=============================

You learn to make dead leaves, images with the statistics of photographs, and see that features
tell how an image is degraded though there is no scene in it.
"""

# %%
# Discs that hide one another, with radii such that the image looks alike at all scales. The same
# seed lays the same leaves, flat or textured.
import matplotlib.pyplot as plt

import skiqa
from skiqa.datasets import make_dead_leaves
from skiqa.degradations import degrade
from skiqa.inspection import EmbeddingDisplay

flat, textured = (
    make_dead_leaves(2, image_shape=(256, 384), min_radius=2, textured=textured, random_state=3)
    for textured in (False, True)
)
_, axes = plt.subplots(2, 2, figsize=(9, 6.2), layout="constrained")
for image, place in zip([*flat, *textured], axes.T.ravel(), strict=True):
    place.imshow(image)
    place.set_axis_off()
plt.show()

# %%
# Twelve images under four degradations, in the two directions in which their features differ most.
# Each is followed from level 1 to 5, from small to large dots.
images = make_dead_leaves(12, image_shape=(128, 128), min_radius=2, textured=True, random_state=0)
photos, names, levels = [*images], [""] * 12, [0] * 12
for name in ("gaussian_blur", "jpeg", "white_noise", "color_diffusion"):
    for level in range(1, 6):
        photos += [degrade(image, name, level) for image in images]
        names += [name] * 12
        levels += [level] * 12
EmbeddingDisplay.from_estimator(skiqa.load_model(), photos, degradation=names, level=levels)
plt.show()
