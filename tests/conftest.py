import os
import shutil
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # they share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from scoring_command import FAKE
from sklearn.datasets import load_sample_images

TINY = "test_resnet.r160_in1k"  # timm's smallest chain of stages: 0.4 million weights
CPU = torch.device("cpu")

# nothing is written down, and a busy machine is no error
settings.register_profile("skiqa", database=None, deadline=None)
settings.load_profile("skiqa")


@pytest.fixture(scope="session")
def photo_paths(tmp_path_factory):
    """Two real photographs, JPEG, 640 x 427: scikit-learn's china.jpg and flower.jpg."""
    folder = tmp_path_factory.mktemp("photos")
    return [shutil.copy(name, folder) for name in load_sample_images().filenames]


@pytest.fixture
def photo(photo_paths):
    """Part of china.jpg, uint8 (64, 96, 3)."""
    with Image.open(photo_paths[0]) as china:
        return np.asarray(china.crop((200, 100, 296, 164)))


@pytest.fixture(scope="session")
def small_photos():
    """The same two photographs, every eighth pixel of every eighth row: uint8 (54, 80, 3)."""
    return [photo[::8, ::8].copy() for photo in load_sample_images().images]


@pytest.fixture(scope="session")
def crops():
    """Eight crops of the same two photographs, uint8 (40, 56, 3)."""
    return [
        image[top : top + 40, left : left + 56].copy()
        for image in load_sample_images().images
        for top, left in [(0, 0), (100, 200), (200, 400), (300, 500)]
    ]


@pytest.fixture
def png_paths(small_photos, tmp_path):
    """`small_photos` as PNG files."""
    paths = [tmp_path / "china.png", tmp_path / "flower.png"]
    for photo, path in zip(small_photos, paths, strict=True):
        Image.fromarray(photo).save(path)
    return [str(path) for path in paths]


@pytest.fixture(scope="session")
def photo_batch():
    """Parts of china.jpg and flower.jpg as a batch, float32 (2, 3, 96, 128)."""
    parts = [photo[150:246, 200:328] for photo in load_sample_images().images]
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float() / 255


@pytest.fixture
def few_files(tmp_path, monkeypatch):
    """photos/ with three images of 3, 1 and 2 bytes, something else, and a folder below."""
    monkeypatch.chdir(tmp_path)
    for name, size in {
        "photos/a.jpg": 3,
        "photos/b.PNG": 1,
        "photos/c.webp": 2,
        "photos/notes.txt": 9,
        "photos/.hidden.jpg": 9,
        "photos/below/d.jpg": 4,
    }.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"x" * size)
    return tmp_path


@pytest.fixture
def fake_scorer(monkeypatch):
    """The scorer of `scoring_command`, in place of the two functions that `skiqa score` calls."""
    import skiqa.persistence

    functions = {}
    exec(FAKE, functions)
    for name in ("load_model", "iter_quality"):
        monkeypatch.setattr(skiqa.persistence, name, functions[name])


@pytest.fixture
def pyplot():
    """matplotlib.pyplot, which draws without a screen; figures are closed after the test."""
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot

    yield matplotlib.pyplot
    matplotlib.pyplot.close("all")


@pytest.fixture(scope="session")
def data_folder():
    """Real photographs with human scores, which are not part of the project."""
    default = Path(__file__).parents[1] / ".." / "shared" / "data"
    folder = Path(os.environ.get("SKIQA_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}: set SKIQA_DATA to the folder that holds biq2021/")
    return folder.resolve()
