"""HTTP/1.1 to servers on this machine or near it, with as little between a request and its socket as possible.

httpx's own transport spends about a millisecond on a request: locks, cancel scopes and look-ups for
loops that are not in use here. To a model that answers at once that is most of a sub-call. This one
lets `h11`, which httpx uses too, do the protocol on plain asyncio streams, and has nothing else to
do: there is no proxy, no TLS and no HTTP/2 on the way to one of the user's own devices.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Final

import h11
import httpx

_IDLE_SECONDS: Final = 30.0
_READ_SIZE: Final = 1 << 16

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
                reader, writer = await asyncio.open_connection(*server)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        connection = _Connection(server, reader, writer)
        self._open.add(connection)
        return connection

    def _close(self, connection: _Connection) -> None:
        self._open.discard(connection)
        connection.abort()


class _Connection:
    """One connection, with one exchange on it at a time."""

    def __init__(self, server: _Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.CLIENT)
        self._used = time.monotonic()

    async def exchange(self, request: httpx.Request) -> h11.Response:
        """Send a request; return the head of its response."""
        head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
        parts = (head, h11.Data(data=await request.aread()), h11.EndOfMessage())
        # A server may have answered and closed before it has read everything: its answer still counts.
        with contextlib.suppress(ConnectionError):
            self._writer.write(b"".join(self._protocol.send(part) or b"" for part in parts))
            await self._writer.drain()
        while True:
            event = await self.next_event()
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.ConnectionClosed):
                raise httpx.RemoteProtocolError("the server closed the connection without a response")

    async def next_event(self) -> h11.Event:
        """Return what comes next."""
        try:
            while (event := self._protocol.next_event()) is h11.NEED_DATA:
                self._protocol.receive_data(await self._reader.read(_READ_SIZE))
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        except OSError as error:
            raise httpx.ReadError(str(error)) from error
        if isinstance(event, h11.Event):
            return event
        raise httpx.RemoteProtocolError("the server has sent more than its response")

    def reset(self) -> bool:
        """Make ready for the next exchange; tell whether that is possible."""
        if self._protocol.our_state is not h11.DONE or self._protocol.their_state is not h11.DONE:
            return False
        self._protocol.start_next_cycle()
        self._used = time.monotonic()
        return True

    def is_alive(self) -> bool:
        """Tell whether the server has, as far as can be seen, not closed this idle connection."""
        return not self._reader.at_eof() and time.monotonic() - self._used < _IDLE_SECONDS

    def abort(self) -> None:
        """Close at once, so that the server stops generating."""
        self._writer.transport.abort()


class _Body(httpx.AsyncByteStream):
    """The body of one response. Closing it before its end closes the connection."""

    def __init__(self, transport: NearTransport, connection: _Connection) -> None:
        self._transport = transport
        self._connection = connection
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._connection.next_event(), h11.Data):
            yield bytes(event.data)

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._transport.release(self._connection)
