"""
How a score answers degradations
================================

You learn to ask a scorer whether more of a degradation costs more score, operator by operator. A
model that ranks photographs well may still rate the worst noise above the second worst.
"""

# %%
# Photos that are good to begin with: what is bad cannot get much worse.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images

import skiqa
from skiqa.inspection import DegradationResponseDisplay

photos = [
    photo[120:248, left : left + 128] for photo in load_sample_images().images for left in (60, 320)
]

# %%
# In each panel the thick line is the mean over the photos. The number below the name is the share
# of pairs of levels that the scorer puts in order: 1 where each level costs each photo some score.
display = DegradationResponseDisplay.from_estimator(skiqa.load_model(), photos, operators="kadis")
plt.show()

# %%
# What it does not see: the operators least in order, of those that claim to be worse with each
# level.
for k in np.argsort(display.concordance):
    if display.monotone[k] and display.concordance[k] < 0.9:
        print(f"{display.concordance[k]:.2f}  {display.operators[k]}")
