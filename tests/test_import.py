"""`import skiqa` is cheap, and what it promises is there."""

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import skiqa
from skiqa import objectives

HEAVY = {"torch", "sklearn", "scipy", "timm", "torchvision", "pandas", "PIL", "rich"}


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import skiqa", HEAVY | {"numpy"}),
        ("import skiqa; dir(skiqa), skiqa.__version__", HEAVY | {"numpy"}),
        ("import skiqa.exceptions", HEAVY),
        ("import skiqa.metrics", {"torch", "timm", "torchvision"}),
    ],
)
def test_import_loads_nothing_heavy(statement, forbidden):
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert forbidden & set(done.stdout.split()) == set()


@pytest.mark.parametrize("name", skiqa.__all__)
def test_public_name_resolves(name):
    assert getattr(skiqa, name) is not None
    assert name in dir(skiqa)


def _seen_by_type_checkers(module):
    """Return {name: module it is imported from} of what is imported for type checkers alone."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (block,) = [x for x in tree.body if isinstance(x, ast.If) and x.test.id == "TYPE_CHECKING"]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert all(alias.name == alias.asname for node in imports for alias in node.names)
    return {alias.asname: node.module for node in imports for alias in node.names}


def test_type_checkers_see_the_lazy_names():
    there = skiqa._PUBLIC | dict.fromkeys(skiqa._SUBMODULES, "skiqa")
    assert _seen_by_type_checkers(skiqa) == there
    there = {name: f"skiqa.objectives.{file}" for name, file in objectives._PUBLIC.items()}
    assert _seen_by_type_checkers(objectives) == there


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        skiqa.nonsense  # noqa: B018


def test_version_is_that_of_the_distribution():
    assert skiqa.__version__ == version("skiqa")
