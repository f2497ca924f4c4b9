"""The page for contributors: what it says to write into a file works in that file."""

import re
import textwrap
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from database_trees import check

from skiqa import ContrastiveQualityEncoder
from skiqa.degradations import _registry

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def _blocks():
    """Return {file: source} of the page's Python blocks, which begin with the name of a file."""
    found = re.findall(r"^ *```python\n(.*?)^ *```", PAGE, flags=re.MULTILINE | re.DOTALL)
    blocks = [textwrap.dedent(block).partition("\n") for block in found]
    return {line.removeprefix("# "): source for line, _, source in blocks}


def _with_block(file):
    """Run a block at the end of its file, or as a new one; return what is then in it."""
    name = file.removesuffix(".py").replace("/", ".").removeprefix("tests.")
    there = dict(vars(import_module(name))) if (ROOT / file).exists() else {"__name__": name}
    exec(compile(_blocks()[file], file, "exec"), there)
    return there


def test_four_blocks_say_where_they_go():
    assert len(_blocks()) == 4
    for file in _blocks():
        assert (ROOT / file).parent.is_dir()


def test_a_degradation(monkeypatch):
    monkeypatch.setattr(_registry, "_OPERATORS", dict(_registry._OPERATORS))
    _with_block("skiqa/degradations/spatial.py")
    operator = _registry.get_operator("scan_lines")
    images = torch.full((2, 3, 4, 4), 0.8)
    degraded = operator(images, torch.tensor([1, 5]))
    assert torch.equal(degraded[:, :, ::2], images[:, :, ::2])
    assert degraded[:, 0, 1, 0].tolist() == pytest.approx([0.76, 0.4])
    assert bool((images == 0.8).all())


def test_an_objective(crops):
    objective = _with_block("skiqa/objectives/squares.py")["Squares"](temperature=0.5)
    encoder = ContrastiveQualityEncoder(
        "test_resnet.r160_in1k",
        weights=None,
        objective=objective,
        epochs=1,
        batch_size=4,
        view_size=32,
        device="cpu",
        random_state=0,
    ).fit(crops)
    assert np.isfinite(encoder.loss_curve_).all()
    equal = torch.ones(10, 8)
    loss = float(objective.loss(equal, torch.arange(5)))
    assert loss == pytest.approx(objective.plateau(5)) == pytest.approx(np.log(9))


def test_a_database(tmp_path):
    expected = _with_block("tests/authentic_trees.py")["example"](tmp_path)
    load = _with_block("skiqa/datasets/_authentic.py")["load_example"]
    check(load(tmp_path), tmp_path, expected)
    assert "An example" in load(tmp_path).DESCR


def test_what_one_enters_something_in_is_there():
    found = re.findall(r"`([A-Z_a-z]+)` of\s+`((?:skiqa|tests)/[\w/.]+\.py)`", PAGE)
    assert found
    for name, file in found:
        assert re.search(rf"^{name}\b", (ROOT / file).read_text("utf-8"), re.MULTILINE), file


def test_links_and_names_lead_somewhere():
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", PAGE)
    named = re.findall(r"`((?:skiqa|tests|docs)/[\w/.]+\.(?:py|md))`", PAGE)
    named += re.findall(r"python -m pytest ((?:skiqa|tests)/[\w/.]+)", PAGE)
    missing = {name for name in (*links, *named) if not (ROOT / name).exists()}
    assert missing == {"tests/test_objectives_squares.py"}  # which one is told to write
