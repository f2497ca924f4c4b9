"""
Score a folder of photos
========================

You learn to score photos with the model that comes with skiqa: paths in, numbers out, higher is
better. A file that cannot be read costs its own score and no other. On the command line the same is
``skiqa score FOLDER``.
"""

# %%
# A folder as it comes from life: two photos, a blurred and a badly compressed copy of each, and a
# file that is no image at all.
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
from PIL import Image
from sklearn.datasets import load_sample_images

import skiqa
from skiqa.degradations import degrade
from skiqa.inspection import ContactSheetDisplay

scratch = TemporaryDirectory()
folder = Path(scratch.name)
for name, pixels in zip(["china", "flower"], load_sample_images().images, strict=True):
    photo = Image.fromarray(pixels)
    photo.save(folder / f"{name}.png")
    degrade(photo, "gaussian_blur", level=5).save(folder / f"{name}_blurred.png")
    degrade(photo, "jpeg", level=5).save(folder / f"{name}_compressed.png")
(folder / "notes.jpg").write_text("no image")

# %%
# The scorer is an ordinary fitted scikit-learn pipeline. Its ``predict`` stops at an unreadable
# file; ``predict_quality`` goes on and gives NaN there.
paths = sorted(folder.iterdir())
model = skiqa.load_model()
scores = skiqa.predict_quality(model, paths)

# %%
# Worst first, the unreadable file last.
for score, path in sorted(zip(scores, paths, strict=True), key=lambda row: (row[0] != row[0], row)):
    print(f"{score:6.2f}  {path.name}")

# %%
# The same as a picture. What has no score is left out.
ContactSheetDisplay.from_predictions(paths, scores, n=2)
plt.show()

scratch.cleanup()
