"""What the run asks of its kernel: one request after the other, over the socket that the kernel was started with.

A request is a line of JSON, ``{"id": …, "type": …, "content": …}``, and its reply another, ``{"id": …, "content": …}``.
Jupyter's shell channel would do the same with a thread's help on either side, and a cell would take twice as long.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

from .lines import Lines, encoded

Content = Mapping[str, Any]
Answer = Callable[[Content], Content | Coroutine[Any, Any, Content]]
"""Called with a request. Returns the content of the reply, or what will."""

_PIECE = 1 << 18


class Requests:
    """Takes requests from `connection` and sends what `answer` says to each, once `listen` has been called."""

    def __init__(self, connection: socket.socket, answer: Answer) -> None:
        self._connection = connection
        self._answer = answer
        self._lines = Lines()
        self._waiting = deque[bytes]()
        self._running: asyncio.Task[Content] | None = None
        # What one cell sets of context variables, the next one finds.
        self._context = contextvars.copy_context()

    def listen(self) -> None:
        """Say that the kernel is ready, and answer from now on, in the event loop that is running."""
        self._connection.send(b"ready")
        asyncio.get_running_loop().add_reader(self._connection, self._context.run, self._read)

    def _read(self) -> None:
        try:
            piece = self._connection.recv(_PIECE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if not piece:  # the service is gone, and this process will be in a moment
            asyncio.get_running_loop().remove_reader(self._connection)
            return
        self._waiting.extend(self._lines.feed(piece))
        self._take()

    def _take(self) -> None:
        """Answer what has come, up to a request whose answer takes its time."""
        while self._waiting and self._running is None:
            request = json.loads(self._waiting.popleft())
            content = self._answer(request)
            if isinstance(content, Coroutine):
                self._running = asyncio.create_task(content, context=self._context)
                self._running.add_done_callback(partial(self._end, request["id"]), context=self._context)
            else:
                self._connection.sendall(reply_to(request["id"], content))

    def _end(self, request: str, task: asyncio.Task[Content]) -> None:
        self._running = None
        self._connection.sendall(reply_to(request, task.result()))
        self._take()


def reply_to(request: str, content: Content) -> bytes:
    """Return the line that answers the request of that id."""
    return encoded({"id": request, "content": content}) + b"\n"
