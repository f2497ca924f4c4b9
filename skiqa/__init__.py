"""No-reference image quality for scikit-learn."""

from importlib import import_module
from importlib.metadata import version as _version

__version__ = _version("skiqa")

# Public name -> module that holds it. Resolved on first use (PEP 562), so that `import skiqa`
# costs milliseconds: neither torch nor scikit-learn is loaded until a name needs it.
_PUBLIC = {
    "ContrastiveQualityEncoder": "skiqa._encoder",
    "FineTunedQualityRegressor": "skiqa._fine_tuned",
    "PseudoLabelRegressor": "skiqa._pseudo_label",
    "ReferenceDifference": "skiqa._reference_difference",
    "SemanticNoiseRidge": "skiqa._semantic_noise",
    "SemanticNoiseSelector": "skiqa._semantic_noise",
    "load_model": "skiqa.persistence",
    "predict_quality": "skiqa.persistence",
}
_SUBMODULES = (
    "datasets",
    "degradations",
    "exceptions",
    "inspection",
    "metrics",
    "model_selection",
    "objectives",
    "persistence",
)

__all__ = ["__version__", *_PUBLIC, *_SUBMODULES]


def __getattr__(name):
    if name in _PUBLIC:
        value = getattr(import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return import_module(f"skiqa.{name}")
    raise AttributeError(f"module 'skiqa' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
