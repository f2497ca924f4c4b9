"""The page of ``skiqa report``."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.resources
import json
import os
import re
from types import TracebackType
from typing import Any, Self

__all__ = ["Page"]


class Page:
    """The page while it is written, photo by photo; it appears whole, in `close`, or not at all."""

    def __init__(self, html: str) -> None:
        source = importlib.resources.files("skiqa.cli").joinpath("report.html")
        template = source.read_text(encoding="utf-8")
        whole = template.replace("{{policy}}", _policy(template))
        self._before, self._between, self._after = re.split(r"\{\{photos\}\}|\{\{report\}\}", whole)
        self._html, self._temporary = html, f"{html}.{os.getpid()}.tmp"
        self.n_photos = 0

    def __enter__(self) -> Self:
        self._file = open(self._temporary, "w", encoding="utf-8", newline="\n")
        self._file.write(self._before + "[")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)

    def add(self, photo: dict[str, Any]) -> None:
        """Write a photo."""
        self._file.write((",\n" if self.n_photos else "") + _json(photo))
        self.n_photos += 1

    def close(self, **report: Any) -> None:
        """Write what the page says of all photos, and put it in its place."""
        self._file.write("]" + self._between + _json(report) + self._after)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self._html)


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
