"""The addresses where nodes have been, kept on disk: so a cluster is found again when its first node is off."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_MOST: Final = 64
_KEEP_SECONDS: Final = 60 * 86_400.0
_RENEW_SECONDS: Final = 3600.0
"""A known address is written again only when it is this much older: the file is not there to be written all day."""


class KnownNodes:
    """Base URLs of nodes that have answered, newest first.

    Args:
        path: of the file. It is private to the user; what is wrong with it is passed over.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _read(path)

    @property
    def urls(self) -> list[str]:
        """All of them, the one that answered last first."""
        return sorted(self._seen, key=lambda url: -self._seen[url])

    def note(self, urls: Iterable[str]) -> None:
        """Note that nodes have answered at these addresses just now."""
        now = time.time()
        renewed = [url for url in urls if now - self._seen.get(url, 0.0) > _RENEW_SECONDS]
        if not renewed:
            return
        # What another process of the user's has noted meanwhile counts too.
        self._seen = {**self._seen, **_read(self._path), **dict.fromkeys(renewed, now)}
        self._seen = {url: self._seen[url] for url in self.urls[:_MOST] if now - self._seen[url] < _KEEP_SECONDS}
        with contextlib.suppress(OSError):  # a full or read-only disk costs no more than tomorrow's haste
            self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps({"nodes": [{"url": url, "seen": round(self._seen[url])} for url in self.urls]}, indent=1)
        handle, draft = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.name)  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text + "\n")
            Path(draft).replace(self._path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise


def _read(path: Path) -> dict[str, float]:
    try:
        nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
        return {str(node["url"]): float(node["seen"]) for node in nodes if str(node["url"]).startswith("http://")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
