"""The Python blocks of README.md and docs/ run as they stand, in order; links lead somewhere."""

import importlib
import os
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from skiqa.degradations import degrade

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
]


def _blocks(text, language):
    """Return [(number of its first line, source)] of the fenced blocks in one language."""
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [(text[: match.start(1)].count("\n") + 1, match[1]) for match in found]


@pytest.fixture
def rated_photos(photo_paths, tmp_path):
    """A folder with photos/ and ratings.csv: four scenes in three qualities."""
    (tmp_path / "photos").mkdir()
    lines = ["file,mos,scene"]
    with Image.open(photo_paths[0]) as china, Image.open(photo_paths[1]) as flower:
        boxes = [(china, (200, 80, 360, 200)), (flower, (200, 80, 320, 240))]
        boxes += [(china, (0, 0, 128, 128)), (flower, (400, 200, 560, 320))]
        scenes = [image.crop(box) for image, box in boxes]
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


def _anchors(page):
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)[^)]*\)", page.read_text("utf-8"))
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


@pytest.fixture(scope="module")
def site():
    """The modules by which the site is made; they do not need Sphinx."""
    folder = str(ROOT / "docs" / "_ext")
    sys.path.insert(0, folder)
    yield importlib.import_module
    sys.path.remove(folder)


def _public_modules():
    """Return the modules without an underscore, by the files that are there."""
    rooms = [path.parent.name for path in (ROOT / "skiqa").glob("*/__init__.py")]
    files = [path.stem for path in (ROOT / "skiqa").glob("*.py")]
    public = {name for name in rooms + files if not name.startswith("_")} - {"cli"}
    return ["skiqa", *(f"skiqa.{name}" for name in public)]


@pytest.mark.parametrize("module", sorted(_public_modules()))
def test_every_public_name_has_a_page(module, site):
    public_api = site("public_api")
    pages = public_api.pages()
    assert module in public_api.modules()
    assert module in pages
    for name in importlib.import_module(module).__all__:
        full = f"{module}.{name}"
        if full not in public_api.modules():
            assert (
                f":: {full}\n" in pages[full] or f":: {name}\n   :module: {module}\n" in pages[full]
            )
            assert f"<{full}>`" in pages[module]
            assert f"\n   {full}\n" in pages[module]


def test_bases_that_are_shown_can_be_imported(site):
    pages = site("public_api").pages()
    assert "show-inheritance" in pages["skiqa.objectives.Qpt"]
    assert "show-inheritance" not in pages["skiqa.ContrastiveQualityEncoder"]
    assert "show-inheritance" not in pages["skiqa.objectives.Objective"]


@pytest.mark.parametrize(
    ("module", "name", "is_linked"),
    [
        ("skiqa", "ContrastiveQualityEncoder", True),
        ("skiqa", "predict_quality", False),
        ("skiqa.persistence", "predict_quality", True),  # though it lies in a private file
        ("skiqa.objectives", "Qpt.views", True),
    ],
)
def test_source_is_linked_from_one_page(module, name, is_linked, site):
    assert (site("public_api").source_module(module, name) is None) == is_linked


@pytest.mark.parametrize(
    ("source", "page", "link", "expected"),
    [
        ("docs/training.md", "training.md", "../skiqa/weights/README.md", "model_card.md"),
        ("docs/dangers/sizes.md", "dangers/sizes.md", "../user_guide.md#scores", None),
        ("docs/dangers/sizes.md", "dangers/sizes.md", "../../CHANGES.md", "../changes.md"),
        ("docs/index.md", "index.md", "../examples/01_x.py", "auto_examples/01_x.rst"),
        ("CHANGES.md", "changes.md", "docs/training.md#a", "training.md#a"),
        ("skiqa/weights/README.md", "model_card.md", "../../docs/design.md", "design.md"),
        ("CHANGES.md", "changes.md", "LICENSE", "../LICENSE"),
        ("CHANGES.md", "changes.md", "https://keepachangelog.com/", None),
        ("docs/index.md", "index.md", "#here", None),
    ],
)
def test_links_on_the_site(source, page, link, expected, site):
    text = f"[words]({link}), [more\nwords]({link})\n```\n[code]({link})\n```\n"
    changed = site("repository_links").rewrite(text, source, page)
    before, code = changed.split("\n```\n", 1)
    assert re.findall(r"\]\((.*?)\)", before) == [expected or link] * 2
    assert code == f"[code]({link})\n```\n"


def test_all_links_between_the_repository_and_the_site(site):
    rewrite = site("repository_links").rewrite
    known = {"index.md", "changes.md", "model_card.md", "contributing.md"}
    for page in PAGES:
        source = page.relative_to(ROOT).as_posix()
        place = "index.md" if source == "README.md" else source.removeprefix("docs/")
        text = rewrite(page.read_text("utf-8"), source, place)
        for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
            target = os.path.normpath(os.path.join(os.path.dirname(place), link))
            if re.match(r"[a-z]+:", link) or target in known:
                continue
            example = re.fullmatch(r"auto_examples/(\w+)\.rst", target)
            if example is None:
                assert (ROOT / "docs" / target).is_file(), link
            elif example[1] != "index":
                assert (ROOT / "examples" / f"{example[1]}.py").is_file(), link


@pytest.mark.parametrize(
    ("heading", "words"),
    [("Set up and score", "pip install . && skiqa score "), ("Run the tests", "python -m pytest")],
)
def test_commands_that_ci_reads(heading, words):
    section = (ROOT / "README.md").read_text("utf-8").split(f"\n## {heading}\n")[1]
    (_, command), *_ = _blocks(section.split("\n## ")[0], "bash")
    assert words in command
