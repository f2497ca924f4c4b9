import os
import shutil
from pathlib import Path

import pytest
from sklearn.datasets import load_sample_images


@pytest.fixture(scope="session")
def photo_paths(tmp_path_factory):
    """Two real photographs, JPEG, 640 x 427: scikit-learn's china.jpg and flower.jpg."""
    folder = tmp_path_factory.mktemp("photos")
    return [shutil.copy(name, folder) for name in load_sample_images().filenames]


@pytest.fixture(scope="session")
def data_folder():
    """Real photographs with human scores, which are not part of the project."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("SKIQA_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}: set SKIQA_DATA to the folder that holds biq2021/")
    return folder.resolve()
