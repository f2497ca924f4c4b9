import numpy as np
from database_trees import touch
from synthetic_trees import pipal

from skiqa import datasets


def test_pipal_in_one_folder(tmp_path):
    expected = pipal(tmp_path)
    for name in expected["data"]:
        touch(tmp_path, [f"Train_Dist/{name.split('/')[1]}"])
        (tmp_path / name).unlink()
    found = datasets.load_pipal(tmp_path)
    assert all("Train_Dist" in path for path in found.data)
    np.testing.assert_allclose(found.target, expected["target"])
