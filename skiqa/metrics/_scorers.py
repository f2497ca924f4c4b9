"""Scorers: the figures of merit as scikit-learn's ``scoring=`` takes them.

Higher is better, rows whose y is NaN (unlabelled) are left out, NaN predictions are refused. PLCC
and RMSE are unmapped: a mapping fitted to the validation fold hides a wrong scale and a wrong sign.
"""

from __future__ import annotations

import numpy.typing as npt
from sklearn.metrics import make_scorer

from skiqa.metrics._checks import check_labelled
from skiqa.metrics._scores import krocc_score, plcc_score, rmse_error, srocc_score


# Named functions, not closures: scorers are pickled by parallel searches.
def _srocc_labelled(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    return srocc_score(*check_labelled(y_true, y_pred))


def _plcc_labelled(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    return plcc_score(*check_labelled(y_true, y_pred))


def _krocc_labelled(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    return krocc_score(*check_labelled(y_true, y_pred))


def _rmse_labelled(y_true: npt.ArrayLike, y_pred: npt.ArrayLike) -> float:
    return rmse_error(*check_labelled(y_true, y_pred))


srocc_scorer = make_scorer(_srocc_labelled)
plcc_scorer = make_scorer(_plcc_labelled)
krocc_scorer = make_scorer(_krocc_labelled)
neg_rmse_scorer = make_scorer(_rmse_labelled, greater_is_better=False)

#: All four, for multi-metric ``cross_validate`` and searches (the model predicts once for all).
SCORERS = {
    "srocc": srocc_scorer,
    "plcc": plcc_scorer,
    "krocc": krocc_scorer,
    "neg_rmse": neg_rmse_scorer,
}
