"""The channel on which requests come: they are answered one after the other, in the event loop, without a task each."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import zmq

from .messages import BadMessageError, Messages

Content = Mapping[str, Any]
Answer = Callable[[Content], Content | Coroutine[Any, Any, Content] | None]
"""Called with a request. Returns the content of the reply, or what will, or None if there is to be none."""


class Requests:
    """Takes requests from `socket` and sends what `answer` says to each, once `listen` has been called."""

    def __init__(self, socket: zmq.Socket[bytes], messages: Messages, answer: Answer) -> None:
        self._socket = socket
        self._messages = messages
        self._answer = answer
        self._running: asyncio.Task[Content] | None = None
        # What one cell sets of context variables, the next one finds.
        self._context = contextvars.copy_context()

    def listen(self) -> None:
        """Answer from now on, in the event loop that is running."""
        asyncio.get_running_loop().add_reader(int(self._socket.fd), self._context.run, self._take)

    def _take(self) -> None:
        """Answer all that has arrived: ZMQ's descriptor tells only of the first, and sending may hide another."""
        while self._running is None:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                identities, request = self._messages.read(frames)
            except BadMessageError:
                continue
            content = self._answer(request)
            if isinstance(content, Coroutine):
                self._running = asyncio.create_task(content, context=self._context)
                end = partial(self._end, identities, request)
                self._running.add_done_callback(end, context=self._context)
            elif content is not None:
                self._reply(identities, request, content)

    def _end(self, identities: Sequence[bytes], request: Content, task: asyncio.Task[Content]) -> None:
        self._running = None
        self._reply(identities, request, task.result())
        self._take()

    def _reply(self, identities: Sequence[bytes], request: Content, content: Content) -> None:
        kind = request["msg_type"].replace("request", "reply")
        _, parts = self._messages.pack(kind, content, parent=request["header"])
        self._socket.send_multipart([*identities, *parts])
