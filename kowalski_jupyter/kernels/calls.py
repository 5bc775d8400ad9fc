"""The host's end of the per-run socket, by which code in a child kernel asks its run for something.

A request is one line of JSON, ``{"token": …, "call": …, …}``, and a reply another, ``{"reply": …}`` or
``{"error": text}``. Either may be followed by raw bytes, as many as its ``size`` says (0 if missing). A
connection carries one request at a time. The calls:

============================ ======================================= ===========================================
``call``                     fields                                  reply
============================ ======================================= ===========================================
``llm_query``                ``prompt``, ``options``                 text or JSON value
``llm_query_batched``        ``prompts``, ``options``                list of ``{"reply": …}`` or ``{"error": …}``
``rlm_query_batched``        ``queries``, ``values``, ``options``,   list of ``{"kind": …, "size": …}`` (then the
                             the values' data in a row               data in a row) or ``{"error": …}``
``final``                    ``kind``, ``type``, ``text``, the data  true if this answer counts
``share``                    ``name``, and as ``final``              true
``shared``                   ``name``                                ``{"kind": …}``, then the data
============================ ======================================= ===========================================

An error of an item has ``"lasting": true`` with it where the same prompt, asked again, would fail in the same way.
A query is ``{"question": text, "context": place in values, or null}``, and a value
``{"kind": …, "type": …, "text": …, "size": …}``; kinds and data are those of `Value`.

Whoever writes here is code that nobody vouches for: sizes are limited, requests that make no sense are
answered and the connection is closed, and each connection works at one request only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from .base import FUNCTIONS, Calls, Function, Value
from .client import valid
from .wire import BadRequestError, Reply, field, item, queries_of, value_of, words

LARGEST_LINE = 64 << 20
LARGEST_PAYLOAD = 512 << 20
LARGEST_WAITING = 640 << 20
"""Bytes of half-read requests, and of replies that nobody reads, that all connections of a run may hold together."""
MOST_CONNECTIONS = 256
MOST_PARTS = 250_000
"""How many values a request may be made of: a few megabytes of tiny ones would keep the service busy for seconds."""


_GROUPS: Mapping[str, Function] = {
    "llm_query": "llm_query",
    "llm_query_batched": "llm_query",
    "rlm_query_batched": "rlm_query",
}
"""Which function of base.py a call belongs to."""


class CallServer:
    """Listens on a unix socket for the requests of one child kernel.

    Args:
        path: Where the socket is made, with mode 0600.
        calls: The run that answers.
        on_busy: Called with True when the first request begins, with False when the last one has ended.
        functions: What the run allows. The kernel's code does not even find the others, but it can write here itself.
    """

    def __init__(
        self,
        path: Path,
        calls: Calls,
        on_busy: Callable[[bool], None],
        functions: Collection[Function] = FUNCTIONS,
    ) -> None:
        self.token = secrets.token_hex(16)
        self.final = False
        self.open = True
        self.waiting = 0
        self._path = path
        self._calls = calls
        self._on_busy = on_busy
        self._functions = functions
        self._busy = 0
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def checks_answer(self) -> bool:
        """See `Calls.checks_answer`."""
        return self._calls.checks_answer

    @property
    def starts_runs(self) -> bool:
        """See `Calls.starts_runs`."""
        return self._calls.starts_runs

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
        """Answer requests again, for a new cell. An answer that an earlier one gave was not taken."""
        self.open, self.final = True, False

    def add(self, connection: _Connection) -> bool:
        """Count a new connection in; return False if there are too many."""
        self._connections.add(connection)
        return len(self._connections) <= MOST_CONNECTIONS

    def discard(self, connection: _Connection) -> None:
        """Count a connection out."""
        self._connections.discard(connection)

    @property
    def unread(self) -> int:
        """Bytes of replies that the other side has not taken yet."""
        return sum(connection.unread for connection in self._connections)

    async def answer(self, request: dict[str, Any], payload: bytes) -> Reply:
        """Do what `request` asks for and return the reply."""
        if not self.open:
            return Reply.error("The run has been stopped.")
        self._busy += 1
        if self._busy == 1:
            self._on_busy(True)
        try:
            return await self._dispatch(request, payload)
        except BadRequestError as error:
            return Reply.error(f"Bad request: {error}")
        except Exception as error:  # noqa: BLE001 - the run's own words for the model's code
            return Reply.error(words(error))
        finally:
            self._busy -= 1
            if not self._busy:
                self._on_busy(False)

    async def _dispatch(self, request: dict[str, Any], payload: bytes) -> Reply:
        call = request.get("call")
        group = _GROUPS.get(call) if isinstance(call, str) else None
        if group and group not in self._functions:
            raise BadRequestError(f"this run does not allow {group}")
        match call:
            case "llm_query":
                prompt = valid(field(request, "prompt", str))
                return Reply({"reply": await self._calls.llm_query(prompt, field(request, "options", dict))})
            case "llm_query_batched":
                prompts = field(request, "prompts", list)
                if not all(isinstance(prompt, str) for prompt in prompts):
                    raise BadRequestError("`prompts` must be a list of texts")
                prompts = [valid(prompt) for prompt in prompts]
                replies = await self._calls.llm_query_batched(prompts, field(request, "options", dict))
                return Reply({"reply": [item(reply, lambda reply: {"reply": reply}) for reply in replies]})
            case "rlm_query_batched":
                queries = queries_of(request, payload)
                answers = await self._calls.rlm_query_batched(queries, field(request, "options", dict))
                items = [
                    item(answer, lambda value: {"kind": value.kind, "size": len(value.data)}) for answer in answers
                ]
                return Reply({"reply": items}, [answer.data for answer in answers if isinstance(answer, Value)])
            case "final":
                return Reply({"reply": await self.take_final(value_of(request, payload))})
            case "share":
                await self._calls.share(valid(field(request, "name", str)), value_of(request, payload))
                return Reply({"reply": True})
            case "shared":
                value = await self._calls.shared(valid(field(request, "name", str)))
                return Reply({"reply": {"kind": value.kind}}, [value.data])
            case other:
                raise BadRequestError(f"there is no call {other!r}")

    async def take_final(self, value: Value) -> bool:
        """Hand the run an answer; return whether it counts."""
        if self.final:
            return False
        self.final = True  # from now on: another one may come while this one is taken
        try:
            await self._calls.final(value)
        except BaseException:
            self.final = False
            raise
        return True


class _Connection(asyncio.Protocol):
    """One connection of a child kernel's."""

    def __init__(self, server: CallServer) -> None:
        self.task: asyncio.Task[None] | None = None
        self._server = server
        self._buffer = bytearray()
        self._searched = 0
        self._request: dict[str, Any] | None = None
        self._transport: asyncio.Transport | None = None
        self._deaf = False

    @property
    def unread(self) -> int:
        """Bytes of its replies that wait to be read."""
        return self._transport.get_write_buffer_size() if self._transport else 0

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
        if self.task is None and not self._deaf:
            self._advance()
        elif len(self._buffer) > LARGEST_LINE:
            self._refuse("Too much at a time: wait for the reply first.")

    def pause_writing(self) -> None:
        self._deaf = True

    def resume_writing(self) -> None:
        self._deaf = False
        if self.task is None and self._buffer:
            self._advance()

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
            except BadRequestError as error:
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
        if _is_crowded(line):
            raise BadRequestError(f"A request has at most {MOST_PARTS:,} parts. Send fewer at a time.")
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            raise BadRequestError("A request is one line of JSON.") from None
        if not isinstance(request, dict):
            raise BadRequestError("A request is a JSON object.")
        token = request.get("token")
        if not (
            isinstance(token, str) and hmac.compare_digest(token.encode(errors="replace"), self._server.token.encode())
        ):
            raise BadRequestError("Wrong token.")
        size = request.get("size", 0)
        if type(size) is not int or not 0 <= size <= LARGEST_PAYLOAD:
            raise BadRequestError("Values may have at most 512 MB. Give smaller ones.")
        return request

    async def _answer(self, request: dict[str, Any], payload: bytes) -> None:
        try:
            self._reply(await self._server.answer(request, payload))
        except asyncio.CancelledError:
            self._reply(Reply.error("The run has been stopped."))
        finally:
            self.task = None
        if self._buffer and not self._deaf:
            self._advance()

    def _reply(self, reply: Reply) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        unread = self._server.unread
        if unread and unread + sum(map(len, reply.data)) > LARGEST_WAITING:
            reply = Reply.error("Too much at a time: read the replies that have been sent first.")
        for part in reply.parts():
            self._transport.write(part)

    def _refuse(self, reason: str) -> None:
        self._reply(Reply.error(reason))
        if self._transport is not None:
            self._transport.close()


_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')


def _is_crowded(line: bytes) -> bool:
    """Return whether a line has too many parts, without reading it as JSON. Commas within texts are none."""
    if line.count(b",") < MOST_PARTS:
        return False
    return line.count(b'"') > 2 * MOST_PARTS or _TEXT.sub(b"", line).count(b",") >= MOST_PARTS
