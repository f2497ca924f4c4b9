"""The field's four figures of merit and their scorers for scikit-learn.

SROCC asks whether a model puts images in the right order, PLCC whether its scores follow the
opinions on a straight line, KROCC how many pairs it orders rightly and RMSE how far off it is. The
Video Quality Experts Group maps the predictions by a fitted logistic before PLCC and RMSE, which
forgives a model its non-linear scale; ``mapping="logistic4"`` does that. It does not forgive a
falling curve: PLCC is then negative.

Constant input on either side has no correlation. scipy returns NaN there, these functions 0.0, as
scikit-learn's ``r2_score`` does with ``force_finite``: a search can rank a constant model last.

The scorers leave out rows whose y is NaN (unlabelled), refuse NaN predictions, and map nothing: a
mapping fitted to the validation fold hides a wrong scale and a wrong sign.
"""

from skiqa.metrics._logistic import fit_logistic
from skiqa.metrics._scorers import (
    SCORERS,
    krocc_scorer,
    neg_rmse_scorer,
    plcc_scorer,
    srocc_scorer,
)
from skiqa.metrics._scores import krocc_score, plcc_score, rmse_error, srocc_score

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
