"""A room imports only from the floors below its own: what depends on what is read off one list."""

import ast
from pathlib import Path

import pytest

import skiqa

PACKAGE = Path(skiqa.__file__).parent

# A file of an estimator needs no entry: it stands on the floor of estimators as soon as its class
# is public.
ESTIMATORS = {module.split(".")[1] for module in skiqa._PUBLIC.values()} - {"persistence"}

# From the ground up. A folder is one room, within which imports are free; rooms of one floor do
# not know each other.
FLOORS = (
    {"_types", "exceptions", "_fork", "_progress", "_unpickling"},
    {
        "_disk",
        "metrics",
        "degradations",
        "datasets",
        "_inputs",
        "_intervals",
        "_matched_noise",
        "_ridge",
    },
    {"_network", "objectives", "views"},
    {"_features", "_sources"},
    {"_training", "sources"},
    {"_encoder"},
    {"_fine_tuning"},
    (ESTIMATORS - {"_encoder"}) | {"_quality"},
    {"model_selection", "inspection", "persistence"},
    {"distributed"},
    {"cli"},
    {"__main__"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def _imported(source):
    """Return the rooms of skiqa that a file imports, anywhere in it; "." for a relative import."""
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            if node.level:
                rooms.add(".")
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "skiqa" or name in ("skiqa.__version__", "skiqa._PUBLIC"):  # data
                continue
            if len(parts) > 1 and parts[1] in skiqa._PUBLIC:  # a lazy name: where it really is
                parts = skiqa._PUBLIC[parts[1]].split(".")
            rooms.add(parts[1] if len(parts) > 1 else "__init__")
    return rooms


def _imported_files(file):
    """Return the files of skiqa that one imports, anywhere in it but for type checkers alone."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "skiqa":
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                path = "/".join(name.split(".")[1:])
                found |= {Path(f"{path}.py"), Path(path, "__init__.py")}
    return found & set(_files()) - {Path("__init__.py"), file}


def _violations(room, imported):
    below = {name for name, floor in FLOOR.items() if floor < FLOOR[room]}
    return imported - below - {room}


def _files():
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", _files(), ids=str)
def test_imports_only_from_floors_below(file):
    room = file.parts[0].removesuffix(".py")
    if room == "__init__":
        return  # resolves its names on first use: see test_import.py
    assert room in FLOOR, f"skiqa/{file} is in no room of FLOORS in tests/test_layers.py"
    imported = _imported((PACKAGE / file).read_text(encoding="utf-8"))
    assert not _violations(room, imported), f"skiqa/{file} must not import these"


def test_no_files_import_each_other_in_a_circle():
    """Nor by an import within a function, which only hides one."""
    imported = {file: _imported_files(file) for file in _files()}
    assert len(imported[Path("_encoder.py")]) > 5
    while leaves := {file for file, others in imported.items() if not others & imported.keys()}:
        imported = {file: others for file, others in imported.items() if file not in leaves}
    assert not imported, "these files import each other, or such as do"


def test_every_room_exists_once():
    assert len(FLOOR) == sum(map(len, FLOORS)), "a room stands on two floors"
    there = {path.parts[0].removesuffix(".py") for path in _files()} - {"__init__"}
    assert set(FLOOR) == there


def test_the_design_page_names_every_room():
    page = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8")
    names = {
        f"`{room}.py`" if (PACKAGE / f"{room}.py").exists() else f"`{room}/`" for room in FLOOR
    }
    assert not {name for name in names if name not in page}


def test_the_checker_sees_every_form_of_import():
    source = """
import skiqa.cli
import numpy as np
from skiqa import __version__, metrics, load_model
from skiqa.objectives.contrique import Contrique
def later():
    from skiqa._training import loop
"""
    assert _imported(source) == {"cli", "metrics", "persistence", "objectives", "_training"}
    assert _imported("from .exceptions import ImageError") == {"."}
    assert _violations("_inputs", {"_inputs", "exceptions"}) == set()
    assert _violations("_inputs", {"_encoder", "_network"}) == {"_encoder", "_network"}
    assert _violations("degradations", {"datasets"}) == {"datasets"}  # of the same floor
    assert _violations("objectives", {"__init__"}) == {"__init__"}  # import skiqa: a way round
    assert _violations("objectives", {"."}) == {"."}  # one form of import: the absolute one
