"""Displays: what degradations look like, what a fitted model knows, and where a photo is bad.

Displays follow scikit-learn's: a class method computes and plots, ``plot`` plots again, what was
computed stays on the display. They need matplotlib: ``pip install "skiqa[plot]"``.
"""

from skiqa._quality_map import iter_quality_maps, quality_map
from skiqa.inspection._gallery import DegradationGalleryDisplay
from skiqa.inspection._noise_spectrum import NoiseSpectrumDisplay
from skiqa.inspection._response import DegradationResponseDisplay, level_concordance

__all__ = [
    "DegradationGalleryDisplay",
    "DegradationResponseDisplay",
    "NoiseSpectrumDisplay",
    "iter_quality_maps",
    "level_concordance",
    "quality_map",
]
