"""
Degradations on a photo
=======================

You learn to degrade a photo by name and level, what the 25 operators of KADIS-700k look like, and
to draw random sequences of degradations as ARNIQA does.
"""

# %%
# A name and a level from 1 to 5. What comes back is of the kind that went in.
import matplotlib.pyplot as plt
from sklearn.datasets import load_sample_images

from skiqa.degradations import KADIS, degrade, format_sequence, get_space
from skiqa.inspection import DegradationGalleryDisplay

china, flower = load_sample_images().images
blurred = degrade(china, "gaussian_blur", level=5)
print(type(blurred).__name__, blurred.shape, blurred.dtype)

# %%
# All operators of a bank, at their five levels.
DegradationGalleryDisplay.from_photo(china[60:180, 120:280], operators=KADIS)
plt.show()

# %%
# Sequences as ARNIQA draws them. What is drawn for a seed never changes.
flower = flower[40:360, 130:610]
_, axes = plt.subplots(2, 3, figsize=(10, 6.2), layout="constrained")
for seed, place in enumerate(axes.ravel()):
    (sequence,) = get_space("arniqa").sample([seed])
    picture = flower
    for name, level in sequence:
        picture = degrade(picture, name, level, seed=seed)
    place.imshow(picture)
    place.set_title(format_sequence(sequence).replace(" > ", "\n"), fontsize="small")
    place.set_axis_off()
plt.show()
# sphinx_gallery_thumbnail_number = 2
