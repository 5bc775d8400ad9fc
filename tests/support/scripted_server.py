"""An OpenAI-compatible HTTP server that answers from a script, misbehaves on demand and keeps count.

In a test, on a thread of its own::

    with ScriptedServer(["first reply", Reply("second", fault="cut-off")]) as server:
        ...  # server.url, server.requests

In any other process: ``python -m tests.support.scripted_server --script replies.json`` prints one line
of JSON with its ``url`` and serves until its standard input closes. ``GET /stats`` tells the counts.

Speaks HTTP by itself on a bare asyncio protocol, since benchmarks measure clients against it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

FAULTS = (
    "error-chunk",  # an error object in the stream, then [DONE], as exo does
    "done-only",  # the text, then [DONE], and no finish_reason
    "cut-off",  # the text, then a clean end of the body: no finish_reason, no [DONE]
    "empty",  # 200 and a body without a byte
    "stall",  # the text, then keep-alive comments for ever
    "silent",  # the text, then nothing for ever
    "hang",  # not even response headers
    "die",  # the text, then the socket is closed in the middle of the body
    "reset",  # the text, then the connection is reset
    "refuse",  # the connection is closed without a byte of response
    "garbage",  # a line that is not JSON
)


@dataclass(frozen=True)
class Reply:
    """One answer. Times in seconds.

    `delay` is before the first byte of the body, `token_delay` before each token. With ``whole`` the
    text comes in one chunk, else in tokens of a word each. `shape` says how text is carried: ``plain``,
    ``nulls`` (explicit nulls everywhere, an empty text included), ``parts`` (content as a list of parts).
    """

    text: str = ""
    reasoning: str = ""
    reasoning_key: str = "reasoning_content"
    delay: float = 0.0
    token_delay: float = 0.0
    whole: bool = False
    fault: str | None = None
    status: int = 200
    error: str = "the script says so"
    headers: Mapping[str, str] = field(default_factory=dict)
    finish_reason: str = "stop"
    usage: bool = True
    shape: str = "plain"

    def __post_init__(self) -> None:
        if self.fault not in (None, *FAULTS):
            raise ValueError(f"no fault {self.fault!r}; there are: {', '.join(FAULTS)}")

    def tokens(self) -> list[str]:
        return [self.text] if self.whole else re.findall(r"\s*\S+\s*?|\s+$", self.text)


@dataclass
class Request:
    """One chat completion as it came. Times are `time.monotonic()`.

    It `started` when its last byte came, and has `ended` when the last of the reply was handed to the system: neither
    counts what this server does with them.

    `chunks` is how many chunks of a slow reply were written before its end, or before the client went away; where the
    reply is not streamed, how many tokens it took.
    """

    number: int
    payload: dict[str, Any]
    headers: dict[str, str]
    started: float
    ended: float | None = None
    disconnected: float | None = None
    chunks: int = 0

    @property
    def messages(self) -> list[dict[str, Any]]:
        return list(self.payload.get("messages") or [])

    def last(self, role: str) -> str:
        found = [str(m.get("content") or "") for m in self.messages if m.get("role") == role]
        return found[-1] if found else ""


Script = Callable[[Request], Reply | str]


def in_order(replies: Sequence[Reply | str], *, order: str = "sequence") -> Script:
    """Replies one after another.

    `order` is ``sequence`` (the last one repeats), ``cycle``, or ``turn``: by the number of assistant
    messages in the request, so that any number of runs may go on at a time.
    """
    count = iter(range(sys.maxsize))

    def script(request: Request) -> Reply | str:
        if order == "turn":
            index = sum(message.get("role") == "assistant" for message in request.messages)
        else:
            index = next(count)
        return replies[index % len(replies) if order == "cycle" else min(index, len(replies) - 1)]

    return script


def by_rules(rules: Sequence[tuple[str, str, Script]]) -> Script:
    """Choose by ``(pattern of the system prompt, pattern of the last user message, script)``; first match."""
    compiled = [(re.compile(system), re.compile(user), script) for system, user, script in rules]

    def script(request: Request) -> Reply | str:
        system, user = request.last("system"), request.last("user")
        for system_pattern, user_pattern, chosen in compiled:
            if system_pattern.search(system) and user_pattern.search(user):
                return chosen(request)
        return Reply(status=400, error="no rule of the script matches this request")

    return script


def from_json(document: Any) -> Script:
    """A script from JSON: a list of replies; or ``{"order": …, "replies": […]}``; or a list of such objects
    under ``rules``, each with patterns for ``system`` and ``user``. A reply is a text, or an object of
    `Reply`'s fields.
    """
    if isinstance(document, list):
        document = {"replies": document}
    if "rules" in document:
        return by_rules([(r.get("system", ""), r.get("user", ""), from_json(r)) for r in document["rules"]])
    replies = [Reply(text=reply) if isinstance(reply, str) else Reply(**reply) for reply in document["replies"]]
    return in_order(replies, order=document.get("order", "sequence"))


class ScriptedServer:
    """The server. Use as a context manager; attributes may be read from any thread."""

    def __init__(
        self,
        script: Script | Sequence[Reply | str] = ("ok",),
        *,
        port: int = 0,
        models: Sequence[str | Mapping[str, Any]] = ("scripted",),
        routes: Mapping[str, Any] | None = None,
        keep_alive: float = 0.05,
    ) -> None:
        self.script = script if callable(script) else in_order(script)
        self.models = [{"id": m, "object": "model"} if isinstance(m, str) else dict(m) for m in models]
        self.routes = dict(routes or {})
        self.keep_alive = keep_alive
        self.requests: list[Request] = []
        self.gets: list[str] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self.connections = 0
        self.open_connections = 0
        self.port = port
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve(ready.set)), daemon=True)
        self._thread.start()
        ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the port and all connections. May be called twice."""
        if self._thread is not None and self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)
            self._thread = None

    def wait_for(self, condition: Callable[[], Any], timeout: float = 60.0) -> None:
        """Block until `condition` holds; it is looked at whenever something happens here."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise AssertionError(f"the scripted server did not see it within {timeout} s: {self.stats()}")

    def stats(self) -> dict[str, Any]:
        return {
            "requests": len(self.requests),
            "disconnected": sum(request.disconnected is not None for request in self.requests),
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "connections": self.connections,
            "open_connections": self.open_connections,
        }

    async def serve(self, ready: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        protocols: set[_Connection] = set()
        server = await self._loop.create_server(lambda: _Connection(self, protocols), "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        ready()
        await self._stop.wait()
        server.close()
        for protocol in list(protocols):
            protocol.abort()
        await server.wait_closed()
        await asyncio.sleep(0)

    def changed(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def begin(self, payload: dict[str, Any], headers: dict[str, str], arrived: float) -> Request:
        request = Request(len(self.requests) + 1, payload, headers, arrived)
        self.requests.append(request)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.changed()
        return request

    def end(self, request: Request, *, disconnected: bool) -> None:
        request.ended = request.ended or time.monotonic()
        if disconnected:
            request.disconnected = request.ended
        self.in_flight -= 1
        self.changed()


class _Connection(asyncio.Protocol):
    """One client's connection: keep-alive, one request at a time."""

    def __init__(self, server: ScriptedServer, protocols: set[_Connection]) -> None:
        self.server = server
        self.protocols = protocols
        self.buffer = b""
        self.request: Request | None = None
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.protocols.add(self)
        self.server.connections += 1
        self.server.open_connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.protocols.discard(self)
        self.server.open_connections -= 1
        if self.task:
            self.task.cancel()
        self._end(disconnected=True)
        self.server.changed()

    def abort(self) -> None:
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        arrived = time.monotonic()
        self.buffer += data
        while self.task is None:
            head, separator, rest = self.buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
            length = int(headers.get("content-length", "0"))
            if len(rest) < length:
                return
            body, self.buffer = rest[:length], rest[length:]
            method, path, _ = first.split(" ", 2)
            if method == "POST" and path.endswith("/chat/completions"):
                self._complete(json.loads(body), headers, arrived)
            else:
                self._other(method, path)

    def _other(self, method: str, path: str) -> None:
        self.server.gets.append(path)
        if path in self.server.routes:
            answer = self.server.routes[path]
            status, document = answer if isinstance(answer, tuple) else (200, answer)
            self._respond(status, document)
        elif method == "GET" and path.endswith("/models"):
            self._respond(200, {"object": "list", "data": self.server.models})
        elif path == "/stats":
            self._respond(200, self.server.stats())
        else:
            self._respond(404, {"detail": "Not Found"})

    def _complete(self, payload: dict[str, Any], headers: dict[str, str], arrived: float) -> None:
        self.request = self.server.begin(payload, headers, arrived)
        reply = self.server.script(self.request)
        reply = Reply(reply) if isinstance(reply, str) else reply
        if reply.fault == "refuse":
            self._end(disconnected=False)
            self.transport.close()
        elif reply.fault == "hang":
            self.task = asyncio.ensure_future(asyncio.sleep(3600))
        elif reply.status != 200:
            error = {"error": {"message": reply.error, "type": "error", "param": None, "code": reply.status}}
            self._respond(reply.status, error, reply.headers)
            self._end(disconnected=False)
        elif not payload.get("stream") and reply.fault is None and not reply.delay and not reply.token_delay:
            self._respond(200, _whole(payload, reply), reply.headers)
            self._end(disconnected=False)
        elif reply.fault is None and not reply.delay and not reply.token_delay:
            pieces = (_HEADERS, *map(_framed, _events(payload, reply)), _LAST)
            self.request.ended = time.monotonic()  # to write may take as long as who reads it takes
            self._write(*pieces)
            self._end(disconnected=False)
        else:
            self.task = asyncio.ensure_future(self._slowly(payload, reply))

    async def _slowly(self, payload: dict[str, Any], reply: Reply) -> None:
        if not payload.get("stream"):
            await asyncio.sleep(reply.delay + reply.token_delay * len(reply.tokens()))
            if self.request:
                self.request.chunks = len(reply.tokens())
            if reply.fault:
                self._write(_HEADERS, _LAST)  # what exo does: 200 and an empty body
            else:
                self._respond(200, _whole(payload, reply))
        else:
            self._write(_HEADERS)
            await asyncio.sleep(reply.delay)
            for event in _events(payload, reply):
                await asyncio.sleep(reply.token_delay)
                self._write(_framed(event))
                if self.request:
                    self.request.chunks += 1
            await self._misbehave(reply.fault)
        self.task = None
        self._end(disconnected=False)
        self.data_received(b"")

    async def _misbehave(self, fault: str | None) -> None:
        if fault == "stall":
            while True:
                self._write(_framed(b": keep-alive\n\n"))
                await asyncio.sleep(self.server.keep_alive)
        if fault == "silent":
            await asyncio.sleep(3600)
        if fault == "die":
            self.transport.close()
        elif fault == "reset":
            # Lingering for zero seconds makes the close a reset; let what was written go out first.
            await asyncio.sleep(0.02)
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()
        else:
            self._write(_LAST)

    def _respond(self, status: int, document: Any, headers: Mapping[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        lines = [f"HTTP/1.1 {status} X", *(f"{key}: {value}" for key, value in fields.items()), "", ""]
        self._write("\r\n".join(lines).encode(), body)

    def _write(self, *pieces: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"".join(pieces))

    def _end(self, *, disconnected: bool) -> None:
        if self.request is not None:
            self.server.end(self.request, disconnected=disconnected)
            self.request = None


_HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_LAST = b"0\r\n\r\n"
_DONE = b"data: [DONE]\n\n"
_ENDINGS = {"error-chunk": _DONE, "done-only": _DONE, "garbage": b'data: {"choices": [{"del\n\n'}


def _framed(event: bytes) -> bytes:
    # An empty chunk would be the end of the body.
    return b"%x\r\n%b\r\n" % (len(event), event) if event else b""


def _events(payload: dict[str, Any], reply: Reply) -> Iterator[bytes]:
    def chunk(delta: dict[str, Any], finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
        if reply.shape == "nulls":
            delta = {"role": None, "content": None, "tool_calls": None, "reasoning_content": None} | delta
        elif reply.shape == "parts" and "content" in delta:
            delta = {"content": [{"type": "text", "text": delta["content"]}]}
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        head = {"id": "s", "object": "chat.completion.chunk", "created": 0, "model": payload.get("model")}
        document = head | {"choices": [choice]} | ({"usage": usage} if usage else {})
        return b"data: " + json.dumps(document).encode() + b"\n\n"

    if reply.fault == "empty":
        return
    if reply.reasoning:
        yield chunk({reply.reasoning_key: reply.reasoning})
    for token in reply.tokens():
        yield chunk({"content": token})
    if reply.fault is None:
        yield chunk({}, reply.finish_reason, _usage(payload, reply) if reply.usage else None)
        yield _DONE
    elif reply.fault == "error-chunk":
        yield b"data: " + json.dumps({"error": {"message": reply.error, "code": 500}}).encode() + b"\n\n"
    yield _ENDINGS.get(reply.fault or "", b"")


def _whole(payload: dict[str, Any], reply: Reply) -> dict[str, Any]:
    content: Any = [{"type": "text", "text": reply.text}] if reply.shape == "parts" else reply.text
    if reply.shape == "nulls" and not reply.text:
        content = None
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if reply.reasoning:
        message[reply.reasoning_key] = reply.reasoning
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    whole: dict[str, Any] = {
        "id": "s",
        "object": "chat.completion",
        "created": 0,
        "model": payload.get("model"),
    }
    return whole | {"choices": [choice]} | ({"usage": _usage(payload, reply)} if reply.usage else {})


def _usage(payload: dict[str, Any], reply: Reply) -> dict[str, int]:
    prompt = sum(len(str(message.get("content"))) for message in payload.get("messages") or []) // 4
    completion = len(reply.tokens())
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", type=argparse.FileType(), help="JSON, see from_json")
    parser.add_argument("--reply", action="append", default=[], help="a reply; may be given more than once")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each reply given by --reply")
    parser.add_argument("--model", action="append", default=[], help="an id for /v1/models")
    arguments = parser.parse_args()
    script: Script | list[Reply | str] = [Reply(text, delay=arguments.delay) for text in arguments.reply or ["ok"]]
    if arguments.script:
        script = from_json(json.load(arguments.script))
    with ScriptedServer(script, port=arguments.port, models=arguments.model or ["scripted"]) as server:
        print(json.dumps({"url": server.url, "port": server.port}), flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()


if __name__ == "__main__":
    main()
