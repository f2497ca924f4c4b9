"""
Photographs made from nothing
=============================

You learn to make dead leaves, images with the statistics of photographs, and see that degradations
move features in directions of their own, though there is no scene in the image.
"""

# %%
# Discs that hide one another, with radii such that the image looks alike at all scales. The same
# seed lays the same leaves, flat or textured.
import matplotlib.pyplot as plt
import numpy as np

import skiqa
from skiqa.datasets import make_dead_leaves
from skiqa.degradations import degrade
from skiqa.inspection import EmbeddingDisplay

flat, textured = (
    make_dead_leaves(
        2, image_shape=(256, 384), min_radius=3, max_radius=120, textured=textured, random_state=8
    )
    for textured in (False, True)
)
_, axes = plt.subplots(2, 2, figsize=(9, 6.2), layout="constrained")
for image, place in zip([*flat, *textured], axes.ravel(), strict=True):
    place.imshow(image)
    place.set_axis_off()
plt.show()

# %%
# Twelve images under three degradations, at levels 1 to 5. What is shown is where the features of
# each go from those of its pristine image: in a direction of the degradation, and the farther the
# higher the level.
images = make_dead_leaves(12, image_shape=(128, 128), min_radius=2, textured=True, random_state=0)
names = ["lens_blur", "color_diffusion", "high_sharpen"]
kinds = [(name, level) for name in names for level in range(1, 6)]
encoder = skiqa.load_model()[0]
start = encoder.transform(images)
moves = [
    encoder.transform([degrade(image, name, level) for image in images]) - start
    for name, level in kinds
]
name, level = zip(*np.repeat(kinds, len(images), axis=0), strict=True)
EmbeddingDisplay.from_features(
    np.concatenate(moves), degradation=name, level=np.array(level, float)
)
plt.show()
