"""The page of ``skiqa report``."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
import re
from types import TracebackType
from typing import Any, Self

from skiqa._disk import whole_file

__all__ = ["Page"]


class Page:
    """The page while it is written, photo by photo; it appears whole, in `close`, or not at all."""

    def __init__(self, html: str) -> None:
        source = importlib.resources.files("skiqa.cli").joinpath("report.html")
        template = source.read_text(encoding="utf-8")
        whole = template.replace("{{policy}}", _policy(template))
        self._before, self._between, self._after = re.split(r"\{\{photos\}\}|\{\{report\}\}", whole)
        self._whole = whole_file(html)
        self._is_open = False
        self.n_photos = 0

    def __enter__(self) -> Self:
        self._file = self._whole.__enter__()
        self._is_open = True
        self._write(self._before + "[")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_open:  # not closed: nothing is to be left of it
            error = error or GeneratorExit()
            self._whole.__exit__(type(error), error, traceback)

    def add(self, photo: dict[str, Any]) -> None:
        """Write a photo."""
        self._write((",\n" if self.n_photos else "") + _json(photo))
        self.n_photos += 1

    def close(self, **report: Any) -> None:
        """Write what the page says of all photos, and put it in its place."""
        self._write("]" + self._between + _json(report) + self._after)
        self._is_open = False
        self._whole.__exit__(None, None, None)

    def _write(self, text: str) -> None:
        self._file.write(text.encode())


def _policy(template: str) -> str:
    """Return what the page may do: run this script and show its own pictures, nothing else."""
    sources = {}
    for tag in ("script", "style"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", template, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        sources[tag] = f"'sha256-{digest}'"
    return (
        f"default-src 'none'; img-src data:; script-src {sources['script']}; "
        f"style-src {sources['style']}; base-uri 'none'; form-action 'none'"
    )


def _json(value: object) -> str:
    """Return JSON that can stand in a script element: no text in it ends the element."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
