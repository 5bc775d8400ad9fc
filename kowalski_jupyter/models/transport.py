"""HTTP/1.1 to servers on this machine or near it, with as little between a request and its socket as possible.

httpx's own transport spends about a millisecond on a request: locks, cancel scopes and look-ups for
loops that are not in use here. To a model that answers at once that is most of a sub-call. This one
has plain asyncio connections (connection.py), and nothing else to do: there is no proxy, no TLS and
no HTTP/2 on the way to one of the user's own devices.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections import defaultdict
from collections.abc import AsyncIterator

import httpx

from kowalski_jupyter.models.connection import Connection, Server, head_of, server_of


class NearTransport(httpx.AsyncBaseTransport):
    """A pool of connections to any number of servers, kept open between requests. Belongs to one event loop.

    Args:
        connect: seconds to wait for a connection.
    """

    def __init__(self, connect: float) -> None:
        self._connect = connect
        self._idle: defaultdict[Server, list[Connection]] = defaultdict(list)
        self._open: set[Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` and return the response once its headers are there.

        Raises:
            httpx.TransportError: as httpx's own transport would.
        """
        return await self.exchange(server_of(request.url), head_of(request) + await request.aread(), math.inf)

    async def exchange(self, server: Server, request: bytes, deadline: float) -> httpx.Response:
        """The same for a request that is written already, head and body: an `httpx.Request` takes a while to make.

        Raises:
            httpx.TransportError: as above.
            TimeoutError: the headers have not come when the loop's clock shows `deadline`.
        """
        connection = self._reusable(server) or await self._connected(server)
        try:
            status, headers = await connection.exchange(request, deadline)
        except BaseException:
            self._close(connection)
            raise
        return httpx.Response(
            status,
            headers=headers,
            stream=NearBody(self, connection),
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def aclose(self) -> None:
        """Close all connections, used or idle."""
        for connection in list(self._open):
            self._close(connection)
        # Transports close in the loop's next turn.
        await asyncio.sleep(0)

    def release(self, connection: Connection) -> None:
        """Take a connection back: to use it again if its response was read to the end, else to close it."""
        if connection in self._open and connection.reset():
            self._idle[connection.server].append(connection)
        else:
            self._close(connection)

    def _reusable(self, server: Server) -> Connection | None:
        idle = self._idle[server]
        while idle:
            connection = idle.pop()
            if connection.is_alive():
                return connection
            self._close(connection)
        return None

    async def _connected(self, server: Server) -> Connection:
        try:
            async with asyncio.timeout(self._connect):
                _, connection = await asyncio.get_running_loop().create_connection(
                    functools.partial(Connection, server), *server
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        self._open.add(connection)
        return connection

    def _close(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.abort()


class NearBody(httpx.AsyncByteStream):
    """The body of one response. Closing it before its end closes the connection."""

    def __init__(self, transport: NearTransport, connection: Connection) -> None:
        self._transport = transport
        self._connection = connection
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._connection.piece(math.inf)) is not None:
            yield piece

    async def piece(self, deadline: float) -> bytes | None:
        """Return the next piece as it comes, or None at the end; see `Connection.piece`."""
        return await self._connection.piece(deadline)

    async def aclose(self) -> None:
        """See the class."""
        if not self._closed:
            self._closed = True
            self._transport.release(self._connection)
