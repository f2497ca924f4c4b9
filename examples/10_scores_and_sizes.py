"""
Scores depend on the size of a photo
====================================

You learn that a photo has another score when it has other pixels, and to compare photos at one
size. Photos enter the network as they are; nothing is resized for you.
"""

# %%
# The same two photos, enlarged and reduced.
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

import skiqa

model = skiqa.load_model()
photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
widths = np.array([120, 240, 360, 480, 640, 960, 1280, 1920])


def at_width(photo, width):
    """Return a photo at another width, in its own proportions."""
    height = round(photo.height * width / photo.width)
    return photo.resize((int(width), height), Image.Resampling.LANCZOS)


scores = [model.predict([at_width(photo, width) for width in widths]) for photo in photos]

# %%
# Enlarged photos are blurred at the scale of their pixels, and score as such. Reduced ones are
# sharp, until so few pixels are left that the network has little to go by.
_, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for name, line in zip(("china", "flower"), scores, strict=True):
    axes.plot(widths, line, marker="o", label=name)
axes.axvline(640, color="gray", linestyle="--", linewidth=1)
axes.annotate("as they come", (640, axes.get_ylim()[0]), (5, 5), textcoords="offset points")
axes.set_xscale("log")
axes.set_xticks(widths, widths)
axes.minorticks_off()
axes.set(xlabel="width in pixels", ylabel="score")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# So bring photos to one size before you compare their scores. The bundled model was fitted to
# photos of about 512 x 512 pixels.
for width in (640, 1920):
    fair = [at_width(photo, width) for photo in photos]
    for photo in fair:
        photo.thumbnail((512, 512), Image.Resampling.LANCZOS)
    print(f"from {width} pixels: {np.round(model.predict(fair), 1)}")
