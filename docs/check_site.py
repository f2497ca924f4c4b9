"""Check a built site offline: ``python docs/check_site.py docs/_build/html``.

Every link within it leads to a page, and to an anchor of it that is there; nothing is loaded from
elsewhere; every public name is in the index of the API. Exits with 1 and a list if not.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.util.inventory import InventoryFile

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """Anchors of a page, where its links lead, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loaded = {"", "top"}, [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Note ids, links and what is loaded."""
        values = dict(attrs)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        elif tag in LOADED and values.get(LOADED[tag]):
            self.loaded.append(values[LOADED[tag]])


def problems(site):
    """Yield what is wrong, in words."""
    templates = site / "_static"  # of the theme
    found = [path.resolve() for path in site.rglob("*.html") if templates not in path.parents]
    pages = {path: Page(path) for path in found}
    for path, page in sorted(pages.items()):
        where = path.relative_to(site.resolve())
        for address in page.links + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.loaded and parts.scheme != "data":
                    yield f"{where} loads {address}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                yield f"{where}: {address} leads nowhere"
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{where}: {address} has no such anchor"
    yield from missing_names(site)


def missing_names(site):
    """Yield the public names that the built site does not know."""
    sys.path.insert(0, str(Path(__file__).parent / "_ext"))
    from public_api import modules, public_names

    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    known = {name for kind in inventory.data.values() for name in kind}
    for module in modules():
        for name in (module, *public_names(module)):
            if name not in known:
                yield f"{name} has no page"


if __name__ == "__main__":
    found = list(problems(Path(sys.argv[1])))
    print(*found, sep="\n")
    print(f"{len(found)} problems")
    sys.exit(bool(found))
