"""The field's four figures of merit and their scorers for scikit-learn."""

from skiqa.metrics._scores import (
    SCORERS,
    fit_logistic,
    krocc_score,
    krocc_scorer,
    neg_rmse_scorer,
    plcc_score,
    plcc_scorer,
    rmse_error,
    srocc_score,
    srocc_scorer,
)

__all__ = [
    "SCORERS",
    "fit_logistic",
    "krocc_score",
    "krocc_scorer",
    "neg_rmse_scorer",
    "plcc_score",
    "plcc_scorer",
    "rmse_error",
    "srocc_score",
    "srocc_scorer",
]
