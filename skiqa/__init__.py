"""No-reference image quality for scikit-learn."""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the lazy names of _PUBLIC and _SUBMODULES, for type checkers and editors
    from skiqa import datasets as datasets
    from skiqa import degradations as degradations
    from skiqa import distributed as distributed
    from skiqa import exceptions as exceptions
    from skiqa import inspection as inspection
    from skiqa import metrics as metrics
    from skiqa import model_selection as model_selection
    from skiqa import objectives as objectives
    from skiqa import persistence as persistence
    from skiqa import sources as sources
    from skiqa import views as views
    from skiqa._encoder import ContrastiveQualityEncoder as ContrastiveQualityEncoder
    from skiqa._feature_matching import (
        FeatureMatchingQualityRegressor as FeatureMatchingQualityRegressor,
    )
    from skiqa._fine_tuned import FineTunedQualityRegressor as FineTunedQualityRegressor
    from skiqa._five_crop import FiveCropRegressor as FiveCropRegressor
    from skiqa._image_tower import ImageTower as ImageTower
    from skiqa._ordered_ridge import OrderedRidge as OrderedRidge
    from skiqa._prompt_similarity import PromptSimilarity as PromptSimilarity
    from skiqa._pseudo_label import PseudoLabelRegressor as PseudoLabelRegressor
    from skiqa._reference_difference import ReferenceDifference as ReferenceDifference
    from skiqa._semantic_noise import SemanticNoiseRidge as SemanticNoiseRidge
    from skiqa._semantic_noise import SemanticNoiseSelector as SemanticNoiseSelector
    from skiqa._view_pooling import ViewPooling as ViewPooling
    from skiqa.persistence import load_model as load_model
    from skiqa.persistence import predict_quality as predict_quality

__version__ = _version("skiqa")

# Public name -> module that holds it. Resolved on first use (PEP 562), so that `import skiqa`
# costs milliseconds: neither torch nor scikit-learn is loaded until a name needs it.
_PUBLIC = {
    "ContrastiveQualityEncoder": "skiqa._encoder",
    "FeatureMatchingQualityRegressor": "skiqa._feature_matching",
    "FineTunedQualityRegressor": "skiqa._fine_tuned",
    "FiveCropRegressor": "skiqa._five_crop",
    "ImageTower": "skiqa._image_tower",
    "OrderedRidge": "skiqa._ordered_ridge",
    "PromptSimilarity": "skiqa._prompt_similarity",
    "PseudoLabelRegressor": "skiqa._pseudo_label",
    "ReferenceDifference": "skiqa._reference_difference",
    "SemanticNoiseRidge": "skiqa._semantic_noise",
    "SemanticNoiseSelector": "skiqa._semantic_noise",
    "ViewPooling": "skiqa._view_pooling",
    "load_model": "skiqa.persistence",
    "predict_quality": "skiqa.persistence",
}
_SUBMODULES = (
    "datasets",
    "degradations",
    "distributed",
    "exceptions",
    "inspection",
    "metrics",
    "model_selection",
    "objectives",
    "persistence",
    "sources",
    "views",
)

__all__ = ["__version__", *_PUBLIC, *_SUBMODULES]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return import_module(f"skiqa.{name}")
    raise AttributeError(f"module 'skiqa' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
