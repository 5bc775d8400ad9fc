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
from collections.abc import AsyncIterator, Mapping

import httpx

from kowalski_jupyter.models.connection import Connection, Headers, Server, head_of, server_of
from kowalski_jupyter.models.response import FarResponse, Response, fields_of


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
        written = head_of(request) + await request.aread()
        return _for_httpx(await self.exchange(server_of(request.url), written, math.inf))

    async def exchange(self, server: Server, request: bytes, deadline: float) -> NearResponse:
        """The same without httpx's objects, which take a while to make, for a request that is written, head and body.

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
        return NearResponse(self, connection, status, headers)

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


class NearResponse:
    """See `Response`. Closing it before its end closes the connection."""

    def __init__(self, transport: NearTransport, connection: Connection, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers
        self.fields: Mapping[bytes, bytes] = fields_of(headers)
        self._transport = transport
        self._connection = connection
        self._closed = False

    async def piece(self, deadline: float) -> bytes | None:
        """See `Response`, as with the next."""
        return await self._connection.piece(deadline)

    async def aclose(self) -> None:
        """Give the connection back."""
        if not self._closed:
            self._closed = True
            self._transport.release(self._connection)


def decoded(response: NearResponse) -> Response:
    """Return a response whose pieces are not compressed: servers are asked not to, and few do all the same."""
    return FarResponse(_for_httpx(response)) if b"content-encoding" in response.fields else response


def _for_httpx(response: NearResponse) -> httpx.Response:
    return httpx.Response(
        response.status,
        headers=response.headers,
        stream=_Body(response),
        extensions={"http_version": b"HTTP/1.1"},
    )


class _Body(httpx.AsyncByteStream):
    """The body of a response, for httpx."""

    def __init__(self, response: NearResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._response.piece(math.inf)) is not None:
            yield piece

    async def aclose(self) -> None:
        await self._response.aclose()
