"""HTTP/1.1 to servers on this machine or near it, with as little between a request and its socket as possible.

httpx's own transport spends about a millisecond on a request: locks, cancel scopes and look-ups for
loops that are not in use here. To a model that answers at once that is most of a sub-call. This one
lets `h11`, which httpx uses too, do the protocol on a plain asyncio connection, and has nothing else to
do: there is no proxy, no TLS and no HTTP/2 on the way to one of the user's own devices.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Final

import h11
import httpx

_IDLE_SECONDS: Final = 30.0
_MOST_UNREAD: Final = 1 << 20
"""Bytes of a response that may wait here to be read; the rest waits with the server."""

_Server = tuple[str, int]
"""Host and port."""


class NearTransport(httpx.AsyncBaseTransport):
    """A pool of connections to any number of servers, kept open between requests. Belongs to one event loop.

    Args:
        connect: seconds to wait for a connection.
    """

    def __init__(self, connect: float) -> None:
        self._connect = connect
        self._idle: defaultdict[_Server, list[_Connection]] = defaultdict(list)
        self._open: set[_Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` and return the response once its headers are there.

        Raises:
            httpx.TransportError: as httpx's own transport would.
        """
        server = (request.url.host, request.url.port or 80)
        connection = self._reusable(server) or await self._connected(server)
        try:
            response = await connection.exchange(request)
        except BaseException:
            self._close(connection)
            raise
        return httpx.Response(
            response.status_code,
            headers=response.headers.raw_items(),
            stream=_Body(self, connection),
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def aclose(self) -> None:
        """Close all connections, used or idle."""
        for connection in list(self._open):
            self._close(connection)
        # Transports close in the loop's next turn.
        await asyncio.sleep(0)

    def release(self, connection: _Connection) -> None:
        """Take a connection back: to use it again if its response was read to the end, else to close it."""
        if connection in self._open and connection.reset():
            self._idle[connection.server].append(connection)
        else:
            self._close(connection)

    def _reusable(self, server: _Server) -> _Connection | None:
        idle = self._idle[server]
        while idle:
            connection = idle.pop()
            if connection.is_alive():
                return connection
            self._close(connection)
        return None

    async def _connected(self, server: _Server) -> _Connection:
        try:
            async with asyncio.timeout(self._connect):
                _, connection = await asyncio.get_running_loop().create_connection(
                    functools.partial(_Connection, server), *server
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        self._open.add(connection)
        return connection

    def _close(self, connection: _Connection) -> None:
        self._open.discard(connection)
        connection.abort()


class _Connection(asyncio.Protocol):
    """One connection, with one exchange on it at a time."""

    def __init__(self, server: _Server) -> None:
        self.server = server
        self._protocol = h11.Connection(h11.CLIENT)
        self._transport: asyncio.Transport | None = None
        self._used = time.monotonic()
        self._lost: Exception | None = None
        self._ended = False
        self._unread = 0
        self._arrival: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a connection over TCP has
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        self._protocol.receive_data(data)
        if self._transport is not None and self._unread > _MOST_UNREAD:
            self._transport.pause_reading()
        self._arrived()

    def eof_received(self) -> None:
        self._ended = True
        with contextlib.suppress(h11.RemoteProtocolError):
            self._protocol.receive_data(b"")
        self._arrived()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self._lost = error
        elif not self._ended:
            self.eof_received()
        self._ended = True
        self._arrived()

    async def exchange(self, request: httpx.Request) -> h11.Response:
        """Send a request; return the head of its response."""
        head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
        parts = (head, h11.Data(data=await request.aread()), h11.EndOfMessage())
        assert self._transport is not None  # noqa: S101 - connected
        # A server may have answered and closed before it has read everything: its answer still counts.
        self._transport.write(b"".join(self._protocol.send(part) or b"" for part in parts))
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.ConnectionClosed):
                raise httpx.RemoteProtocolError("the server closed the connection without a response")

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes, all that has arrived at a time."""
        pieces: list[bytes] = []
        event: h11.Event | None = await self._next_event()
        while isinstance(event, h11.Data):
            pieces.append(bytes(event.data))
            event = self._event_here()
            if event is None:
                yield b"".join(pieces)
                pieces.clear()
                event = await self._next_event()
        if pieces:
            yield b"".join(pieces)

    async def _next_event(self) -> h11.Event:
        """Return what comes next."""
        while (event := self._event_here()) is None:
            if self._lost is not None:
                raise httpx.ReadError(str(self._lost)) from self._lost
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        return event

    def _event_here(self) -> h11.Event | None:
        """Return what comes next if it has arrived."""
        try:
            event = self._protocol.next_event()
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        if isinstance(event, h11.Event):
            return event
        if event is h11.PAUSED:
            raise httpx.RemoteProtocolError("the server has sent more than its response")
        self._unread = 0
        if self._transport is not None and not self._ended:
            self._transport.resume_reading()
        return None

    def _arrived(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def reset(self) -> bool:
        """Make ready for the next exchange; tell whether that is possible."""
        if self._protocol.our_state is not h11.DONE or self._protocol.their_state is not h11.DONE:
            return False
        self._protocol.start_next_cycle()
        self._used = time.monotonic()
        return True

    def is_alive(self) -> bool:
        """Tell whether the server has, as far as can be seen, not closed this idle connection."""
        return not self._ended and time.monotonic() - self._used < _IDLE_SECONDS

    def abort(self) -> None:
        """Close at once, so that the server stops generating."""
        if self._transport is not None:
            self._transport.abort()


class _Body(httpx.AsyncByteStream):
    """The body of one response. Closing it before its end closes the connection."""

    def __init__(self, transport: NearTransport, connection: _Connection) -> None:
        self._transport = transport
        self._connection = connection
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._connection.body()

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._transport.release(self._connection)
