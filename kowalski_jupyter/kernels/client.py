"""A lean client for one Jupyter kernel: ZMQ sockets on the event loop, no tasks, no threads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import zmq
from jupyter_client.connect import KernelConnectionInfo

from .prelude.messages import BadMessageError, Messages

OnMessage = Callable[[str, dict[str, Any]], None]
"""Called with ``(channel, message)``."""

_NEVER = 1_000_000_000
"""Milliseconds before a broken connection is made again: never, in a kernel's life.

With -1, which is libzmq's word for it, the end of a kernel in the middle of a message aborts this process: the pipe is
ended between two parts of what is being read (``Assertion failed: !_more``).
"""
_LARGEST = 4 << 20
"""Bytes of a message part; a kernel that sends more is cut off (prelude/output.py sends far less)."""
_WAITING = 64
"""Messages that may wait here; the rest waits in the kernel, at its own expense."""


def valid(text: str) -> str:
    """Return `text` with lone surrogates, which cannot be sent on, replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class KernelClient:
    """Sends requests to a kernel and hands every message that comes to `on_message`.

    A kernel runs code that nobody vouches for: a message that is not properly signed or not JSON is
    dropped, and a broken connection is never made again, since the sockets' paths are the kernel's.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        info: KernelConnectionInfo,
        channels: Iterable[str],
        on_message: OnMessage,
    ) -> None:
        self._on_message = on_message
        self._messages = Messages(cast("bytes", info["key"]), "run")
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._sockets = {channel: self._connect(info, channel) for channel in channels}

    def send(self, channel: str, message_type: str, content: Mapping[str, Any]) -> str:
        """Send a request and return its id. A kernel that is gone is sent nothing: its end is told to who waits."""
        name, parts = self._messages.pack(message_type, content)
        socket = self._sockets[channel]
        with contextlib.suppress(zmq.Again):
            socket.send_multipart(parts)
        if cast("int", socket.get(zmq.EVENTS)) & zmq.POLLIN:  # to send may have swallowed the edge that tells of it
            self._loop.call_soon(self._receive, channel)
        return name

    def close(self) -> None:
        """Close the sockets."""
        for socket in self._sockets.values():
            self._loop.remove_reader(_descriptor(socket))
            socket.close(linger=0)
        self._sockets.clear()

    def _connect(self, info: KernelConnectionInfo, channel: str) -> zmq.Socket[bytes]:
        kind = zmq.SUB if channel == "iopub" else zmq.DEALER
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.sndtimeo = 0  # without a connection it would wait for one, and the whole service with it
        socket.reconnect_ivl = _NEVER
        socket.maxmsgsize = _LARGEST
        socket.rcvhwm = _WAITING
        if kind == zmq.SUB:
            socket.subscribe(b"")
        port = dict(info)[f"{channel}_port"]
        socket.connect(f"ipc://{info['ip']}-{port}")
        self._loop.add_reader(_descriptor(socket), self._receive, channel)
        return socket

    def _receive(self, channel: str) -> None:
        """Take everything that has arrived: ZMQ's descriptor tells only of the first."""
        for _ in range(_WAITING):
            if (socket := self._sockets.get(channel)) is None:
                return
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            with contextlib.suppress(BadMessageError):
                self._on_message(channel, self._messages.read(frames)[1])
        self._loop.call_soon(self._receive, channel)


def _descriptor(socket: zmq.Socket[bytes]) -> int:
    """Return the descriptor that becomes readable when something happens to `socket`."""
    return int(socket.fd)
