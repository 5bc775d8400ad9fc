"""The way to a service for an event loop: starts runs, follows them, gives the word on their blocks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx

from kowalski_jupyter.rlm.events import Event
from kowalski_jupyter.service.request import RunRequest
from kowalski_jupyter.service.socket.wire import (
    Address,
    SentAnswer,
    lost,
    read_answer,
    read_batch,
    refusal,
    run_path,
    silence,
)


class AsyncServiceClient:
    """Talks to one service from one event loop. Use as an async context manager.

    Args:
        address: where the service listens.
    """

    def __init__(self, address: Address) -> None:
        self._answers: dict[str, SentAnswer] = {}
        transport = httpx.AsyncHTTPTransport(uds=address.socket, verify=False)  # no TLS: certificates are slow
        self._http = httpx.AsyncClient(transport=transport, **address.client_options())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    @asynccontextmanager
    async def run(self, request: RunRequest) -> AsyncIterator[AsyncIterator[list[Event]]]:
        """Start a run and give its events in batches, about ten a second, to the last.

        Leaving the context before the last event closes the stream, which cancels a run that is not detached.

        Raises:
            ServiceError: the request was refused, or the service went away during the run.
        """
        try:
            async with self._http.stream("POST", "/runs", json=request.to_json()) as response:
                if response.is_error:
                    await response.aread()
                    raise refusal(response)
                yield _batches(response, self._answers)
        except httpx.HTTPError as error:
            raise lost(error) from error

    async def answer(self, run_id: str) -> SentAnswer:
        """Return a run's answer."""
        return self._answers.pop(run_id, None) or read_answer(await self._request("GET", run_path(run_id, "/answer")))

    async def document(self, run_id: str) -> dict[str, Any]:
        """Return a run as it is now (docs/run-format.md)."""
        return dict((await self._request("GET", run_path(run_id))).json())

    async def steer(self, run_id: str, **word: Any) -> None:
        """Tell a run that is going on one of ``tell``, ``limits``, ``decide`` and ``judge`` (docs/run-format.md)."""
        await self._request("POST", run_path(run_id, "/steer"), json=word)

    async def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise silence(error) from error
        if response.is_error:
            raise refusal(response)
        return response


async def _batches(response: httpx.Response, answers: dict[str, SentAnswer]) -> AsyncIterator[list[Event]]:
    async for line in response.aiter_lines():
        yield read_batch(line, answers)
