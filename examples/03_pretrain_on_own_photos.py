"""
Pretrain an encoder on your own photos
======================================

You learn to train a network from random weights by CONTRIQUE's contrast, without a single rating:
which images are degraded in the same way? Degradations are drawn on the fly. For seconds instead of
hours the network is tiny, the photos are sixty crops, and the colour spaces are reduced to RGB.
"""

# %%
# Sixty overlapping crops of two photos. In earnest: paths of thousands of your photos.
import numpy as np
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
