"""How small databases are built in their official layouts, and loaders checked against them.

File names and the syntax of score files are true. Images are empty files, for loaders open none. A
builder writes into a folder and returns what the loader must find: paths relative to the folder,
and columns.
"""

import csv

import numpy as np


def touch(root, names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_csv(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows(rows)


def cells(texts, shape):
    """A MATLAB cell array of texts."""
    out = np.empty(len(texts), dtype=object)
    out[:] = texts
    return out.reshape(shape)


def check(found, root, expected):
    """The Bunch holds what the builder said, and nothing else."""
    assert found.data.tolist() == [str(root / name) for name in expected["data"]]
    np.testing.assert_allclose(found.target, expected["target"])
    for key in ("target_std", "groups", "degradation", "level", "split"):
        if key in expected and expected[key] is not None:
            np.testing.assert_array_equal(found[key], expected[key])
        elif key in expected:
            assert found[key] is None
    if "groups" not in expected:
        assert len(set(found.groups.tolist())) == len(found.data)
    if "level" not in expected:
        assert found.level is None or len(found.level) == len(found.data)
