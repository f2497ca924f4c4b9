import numpy as np
import pytest
from sklearn.linear_model import Ridge

from skiqa._ridge import fitted_ridge


@pytest.mark.parametrize("shape", [(6,), (6, 2)])
def test_it_is_what_fit_would_have_left(shape):
    rng = np.random.default_rng(0)
    X, y = rng.random((6, 3)), rng.random(shape)
    ridge = Ridge(alpha=0.5).fit(X, y)
    again = fitted_ridge(ridge.coef_, ridge.intercept_, 0.5)
    assert vars(again).keys() == vars(ridge).keys()
    assert again.get_params() == ridge.get_params()
    assert (again.n_features_in_, again.n_iter_) == (ridge.n_features_in_, ridge.n_iter_)
    np.testing.assert_array_equal(again.predict(X), ridge.predict(X))
