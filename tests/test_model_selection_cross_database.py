import numpy as np
import pytest
from made_database import database
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.utils import Bunch

from skiqa.model_selection import cross_database, evaluate


def test_cross_database():
    first, second = database(seed=0), database(seed=1)
    found = cross_database(Ridge(), [first, second], n_repeats=2)
    model = Ridge().fit(first.data, first.target)
    expected = spearmanr(second.target, model.predict(second.data)).statistic
    assert found.srocc[0, 1] == pytest.approx(expected)
    within = evaluate(Ridge(), second, n_repeats=2).summary()["median"]
    assert found.plcc[1, 1] == within["plcc"]
    assert found.frame.shape == (4, 6)
    assert found.to_markdown("rmse").splitlines()[0] == "| RMSE, train \\ test | made 0 | made 1 |"
    empty = cross_database(Ridge(), {"a": first, "b": second}, n_repeats=0)
    assert np.isnan(np.diag(empty.krocc)).all()
    assert empty.srocc[0, 1] == found.srocc[0, 1]
    with pytest.raises(ValueError, match="one name"):
        cross_database(Ridge(), [first, first])
    with pytest.raises(ValueError, match="two or more"):
        cross_database(Ridge(), [first])


def test_databases_of_few_images_are_named():
    many = database()
    few = Bunch(data=many.data[:29], target=many.target[:29])
    found = cross_database(Ridge(), {"few": few, "many": many}, n_repeats=0)
    assert repr(found).endswith("\n\nOf fewer than 30 images (few) nothing can be told.")
    same = cross_database(Ridge(), {"one": many, "two": many}, n_repeats=0)
    assert "nothing" not in repr(same)
