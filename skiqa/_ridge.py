"""A Ridge that was not fitted here: put together from coefficients that are known."""

from __future__ import annotations

from sklearn.linear_model import Ridge

from skiqa._types import Floats


def fitted_ridge(coef: Floats, intercept: float | Floats, alpha: float) -> Ridge:
    """Return the Ridge that `fit` would have left with these coefficients."""
    ridge = Ridge(alpha=alpha)
    ridge.coef_, ridge.intercept_ = coef, intercept
    ridge.n_features_in_ = coef.shape[-1]
    ridge.n_iter_, ridge.solver_ = None, "auto"
    return ridge
