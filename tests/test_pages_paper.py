"""The page about papers: its correction for many comparisons is Holm's."""

import ast
from pathlib import Path

import numpy as np
import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "paper.md").read_text("utf-8")


@pytest.fixture
def holm():
    """The function of the page, without running the page, which `test_docs` does."""
    (block,) = [part for part in PAGE.split("```python\n")[1:] if "def holm(" in part]
    tree = ast.parse(block.split("```")[0])
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    namespace = {"np": np}
    exec(compile(ast.Module([function], []), "paper.md", "exec"), namespace)
    return namespace["holm"]


@pytest.mark.parametrize(
    ("p", "corrected"),
    [
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),  # R's p.adjust
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.7, 0.6, 1.0], [1.0, 1.0, 1.0]),
        ([0.03], [0.03]),
    ],
)
def test_holm(holm, p, corrected):
    np.testing.assert_allclose(holm(p), corrected)


def test_holm_keeps_the_number_of_false_tables(holm):
    rng = np.random.default_rng(0)
    tables = rng.random((2000, 5))  # nothing is better than anything
    plain = np.mean(tables.min(axis=1) < 0.05)
    kept = np.mean([holm(p).min() < 0.05 for p in tables])
    assert plain > 0.2
    assert kept < 0.065
