"""The HTTP server of a simulated node, whose bytes are those of hypercorn, which serves exo."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Protocol, cast

import httptools

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read to its end. `content_type` is lower case; `target` is as it was sent."""

    method: str
    target: str
    content_type: str
    body: bytes


class Exchange(Protocol):
    """What answers one request. After `end` or `abort` nothing more is done.

    `on_gone` is called if the client goes away before the answer's end.
    """

    on_gone: Callable[[], None] | None

    def start(self, status: int, headers: Headers) -> None:
        """Send the head; without a `content-length` among the headers the body goes out in chunks."""

    def data(self, *pieces: bytes) -> None:
        """Send pieces of the body, each in a chunk of its own."""

    def end(self) -> None:
        """End the body properly."""

    def abort(self) -> None:
        """Close the connection where it stands."""


class Server:
    """Listens on one socket. `handle` gets each request, and the exchange to answer it with."""

    def __init__(self, handle: Callable[[Request, Exchange], None]) -> None:
        self.handle = handle
        self.held = False
        self.connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._address: tuple[str, int] | None = None

    async def listen(self, listening: socket.socket) -> None:
        """Serve on a bound socket."""
        self._address = listening.getsockname()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), sock=listening, backlog=1024
        )

    async def relisten(self) -> None:
        """Take connections again after `refuse`."""
        if self._server is None and self._address is not None:
            await self.listen(bound(*self._address))

    def refuse(self) -> None:
        """Take no more connections; those there are stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def hold(self, *, on: bool) -> None:
        """Let no byte out and none in, as if the cable were pulled; or let everything held go."""
        self.held = on
        for connection in list(self.connections):
            connection.hold(on=on)

    def close(self) -> None:
        """Stop listening and drop all connections."""
        self.refuse()
        for connection in list(self.connections):
            connection.abort()


class Connection(asyncio.Protocol):
    """One client, with one request after another; it is the exchange of the one at hand."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._kept: list[bytes] = []
        self._close_when_let_go = False
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._target, self._kind, self._body = b"", "", bytearray()
        self._coming: deque[tuple[Request, bool]] = deque()
        self._request: Request | None = None
        self._keeps = False
        self._chunked = False
        self.on_gone: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the server's connections."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.connections.add(self)
        if self._server.held:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (why does not matter)
        """Tell whoever answers that nobody listens."""
        self._transport = self._parser = None
        self._server.connections.discard(self)
        gone, self.on_gone = self.on_gone, None
        if gone is not None:
            gone()

    def data_received(self, data: bytes) -> None:
        """Read on."""
        try:
            if self._parser is not None:
                self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.abort()
        self._next()

    def eof_received(self) -> bool:
        """Count a client that closes its side as gone, as hypercorn does."""
        return False

    def on_message_begin(self) -> None:
        """Begin to take in a request: the parser calls this and the next four."""
        self._target, self._kind, self._body = b"", "", bytearray()

    def on_url(self, piece: bytes) -> None:
        """Take a piece of its target."""
        self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take the one header that matters."""
        if name.lower() == b"content-type":
            self._kind = value.decode("latin-1").lower()

    def on_body(self, piece: bytes) -> None:
        """Take a piece of its body."""
        self._body += piece

    def on_message_complete(self) -> None:
        """Put it behind those that are not answered yet."""
        parser = self._parser
        if parser is not None:
            method, target = parser.get_method().decode(), self._target.decode("latin-1")
            keeps = parser.should_keep_alive() and parser.get_http_version() == "1.1"
            self._coming.append((Request(method, target, self._kind, bytes(self._body)), keeps))

    def _next(self) -> None:
        if self._request is None and self._coming:
            self._request, self._keeps = self._coming.popleft()
            self._server.handle(self._request, self)

    def start(self, status: int, headers: Headers) -> None:
        """See `Exchange`."""
        lines = [f"HTTP/1.1 {status} ", *(f"{name}: {value}" for name, value in headers)]
        self._chunked = all(name != "content-length" for name, _ in headers)
        if self._chunked:
            lines.append("Transfer-Encoding: chunked")
        if not self._keeps:
            lines.append("Connection: close")
        self._put("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def data(self, *pieces: bytes) -> None:
        """See `Exchange`."""
        if self._request is None or self._request.method == "HEAD":
            return
        if self._chunked:
            self._put(b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces))
        else:
            self._put(b"".join(pieces))

    def end(self) -> None:
        """See `Exchange`."""
        if self._transport is None:
            return
        self.on_gone = None
        if self._chunked and self._request is not None and self._request.method != "HEAD":
            self._put(b"0\r\n\r\n")
        self._request = None
        if self._keeps:
            self._next()
        else:
            self._close()

    def abort(self) -> None:
        """See `Exchange`."""
        self.on_gone = None
        self._coming.clear()
        self._close()

    def hold(self, *, on: bool) -> None:
        """Stop all bytes, or send what has gathered."""
        if self._transport is None:
            return
        if on:
            self._transport.pause_reading()
            return
        self._transport.resume_reading()
        self._transport.write(b"".join(self._kept))
        self._kept.clear()
        if self._close_when_let_go:
            self._transport.close()

    def _put(self, sent: bytes) -> None:
        if self._server.held:
            self._kept.append(sent)
        elif self._transport is not None:
            self._transport.write(sent)

    def _close(self) -> None:
        if self._server.held:
            self._close_when_let_go = True
        elif self._transport is not None:
            self._transport.close()


def bound(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address, ready to listen on."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    return listening


def send_json(exchange: Exchange, encoded: bytes, status: int = 200, extra: Headers = ()) -> None:
    """Answer with a whole JSON document, as exo does."""
    headers = [("content-length", str(len(encoded))), ("content-type", "application/json"), ("vary", "Origin")]
    _whole(exchange, status, [*extra, *headers], encoded)


def send_crash(exchange: Exchange) -> None:
    """Answer as exo does after an exception that nothing caught."""
    body = b"Internal Server Error"
    headers = [("content-length", str(len(body))), ("content-type", "text/plain; charset=utf-8")]
    _whole(exchange, 500, headers, body)


def start_chunked(exchange: Exchange, *headers: tuple[str, str]) -> None:
    """Begin an answer whose length nobody knows yet."""
    exchange.start(200, [*headers, ("vary", "Origin"), *_signature()])


def _whole(exchange: Exchange, status: int, headers: Headers, body: bytes) -> None:
    exchange.start(status, [*headers, *_signature()])
    exchange.data(body)
    exchange.end()


def _signature() -> list[tuple[str, str]]:
    return [("date", formatdate(usegmt=True)), ("server", "hypercorn-h11")]
