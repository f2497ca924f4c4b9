"""
Scores and sizes
================

You learn what a viewing size is for: without one, the same picture has another score at each size.
"""

# %%
# The same two photos, reduced and enlarged.
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

import skiqa

photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
widths = np.array([120, 240, 360, 480, 640, 960, 1280, 1920])
ladders = [
    [
        photo.resize((width, round(photo.height * width / photo.width)), Image.Resampling.LANCZOS)
        for width in widths.tolist()
    ]
    for photo in photos
]

# %%
# The bundled scorer looks at large photos in about half a megapixel. With ``max_pixels=None`` each
# photo enters the network as it is.
viewing = skiqa.load_model()
native = skiqa.load_model().set_params(contrastivequalityencoder__max_pixels=None)
scores = {
    (name, label): model.predict(ladder)
    for name, ladder in zip(("china", "flower"), ladders, strict=True)
    for label, model in (("viewing size", viewing), ("as they are", native))
}

# %%
# Enlarged photos are blurred at the scale of their pixels, and score as such, until the viewing
# size stops the fall. Below it nothing is enlarged: a small photo is judged as the small picture
# that it is.
_, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for (name, label), line in scores.items():
    color = {"china": "tab:blue", "flower": "tab:orange"}[name]
    style = {"viewing size": "-", "as they are": ":"}[label]
    axes.plot(widths, line, marker="o", color=color, linestyle=style, label=f"{name}, {label}")
axes.axvline(640, color="gray", linestyle="--", linewidth=1)
axes.annotate("the photos", (640, axes.get_ylim()[0]), (5, 5), textcoords="offset points")
axes.set_xscale("log")
axes.set_xticks(widths, widths)
axes.minorticks_off()
axes.set(xlabel="width in pixels", ylabel="score")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# How far the scores of one picture lie apart, at 960 pixels of width and above.
for (name, label), line in scores.items():
    print(f"{name}, {label}: {np.ptp(line[widths >= 960]):.1f} points")
