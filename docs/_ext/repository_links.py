"""Links of Markdown pages to files of the repository, on the site.

The pages are read on the site and in the repository. There ``../skiqa/weights/README.md`` is a
file; here it is the page that includes it. Files that are no page are offered as a download.
"""

import os
import re
from pathlib import Path

# Files of the repository that stand on the site under another name.
PAGES = {
    "README.md": "index.md",
    "CHANGES.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "skiqa/weights/README.md": "model_card.md",
    "examples": "auto_examples/index.rst",
}

_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_INCLUDE = re.compile(r"\A```\{include\} (\S+)\n```\s*\Z")
_FENCE = re.compile(r"^(```.*?^```$)", flags=re.MULTILINE | re.DOTALL)


def site_path(path):
    """Return where a path, relative to the repository, stands below docs/ on the site."""
    if path in PAGES:
        return PAGES[path]
    if re.fullmatch(r"examples/\w+\.py", path):
        return f"auto_{path.removesuffix('.py')}.rst"
    return os.path.relpath(path, "docs")


def rewrite(text, source, page):
    """Turn the links of a text into those of a page.

    Parameters
    ----------
    text : str
        Markdown.
    source : str
        The file that the text is from, relative to the repository.
    page : str
        Where it stands on the site, relative to docs/.
    """

    def link(match):
        if re.match(r"[a-z]+:", match[2]):
            return match[0]
        path = os.path.normpath(os.path.join(os.path.dirname(source), match[2]))
        target = os.path.relpath(site_path(path), os.path.dirname(page) or ".")
        return match[1] + Path(target).as_posix() + match[3]

    parts = _FENCE.split(text)  # code blocks stand at odd places
    return "".join(part if i % 2 else _LINK.sub(link, part) for i, part in enumerate(parts))


def _read(app, docname, content):
    path = Path(app.env.doc2path(docname))
    if path.suffix != ".md":
        return
    root = Path(app.srcdir).parent
    source, text = path.relative_to(root), content[0]
    if included := _INCLUDE.match(text):
        source = Path(os.path.normpath(source.parent / included[1]))
        text = (root / source).read_text(encoding="utf-8")
        app.env.note_dependency(str(root / source))
    content[0] = rewrite(text, source.as_posix(), f"{docname}.md")


def setup(app):
    """Rewrite each page as it is read."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
