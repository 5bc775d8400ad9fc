"""Requests to a kernel of ours, over the socket that it was started with (prelude/requests.py is the other end)."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

from .client import OnMessage
from .prelude.lines import Lines, encoded

_LONGEST = 4 << 20
"""Bytes of a reply; prelude/output.py cuts what goes into one far below."""


class Line(asyncio.Protocol):
    """Sends requests and hands their replies to `on_message`, as messages of Jupyter's shell channel.

    A kernel runs code that nobody vouches for: when something else than a reply comes, `on_nonsense` is called, and
    nothing is read any more.
    """

    def __init__(self, on_message: OnMessage, on_nonsense: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_nonsense = on_nonsense
        self._numbers = itertools.count(1)
        self._transport: asyncio.Transport | None = None
        self._lines = Lines()

    def send(self, message_type: str, content: Mapping[str, Any]) -> str:
        """Send a request and return its id. A kernel that is gone is sent nothing: its end is told to who waits."""
        name = str(next(self._numbers))
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encoded({"id": name, "type": message_type, "content": content}) + b"\n")
        return name

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`, as with the next one."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a connected socket has
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what has come of replies."""
        for line in self._lines.feed(data):
            if self._transport is None or self._transport.is_closing():
                return
            self._take(line)
        if self._lines.size > _LONGEST:
            self._refuse()

    def _take(self, line: bytes) -> None:
        try:
            reply = json.loads(line)
            request, content = reply["id"], reply["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            request = content = None
        if isinstance(request, str) and isinstance(content, dict):
            self._on_message("shell", {"parent_header": {"msg_id": request}, "content": content})
        else:
            self._refuse()

    def _refuse(self) -> None:
        self.close()
        self._on_nonsense()
