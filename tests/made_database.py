"""A database of features and opinions, made from random numbers."""

import numpy as np
from sklearn.utils import Bunch


def database(n_contents=40, per_content=10, n_features=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_contents * per_content, n_features))
    y = X @ [3, 2, 1, 0, 0] + rng.normal(0, 2, len(X))
    kinds = np.array(["blur", "jpeg"])[np.arange(len(X)) % 2]
    groups = np.repeat(np.arange(n_contents), per_content)
    return Bunch(data=X, target=y, groups=groups, degradation=kinds, name=f"made {seed}")
