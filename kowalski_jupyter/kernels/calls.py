"""The host's end of the per-run socket, by which code in a child kernel asks its run for something.

A request is one line of JSON, ``{"token": …, "call": …, …}``, followed by as many raw bytes as its
``size`` says (0 if missing). The reply is one line: ``{"reply": …}`` or ``{"error": text}``. A
connection carries one request at a time. The calls:

============================ ================================== ========================================
``call``                     fields                             reply
============================ ================================== ========================================
``llm_query``                ``prompt``, ``options``            text
``llm_query_batched``        ``prompts``, ``options``           list of texts; ``{"error": …}`` if one failed
``final``                    ``kind``, ``type``, ``text``, data true if this answer counts
============================ ================================== ========================================

Whoever writes here is code that nobody vouches for: sizes are limited, requests that make no sense are
answered and the connection is closed, and each connection works at one request only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

from .base import Answer, Calls
from .client import valid

LARGEST_LINE = 64 << 20
LARGEST_ANSWER = 512 << 20
LARGEST_WAITING = 640 << 20
"""Bytes of half-read requests that all connections of a run may hold together."""
MOST_CONNECTIONS = 256

_ANSWER_KINDS = get_args(get_type_hints(Answer)["kind"])


class CallServer:
    """Listens on a unix socket for the requests of one child kernel.

    Args:
        path: Where the socket is made, with mode 0600.
        calls: The run that answers.
        on_busy: Called with True when the first request begins, with False when the last one has ended.
    """

    def __init__(self, path: Path, calls: Calls, on_busy: Callable[[bool], None]) -> None:
        self.token = secrets.token_hex(16)
        self.final = False
        self.open = True
        self.waiting = 0
        self._path = path
        self._calls = calls
        self._on_busy = on_busy
        self._busy = 0
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: _Connection(self), str(self._path), backlog=MOST_CONNECTIONS
        )
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Stop listening, cancel what is going on and remove the socket."""
        self.stop()
        if self._server is not None:
            self._server.close()
        tasks = [connection.task for connection in self._connections if connection.task]
        for connection in [*self._connections]:
            connection.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    def stop(self) -> None:
        """Cancel the requests that are going on, and refuse new ones until `resume`."""
        self.open = False
        for connection in self._connections:
            connection.cancel()

    def resume(self) -> None:
        """Answer requests again."""
        self.open = True

    def add(self, connection: _Connection) -> bool:
        """Count a new connection in; return False if there are too many."""
        self._connections.add(connection)
        return len(self._connections) <= MOST_CONNECTIONS

    def discard(self, connection: _Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)

    async def answer(self, request: dict[str, Any], payload: bytes) -> dict[str, Any]:
        """Do what `request` asks for and return the reply."""
        if not self.open:
            return {"error": "The run has been stopped."}
        self._busy += 1
        if self._busy == 1:
            self._on_busy(True)
        try:
            return {"reply": await self._dispatch(request, payload)}
        except _BadRequestError as error:
            return {"error": f"Bad request: {error}"}
        except Exception as error:  # noqa: BLE001 - the run's own words for the model's code
            return {"error": str(error) or type(error).__name__}
        finally:
            self._busy -= 1
            if not self._busy:
                self._on_busy(False)

    async def _dispatch(self, request: dict[str, Any], payload: bytes) -> Any:
        match request.get("call"):
            case "llm_query":
                prompt = valid(_field(request, "prompt", str))
                return await self._calls.llm_query(prompt, _field(request, "options", dict))
            case "llm_query_batched":
                prompts = _field(request, "prompts", list)
                if not all(isinstance(prompt, str) for prompt in prompts):
                    raise _BadRequestError("`prompts` must be a list of texts")
                prompts = [valid(prompt) for prompt in prompts]
                return await self._calls.llm_query_batched(prompts, _field(request, "options", dict))
            case "final":
                kind, type_name, text = (_field(request, name, str) for name in ("kind", "type", "text"))
                if kind not in _ANSWER_KINDS:
                    raise _BadRequestError(f"`kind` must be one of {', '.join(_ANSWER_KINDS)}")
                if self.final:
                    return False
                self.final = True  # from now on: another one may come while this one is taken
                try:
                    await self._calls.final(Answer(kind, valid(type_name[:200]), valid(text[:20_001]), payload))
                except BaseException:
                    self.final = False
                    raise
                return True
            case other:
                raise _BadRequestError(f"there is no call {other!r}")


class _BadRequestError(Exception):
    """The request makes no sense."""


class _Connection(asyncio.Protocol):
    """One connection of a child kernel's."""

    def __init__(self, server: CallServer) -> None:
        self.task: asyncio.Task[None] | None = None
        self._server = server
        self._buffer = bytearray()
        self._searched = 0
        self._request: dict[str, Any] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a unix server makes
        self._transport = transport
        if not self._server.add(self):
            self._refuse("Too many connections: at most 256 at a time.")

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.discard(self)
        self._server.waiting -= len(self._buffer)
        self._buffer.clear()
        self._transport = None
        if self.task:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._server.waiting += len(data)
        if self.task is None:
            self._advance()
        elif len(self._buffer) > LARGEST_LINE:
            self._refuse("Too much at a time: wait for the reply first.")

    def close(self) -> None:
        if self._transport:
            self._transport.abort()

    def cancel(self) -> None:
        """Break off the request that is going on, telling the other side."""
        if self.task:
            self.task.cancel()

    def _advance(self) -> None:
        """Go on with what has been read: a header, then its payload."""
        if self._server.waiting > LARGEST_WAITING:
            self._refuse("Too much at a time from all connections together.")
            return
        if self._request is None:
            end = self._buffer.find(b"\n", self._searched)
            if end < 0:
                self._searched = len(self._buffer)
                if self._searched > LARGEST_LINE:
                    self._refuse("The request is larger than 64 MB. Send less at a time.")
                return
            try:
                self._request = self._parse(self._take(end + 1))
            except _BadRequestError as error:
                self._refuse(str(error))
                return
        size = self._request.get("size", 0)
        if len(self._buffer) >= size:
            request, payload = self._request, self._take(size)
            self._request = None
            self.task = asyncio.get_running_loop().create_task(self._answer(request, payload))

    def _take(self, size: int) -> bytes:
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        self._server.waiting -= size
        self._searched = 0
        return taken

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            raise _BadRequestError("A request is one line of JSON.") from None
        if not isinstance(request, dict):
            raise _BadRequestError("A request is a JSON object.")
        token = request.get("token")
        if not (
            isinstance(token, str) and hmac.compare_digest(token.encode(errors="replace"), self._server.token.encode())
        ):
            raise _BadRequestError("Wrong token.")
        size = request.get("size", 0)
        if type(size) is not int or not 0 <= size <= LARGEST_ANSWER:
            raise _BadRequestError("An answer may have at most 512 MB. Give a smaller one.")
        return request

    async def _answer(self, request: dict[str, Any], payload: bytes) -> None:
        try:
            self._reply(await self._server.answer(request, payload))
        except asyncio.CancelledError:
            self._reply({"error": "The run has been stopped."})
        finally:
            self.task = None
        if self._buffer:
            self._advance()

    def _reply(self, reply: dict[str, Any]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(json.dumps(reply).encode() + b"\n")

    def _refuse(self, reason: str) -> None:
        self._reply({"error": reason})
        if self._transport is not None:
            self._transport.close()


def _field(request: dict[str, Any], name: str, kind: type) -> Any:
    value = request.get(name)
    if not isinstance(value, kind):
        raise _BadRequestError(f"`{name}` is missing or of the wrong type")
    return value
