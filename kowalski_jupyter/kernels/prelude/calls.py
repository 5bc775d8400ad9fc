"""The child kernel's end of the per-run socket (calls.py in kernels/ is the other end, and describes the messages)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_WIDEST = 128
"""Requests that are awaited at a time: the run takes 256 connections in all."""
_PIECE = 1 << 16


class QueryError(Exception):
    """A model could not answer. ``str()`` of it says why.

    Attributes:
        lasting: whether the same prompt, asked again, would fail in the same way.
    """

    lasting = False


@dataclass(frozen=True, slots=True)
class Request:
    """What the run is asked for: the name of the call, its fields, and raw bytes that belong to it."""

    call: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    payload: bytes = b""


class Reply(NamedTuple):
    """What the run says: a JSON value, and raw bytes that belong to it."""

    value: Any
    payload: bytes


class Calls:
    """A client of the run's socket, with one connection per thread, and one per request that is awaited.

    Every way of asking raises QueryError if the run could not do it, or is over.
    """

    def __init__(self, path: str, token: str) -> None:
        self._path = path
        self._token = token
        self._local = threading.local()
        self._turns = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]()

    def connect(self) -> None:
        """Make this thread's connection before it is needed. A run that cannot be reached is told of when it is."""
        with contextlib.suppress(OSError):
            self._stream()

    def call(self, request: Request) -> Reply:
        """Ask the run and wait for its reply."""
        message = self._message(request)
        try:
            stream = self._stream()
            self._local.connection.sendall(message)
            return _read(stream)
        except QueryError:
            raise
        except BaseException as error:
            # An interrupt leaves half a reply behind: the next call needs a fresh connection.
            self._close()
            if isinstance(error, OSError):
                raise _unreachable(error) from None
            raise

    async def call_async(self, request: Request) -> Reply:
        """Ask the run without blocking the event loop. Cancelling this tells the run."""
        loop = asyncio.get_running_loop()
        turns = self._turns.setdefault(loop, asyncio.Semaphore(_WIDEST))
        async with turns:
            try:
                with self._connect() as connection:
                    connection.setblocking(False)
                    await loop.sock_sendall(connection, self._message(request))
                    line, rest = await _receive_line(connection)
                    value, size = _parse(line)
                    payload = bytearray(rest)
                    while len(payload) < size:
                        payload += await _receive(connection)
            except OSError as error:
                raise _unreachable(error) from None
        return Reply(value, bytes(payload))

    def _message(self, request: Request) -> bytes:
        header = {"token": self._token, "call": request.call, "size": len(request.payload), **request.fields}
        return json.dumps(header).encode() + b"\n" + request.payload

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self._path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _stream(self) -> Any:
        local = self._local
        if getattr(local, "owner", None) != os.getpid():
            connection = self._connect()
            local.stream = connection.makefile("rb")
            local.connection = connection
            local.owner = os.getpid()
        return local.stream

    def _close(self) -> None:
        local = self._local
        if getattr(local, "owner", None) is not None:
            local.owner = None
            local.connection.close()
            local.stream.close()


def _read(stream: Any) -> Reply:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise _ended()
    value, size = _parse(line)
    payload = stream.read(size) if size else b""
    if len(payload) < size:
        raise _ended()
    return Reply(value, payload)


async def _receive(connection: socket.socket) -> bytes:
    if not (piece := await asyncio.get_running_loop().sock_recv(connection, _PIECE)):
        raise _ended()
    return piece


async def _receive_line(connection: socket.socket) -> tuple[bytes, bytes]:
    """Return the first line and what has come after it."""
    pieces = [await _receive(connection)]
    while b"\n" not in pieces[-1]:
        pieces.append(await _receive(connection))
    line, _, rest = b"".join(pieces).partition(b"\n")
    return line, rest


def _parse(line: bytes) -> tuple[Any, int]:
    """Return the reply's value, and how many bytes follow it."""
    reply = json.loads(line)
    if "error" in reply:
        raise QueryError(reply["error"])
    return reply["reply"], reply.get("size", 0)


def _ended() -> ConnectionError:
    return ConnectionError("it has ended")


def _unreachable(error: OSError) -> QueryError:
    return QueryError(f"The run cannot be reached: {error}")
