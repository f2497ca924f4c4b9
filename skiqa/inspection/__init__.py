"""Displays: what degradations look like, what a fitted model knows, and where a photo is bad.

Displays follow scikit-learn's: a class method computes and plots, ``plot`` plots again, what was
computed stays on the display. They need matplotlib: ``pip install "skiqa[plot]"``.
"""

from skiqa.inspection._contact_sheet import ContactSheetDisplay
from skiqa.inspection._embedding import EmbeddingDisplay
from skiqa.inspection._gallery import DegradationGalleryDisplay
from skiqa.inspection._noise_spectrum import NoiseSpectrumDisplay
from skiqa.inspection._predicted_mos import PredictedMosDisplay
from skiqa.inspection._quality_map import QualityMapDisplay
from skiqa.inspection._response import DegradationResponseDisplay, level_concordance
from skiqa.inspection._score_split import iter_quality_maps, quality_map

__all__ = [
    "ContactSheetDisplay",
    "DegradationGalleryDisplay",
    "DegradationResponseDisplay",
    "EmbeddingDisplay",
    "NoiseSpectrumDisplay",
    "PredictedMosDisplay",
    "QualityMapDisplay",
    "iter_quality_maps",
    "level_concordance",
    "quality_map",
]
