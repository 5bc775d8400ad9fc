"""One HTTP/1.1 connection of a client's: `httptools` reads what comes, and what goes out is a few lines."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Final

import httptools
import httpx

_IDLE_SECONDS: Final = 30.0
_LARGEST_HEAD: Final = 64 << 10
_MOST_UNREAD: Final = 1 << 20
"""Bytes of a response that may wait here to be read; the rest waits with the server."""

Server = tuple[str, int]
"""Host and port."""

Headers = Sequence[tuple[bytes, bytes]]


class _Response:
    """What the parser has found of a response so far."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.begun = False
        self.whole = False
        self.keeps_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.begun = self.parser.get_status_code() >= httpx.codes.OK
        if not self.begun:  # "100 Continue" and the like: the response itself comes after it
            self.headers.clear()

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        if self.begun:
            self.whole = True
            self.keeps_alive = self.parser.should_keep_alive()

    def ends_with_connection(self) -> bool:
        """Return whether nothing else tells where the body ends."""
        return self.begun and not {b"content-length", b"transfer-encoding"} & {name.lower() for name, _ in self.headers}


class Connection(asyncio.Protocol):
    """One connection to a server, with one exchange on it at a time.

    Args:
        server: the other end.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._transport: asyncio.Transport | None = None
        self._response: _Response | None = None
        self._problem: httpx.TransportError | None = None
        self._unread = 0
        self._paused = False
        self._used = time.monotonic()
        self._arrival: asyncio.Future[None] | None = None

    # -- what comes ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`, as with the next three."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a connection over TCP has
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Have it parsed."""
        response = self._response
        if response is None or response.whole:
            self._fail(httpx.RemoteProtocolError("the server has sent more than its response"))
            return
        try:
            response.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(httpx.RemoteProtocolError(str(error) or type(error).__name__))
            return
        self._unread += len(data)
        if not response.begun and self._unread > _LARGEST_HEAD:
            self._fail(httpx.RemoteProtocolError("the head of the response is longer than any server's"))
        elif self._unread > _MOST_UNREAD and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._arrived()

    def eof_received(self) -> None:
        """End what ends so; nothing else can come."""
        response = self._response
        if response is not None and response.ends_with_connection():
            response.whole = True
        self._fail(httpx.RemoteProtocolError("the server closed the connection before its whole response had come"))

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits."""
        if error is None:
            self.eof_received()
        else:
            self._fail(httpx.ReadError(str(error)))

    def _fail(self, problem: httpx.TransportError) -> None:
        """Keep the first problem: it is told after all that came before it has been read."""
        self._problem = self._problem or problem
        self._arrived()

    def _arrived(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    # -- an exchange -----------------------------------------------------------------------------------

    async def exchange(self, request: bytes, deadline: float) -> tuple[int, Headers]:
        """Send a request; return status and headers of the response.

        Args:
            request: head and body.
            deadline: on the loop's clock, as with `piece`.

        Raises:
            httpx.TransportError: as httpx's own connections would.
            TimeoutError: the headers have not come by the deadline.
        """
        assert self._transport is not None  # noqa: S101 - connected
        response = self._response = _Response()
        # A server may have answered and closed before it has read everything: its answer still counts.
        self._transport.write(request)
        while not response.begun:
            await self._more(deadline)
        return response.parser.get_status_code(), response.headers

    async def piece(self, deadline: float) -> bytes | None:
        """Return all of the body that has come since the last piece, once there is some; None at its end.

        Raises like `exchange`. A clock is set only where there is something to wait for.
        """
        response = self._response
        assert response is not None  # noqa: S101 - there was an exchange
        while not response.pieces:
            if response.whole:
                return None
            await self._more(deadline)
        pieces, response.pieces = response.pieces, []
        self._unread = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return b"".join(pieces)

    async def _more(self, deadline: float) -> None:
        """Return when something has happened."""
        if self._problem is not None:
            raise self._problem
        loop = asyncio.get_running_loop()
        arrival = self._arrival = loop.create_future()
        clock = loop.call_at(deadline, _expire, arrival) if deadline < math.inf else None
        try:
            await arrival
        finally:
            if clock is not None:
                clock.cancel()

    def reset(self) -> bool:
        """Make ready for the next exchange; tell whether that is possible."""
        response, self._response = self._response, None
        self._unread = 0
        self._used = time.monotonic()
        if response is None:
            return False
        del response.parser  # which knows the response: nobody should have to look for such circles
        return response.whole and response.keeps_alive and self._problem is None

    def is_alive(self) -> bool:
        """Tell whether the server has, as far as can be seen, not closed this idle connection."""
        return self._problem is None and time.monotonic() - self._used < _IDLE_SECONDS

    def abort(self) -> None:
        """Close at once, so that the server stops generating."""
        if self._transport is not None:
            self._transport.abort()


def _expire(arrival: asyncio.Future[None]) -> None:
    if not arrival.done():
        arrival.set_exception(TimeoutError())


def head_of(request: httpx.Request) -> bytes:
    """Return the lines before the body.

    Raises:
        httpx.LocalProtocolError: a header would end in the middle.
    """
    fields = [b"%b: %b" % header for header in request.headers.raw]
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path), *fields, b"", b""]
    head = b"\r\n".join(lines)
    if not head.count(b"\r") == head.count(b"\n") == len(lines) - 1:
        raise httpx.LocalProtocolError("a header holds a line break: look at the API key")
    return head


def server_of(url: httpx.URL) -> Server:
    """Return where a URL without TLS leads."""
    return url.host, url.port or 80
