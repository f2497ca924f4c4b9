"""
Pretrain an encoder on your own photos
======================================

You learn to train a network from random weights by CONTRIQUE's contrast, without a single rating:
which images are degraded in the same way? Degradations are drawn on the fly. For seconds instead of
hours the network is tiny, the photos are sixty crops, and the colour spaces are reduced to RGB.
"""

# %%
# Sixty overlapping crops of two photos. In earnest: paths of thousands of your photos.
import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_sample_images

from skiqa import ContrastiveQualityEncoder
from skiqa.objectives import Contrique

photos = [
    photo[y : y + 160, x : x + 160]
    for photo in load_sample_images().images
    for y in range(0, 266, 66)
    for x in range(0, 480, 80)
]

# %%
# ``weights=None`` starts from random weights. Without a ``backbone``, ``weights`` and ``objective``
# the bundled network is trained further.
encoder = ContrastiveQualityEncoder(
    "test_resnet.r160_in1k",
    weights=None,
    objective=Contrique(color_spaces=("rgb",)),
    epochs=12,
    batch_size=20,
    view_size=64,
    learning_rate=0.3,
    random_state=0,
)
encoder.fit(photos)

# %%
# A network that maps every patch to one point has the loss log(N - 1), with N patches in a batch:
# two views of each image, four patches of each view. Learning begins below it.
plateau = np.log(20 * 2 * 4 - 1)
print(f"plateau {plateau:.2f}")
for epoch, loss in enumerate(encoder.loss_curve_, start=1):
    print(f"epoch {epoch:2d}  loss {loss:.2f}  {'#' * round(10 * loss)}")

# %%
# It is fitted: the features are ready for a regressor.
print("features:", encoder.transform(photos[:4]).shape)

# %%
# Learning, from the plateau down.
_, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
axes.plot(range(1, 13), encoder.loss_curve_, marker="o", label="loss")
axes.axhline(plateau, color="gray", linestyle="--", label="plateau: all patches look alike")
axes.set(xlabel="epoch", ylabel="contrastive loss")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# What it learned to tell apart: two views of each of six photos, as the network meets them in
# training. Views of one photo are degraded alike.
objective = Contrique(color_spaces=("rgb",))
side = objective.window_size(64)
windows = np.stack([photo[:side, :side] for photo in photos[7::9]]) / np.float32(255)
views, _ = objective.views(
    torch.from_numpy(windows).permute(0, 3, 1, 2),
    indices=torch.arange(6),
    authentic=torch.zeros(6),
    seeds=torch.arange(6),
    view_size=64,
)
_, axes = plt.subplots(2, 6, figsize=(9, 3.2), layout="constrained")
for view, place in zip(views, axes.ravel(), strict=True):
    place.imshow(view.permute(1, 2, 0).clip(0, 1))
    place.set_axis_off()
plt.show()
# sphinx_gallery_thumbnail_number = 2
