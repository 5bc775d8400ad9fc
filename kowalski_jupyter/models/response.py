"""A server's response as `OpenAIModel` reads it, whoever has sent the request: `NearTransport` or httpx."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

import httpx


class Response(Protocol):
    """A response whose head is there and whose body may still be coming. Whoever has it closes it.

    Attributes:
        status: of HTTP.
        fields: the headers, their names in lower case.
    """

    status: int
    fields: Mapping[bytes, bytes]

    async def piece(self, deadline: float) -> bytes | None:
        """Return what has come of the body since the last piece, once there is something; None at its end.

        Raises:
            TimeoutError: there is nothing by the deadline, on the loop's clock.
            httpx.HTTPError: the connection broke, or what came is not what the headers say.
        """
        ...

    async def aclose(self) -> None:
        """Take no more of the body. What is left of it is not waited for."""
        ...


class FarResponse:
    """A response that an httpx client has got."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.fields: Mapping[bytes, bytes] = fields_of(response.headers.raw)
        self._response = response
        self._pieces = response.aiter_bytes()

    async def piece(self, deadline: float) -> bytes | None:
        """See `Response`, as with the next."""
        async with asyncio.timeout_at(deadline):
            return await anext(self._pieces, None)

    async def aclose(self) -> None:
        """Close it."""
        await self._response.aclose()


def fields_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return headers by their names in lower case; of several with one name, the last."""
    return {name.lower(): value for name, value in headers}


async def read_all(response: Response, deadline: float) -> bytes:
    """Return what is left of a body. Raises what `Response.piece` does."""
    pieces = []
    while (piece := await response.piece(deadline)) is not None:
        pieces.append(piece)
    return b"".join(pieces)
