"""The Python blocks of README.md and docs/ run as they stand, in order; links lead somewhere."""

import re
from pathlib import Path

import pytest
from PIL import Image

from skiqa.degradations import degrade

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(text, language):
    """Return [(number of its first line, source)] of the fenced blocks in one language."""
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [(text[: match.start(1)].count("\n") + 1, match[1]) for match in found]


@pytest.fixture
def rated_photos(photo_paths, tmp_path):
    """A folder with photos/ and ratings.csv: three scenes in three qualities."""
    (tmp_path / "photos").mkdir()
    lines = ["file,mos,scene"]
    with Image.open(photo_paths[0]) as china, Image.open(photo_paths[1]) as flower:
        scenes = [china.crop((200, 80, 360, 200)), flower.crop((200, 80, 320, 240)),
                  china.crop((0, 0, 128, 128))]  # fmt: skip
    for i, scene in enumerate(scenes):
        for level in (0, 2, 5):
            photo = degrade(scene, "gaussian_blur", level) if level else scene
            photo.save(tmp_path / "photos" / f"{i}_{level}.jpg", quality=95)
            lines.append(f"{i}_{level}.jpg,{1 - level / 5},scene {i}")
    (tmp_path / "ratings.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    "page", [p for p in PAGES if _blocks(p.read_text("utf-8"), "python")], ids=lambda p: p.name
)
def test_python_blocks_run(page, rated_photos, monkeypatch):
    monkeypatch.chdir(rated_photos)
    namespace = {"__name__": "__main__"}
    for line, source in _blocks(page.read_text("utf-8"), "python"):
        # empty lines put an error's line number where it is in the page
        exec(compile("\n" * (line - 1) + source, str(page), "exec"), namespace)


def test_pages_are_found():
    assert {"README.md", "user_guide.md", "design.md"} <= {page.name for page in PAGES}
    for name in ("README.md", "user_guide.md"):
        page = next(page for page in PAGES if page.name == name)
        assert len(_blocks(page.read_text("utf-8"), "python")) >= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert not [link for link in local if not (page.parent / link).exists()]


@pytest.mark.parametrize(
    ("heading", "words"),
    [("Set up and score", "pip install . && skiqa score "), ("Run the tests", "python -m pytest")],
)
def test_commands_that_ci_reads(heading, words):
    section = (ROOT / "README.md").read_text("utf-8").split(f"\n## {heading}\n")[1]
    (_, command), *_ = _blocks(section.split("\n## ")[0], "bash")
    assert words in command
