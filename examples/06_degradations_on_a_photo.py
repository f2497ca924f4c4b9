"""
Degradations on a photo
=======================

You learn to degrade a photo by name and level, what the 25 operators of KADIS-700k look like, and
to draw random sequences of degradations as QPT does.
"""

# %%
# A name and a level from 1 to 5. What comes back is of the kind that went in.
import matplotlib.pyplot as plt
from sklearn.datasets import load_sample_images

from skiqa.degradations import KADIS, degrade, format_sequence, get_space
from skiqa.inspection import DegradationGalleryDisplay

china, flower = load_sample_images().images
flower = flower[40:360, 130:610]
blurred = degrade(flower, "gaussian_blur", level=5)
print(type(blurred).__name__, blurred.shape, blurred.dtype)

# %%
# All operators of a bank, at their five levels.
DegradationGalleryDisplay.from_photo(flower, operators=KADIS, max_side=160)
plt.show()

# %%
# Sequences as QPT draws them: a seed each, and what is drawn for a seed never changes.
sequences = get_space("qpt").sample(range(8))
_, axes = plt.subplots(2, 4, figsize=(10, 5.4), layout="constrained")
for seed, (sequence, place) in enumerate(zip(sequences, axes.ravel(), strict=True)):
    picture = flower
    for name, level in sequence:
        picture = degrade(picture, name, level, seed=seed)
    place.imshow(picture)
    place.set_title(format_sequence(sequence).replace(",", ",\n"), fontsize="x-small")
    place.set_axis_off()
plt.show()
