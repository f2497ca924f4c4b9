"""The field's protocols: content-separated splits, cross-database tables, differences or chance.

Images of one content (degraded copies of one photograph, frames of one scene) must not stand on
both sides of a split: a model that recognizes the content then looks better than it is. Here every
split keeps contents together, and so do the folds of a search inside it.
"""

from skiqa.model_selection._cross_database import CrossDatabase, cross_database
from skiqa.model_selection._evaluate import evaluate
from skiqa.model_selection._evaluation import Evaluation
from skiqa.model_selection._significance import Comparison, compare, srocc_interval

__all__ = [
    "Comparison",
    "CrossDatabase",
    "Evaluation",
    "compare",
    "cross_database",
    "evaluate",
    "srocc_interval",
]
