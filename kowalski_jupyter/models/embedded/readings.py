"""What the embedded model has read once, kept on disk: the constant opening of every chat need not be read again.

A processor core reads 30 to 50 tokens a second, so that an opening takes half a minute; its state, some 30 KB a
token, is back in milliseconds. llama.cpp's server saves and restores the state of a slot by itself
(https://github.com/ggml-org/llama.cpp/tree/master/tools/server, "POST /slots/{id_slot}?action=save").
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from kowalski_jupyter.models.base import Message, Report

_KEPT: Final = 3
"""Readings on disk; the oldest go first."""

_SUFFIX: Final = ".reading"


class Readings:
    """The readings of one model file.

    Args:
        folder: where llama.cpp keeps them; it is made if it is not there.
        client: sends requests to the model's server.
        url: of that server.
        file: the model's file. Another one has other readings.
    """

    def __init__(self, folder: Path, client: httpx.AsyncClient, url: str, file: Path) -> None:
        self._folder = folder
        self._client = client
        self._url = url
        self._file = file

    async def read(self, messages: Sequence[Message], report: Report) -> None:
        """Have the server know `messages`, from disk or by reading them.

        It is for speed alone, so that nothing is raised: if it fails, the first chat reads them.
        """
        name = self._name(messages)
        with contextlib.suppress(OSError, httpx.HTTPError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if (self._folder / name).is_file() and await self._slot("restore", name):
                (self._folder / name).touch()
                return
            report("reading the instructions: half a minute, this once", None, None)
            if await self._post("/v1/chat/completions", {"messages": _chat(messages), "max_tokens": 1}):
                await self._slot("save", name)
            self._drop_old()

    def _name(self, messages: Sequence[Message]) -> str:
        """Name a reading by all that makes it what it is."""
        stat = self._file.stat()
        version = importlib.metadata.version("xllamacpp")
        said = json.dumps([version, self._file.name, stat.st_size, stat.st_mtime_ns, _chat(messages)])
        return hashlib.sha256(said.encode()).hexdigest()[:32] + _SUFFIX

    async def _slot(self, action: str, name: str) -> bool:
        return await self._post(f"/slots/0?action={action}", {"filename": name})

    async def _post(self, path: str, body: dict[str, Any]) -> bool:
        response = await self._client.post(f"{self._url}{path}", json=body)
        return response.is_success

    def _drop_old(self) -> None:
        readings = sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime)
        for path in readings[:-_KEPT]:
            path.unlink(missing_ok=True)


def _chat(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Return the messages as JSON, with a user's turn begun: the server would go on writing an assistant's."""
    return [{"role": m.role, "content": m.content} for m in [*messages, Message("user", "`")]]
