"""A file imports only from the groups above it: what depends on what can be read off one table."""

import ast
from pathlib import Path

import pytest

import skiqa

PACKAGE = Path(skiqa.__file__).parent

# From the bottom of the dependencies to the top. A folder counts as one module; within it imports
# are free. A new file needs a place here.
GROUPS = (
    ("exceptions", "weights"),
    ("_logistic", "_semantic_noise", "metrics", "degradations", "datasets"),
    ("_device", "_distributed", "_progress", "_pickles"),
    ("_digests", "_decode", "_images"),
    ("_backbones", "_pooling", "_tiles", "_cache", "_official", "_checkpoints"),
    ("objectives",),
    ("_resume", "_train", "_extract"),
    ("_live_features",),
    ("_finetune",),
    ("_encoder", "_reference", "_feature_selection", "_regressor", "_distillation"),
    ("_quality_map",),
    ("model_selection", "inspection", "persistence", "cli", "__main__"),
)
# Neighbours in a group do not know each other, except where one is made of the other.
WITHIN_GROUP = {
    "metrics": {"_logistic"},
    "_images": {"_decode", "_digests"},
    "_tiles": {"_backbones"},
    "_official": {"_backbones"},
    "_checkpoints": {"_backbones", "_official"},
    "_train": {"_resume"},
    "_regressor": {"_encoder"},
    "_distillation": {"_encoder", "_regressor"},
    "cli": {"model_selection", "inspection", "persistence"},
    "__main__": {"cli"},
}
RANK = {module: rank for rank, group in enumerate(GROUPS) for module in group}


def _imported(source, package):
    """Return the modules of skiqa that a file imports, anywhere in it; `package` is its folder."""
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # from .a import b
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base]).rstrip(".")
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "skiqa" or name == "skiqa.__version__":
                continue
            if len(parts) > 1 and parts[1] in skiqa._PUBLIC:  # a lazy name: where it really is
                parts = skiqa._PUBLIC[parts[1]].split(".")
            modules.add(parts[1] if len(parts) > 1 else "__init__")
    return modules


def _violations(module, imported):
    allowed = {name for name, rank in RANK.items() if rank < RANK[module]}
    return imported - allowed - WITHIN_GROUP.get(module, set()) - {module}


def _files():
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", _files(), ids=str)
def test_imports_only_from_groups_above(file):
    module = file.parts[0].removesuffix(".py")
    imported = _imported(
        (PACKAGE / file).read_text(encoding="utf-8"), ".".join(["skiqa", *file.parent.parts])
    )
    if module == "__init__":
        assert imported == set(), "skiqa/__init__.py resolves its names lazily"
        return
    assert module in RANK, f"skiqa/{file} has no place in GROUPS of tests/test_layers.py"
    assert not _violations(module, imported), f"skiqa/{file} must not import these"


def test_the_checker_sees_every_form_of_import():
    source = """
import skiqa.cli
import numpy as np
from skiqa import __version__, metrics, load_model
from skiqa.objectives.contrique import Contrique
from .exceptions import ImageError
def later():
    from . import _images
    from skiqa import _train as t
"""
    found = {"cli", "metrics", "persistence", "objectives", "exceptions", "_images", "_train"}
    assert _imported(source, "skiqa") == found
    assert _imported("from ..metrics import x\nfrom .blur import y", "skiqa.degradations") == {
        "metrics",
        "degradations",
    }
    assert _violations("_images", {"_decode", "exceptions", "degradations"}) == set()
    assert _violations("_images", {"_encoder", "_backbones"}) == {"_encoder", "_backbones"}
    assert _violations("degradations", {"degradations", "datasets"}) == {"datasets"}
    assert _violations("objectives", {"__init__"}) == {"__init__"}  # import skiqa: a way round


def test_table_is_consistent():
    assert len(RANK) == sum(map(len, GROUPS)), "a module stands in two groups"
    for module, neighbours in WITHIN_GROUP.items():
        assert all(RANK[other] == RANK[module] for other in neighbours)
