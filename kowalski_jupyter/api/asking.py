"""How a question becomes a run that is followed to its end, blocking or in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any

from kowalski_jupyter.api.bundle import Document
from kowalski_jupyter.api.connected import Connected
from kowalski_jupyter.api.data import discard, make_aside, pack_all
from kowalski_jupyter.api.following import Following, OnUpdate, Step
from kowalski_jupyter.api.result import Result, RlmError
from kowalski_jupyter.api.schema import Schema, has_rules
from kowalski_jupyter.kernels.base import DataItem
from kowalski_jupyter.rlm.events import Event
from kowalski_jupyter.service.options import check_options
from kowalski_jupyter.service.request import RunRequest
from kowalski_jupyter.service.socket.asynchronous import AsyncServiceClient
from kowalski_jupyter.service.socket.client import ServiceClient
from kowalski_jupyter.service.socket.wire import SentAnswer, ServiceError

_CANCEL_SECONDS = 2.0


class Asking(Connected):
    """Starts runs with the settings of `RLM` and follows them. See `Connected`.

    Args:
        options: the settings that the service is told of, by name; None for those that are not given.
        schema: what the answer must look like.
        step: asked about each block before it runs, if it is a function.
        on_update: told of each run's document as it grows.

    Raises:
        ValueError: a setting is wrong; one line that says what is right.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        schema: Schema | None,
        step: Step | bool | None,
        on_update: OnUpdate | None,
    ) -> None:
        super().__init__()
        self._options = check_options(options)
        self._schema = schema
        self._step = step if callable(step) else None
        self._on_update = on_update

    @property
    def _followed(self) -> dict[str, Any]:
        """The options of a run that is followed from here: a model class has a word on its answer."""
        return {**self._options, "judged": True} if has_rules(self._schema) else self._options

    def _request(
        self, client: ServiceClient, question: str, context: Any, data: Mapping[str, Any], *, detach: bool = False
    ) -> RunRequest:
        if not isinstance(question, str) or not question.strip():
            raise RlmError("The question must be a text that says something.")
        values = dict(data) if context is None else {"context": context, **data}
        options = self._options if detach else self._followed
        return RunRequest(question, pack_all(values, client.info.data_root), options, detach)

    def _follow(
        self,
        client: ServiceClient,
        opened: AbstractContextManager[Iterator[list[Event]]],
        data: Sequence[DataItem],
        *,
        cancels: bool = True,
    ) -> Result:
        """Follow a run to its end; `cancels` says whether leaving early stops it, and its answer is judged here."""
        following = Following(self._on_update, self._step, self._schema if cancels else None)
        try:
            with opened as batches:
                for batch in batches:
                    following.take(batch)
                    if following.waiting is not None:
                        word = following.word()
                        with suppress(ServiceError):  # as in `_decide`
                            client.steer(following.run, **word)
            value = client.answer(following.run) if following.answered else None
        except ServiceError as error:
            discard(data)
            raise following.broken(error) from error
        except KeyboardInterrupt:
            if not following.run:
                discard(data)
            elif cancels:
                following.show(_last_document(client, following))
            raise
        return following.conclude(value, self._schema)

    async def _to_end(
        self,
        following: Following,
        question: str,
        context: Any,
        data: Mapping[str, Any],
        *,
        client: AsyncServiceClient | None = None,
        began: Callable[[str], None] = lambda _: None,
    ) -> SentAnswer | None:
        """Follow a run to its end and return its answer; `began` is told its id."""
        async with self._opened(question, context, data, following, client) as (asked, batches):
            async for batch in batches:
                if not following.run:
                    following.take(batch)
                    began(following.run)
                else:
                    following.take(batch)
                await self._decide(asked, following)
            return await asked.answer(following.run) if following.answered else None

    async def _decide(self, asked: AsyncServiceClient, following: Following) -> None:
        """Have the user's function or class decide on what waits, if there are both."""
        if following.waiting is not None:
            word = await asyncio.to_thread(following.word)
            with suppress(ServiceError):  # someone else was faster; if the service is gone, the stream says so
                await asked.steer(following.run, **word)

    @asynccontextmanager
    async def _opened(
        self,
        question: str,
        context: Any,
        data: Mapping[str, Any],
        following: Following,
        client: AsyncServiceClient | None = None,
    ) -> AsyncIterator[tuple[AsyncServiceClient, AsyncIterator[list[Event]]]]:
        """Start a run and give its events; leaving early cancels it. A `client` that is given stays open."""
        packed: Sequence[DataItem] = ()
        try:
            connected = (
                self._client if client is not None and self._client else await asyncio.to_thread(self._connected)
            )
            request = (
                await make_aside(lambda: self._request(connected, question, context, data))
                if data or context is not None
                else self._request(connected, question, context, data)
            )
            packed = request.data
            way = AsyncServiceClient(connected.address) if client is None else nullcontext(client)
            async with way as asked, asked.run(request) as batches:
                yield asked, batches
        except ServiceError as error:
            discard(packed)
            raise following.broken(error) from error
        except BaseException:
            if not following.run:
                discard(packed)
            raise


def _last_document(client: ServiceClient, following: Following) -> Document:
    """Return a run's last picture after its stream was closed."""
    try:
        return client.ended(following.run, within=_CANCEL_SECONDS)
    except ServiceError:
        return following.cut_short()
