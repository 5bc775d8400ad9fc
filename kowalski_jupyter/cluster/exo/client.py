"""Asks exo's HTTP API. One client, and one pool of connections, for all nodes of all clusters."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx

from kowalski_jupyter.models.base import ModelError, ModelRefusedError, ModelUnreachableError
from kowalski_jupyter.models.client import open_near_client
from kowalski_jupyter.models.sse import error_text
from kowalski_jupyter.models.urls import where_is

CONNECT_SECONDS: Final = 3.0
PATIENCE: Final = 3.0
"""Seconds for an answer about the state, which exo gives from memory."""

COMMAND_PATIENCE: Final = 15.0
"""Seconds for a command: during an election, which takes 3 s and may be followed by another, exo holds them back."""

_MOST_BYTES: Final = 64 << 20
"""Of an answer. A device of a stranger's must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the state.

    Attributes:
        value: decoded JSON.
        size: bytes that it took.
        seconds: that it took to come.
    """

    value: Any
    size: int
    seconds: float


class NoSuchPartError(Exception):
    """This exo has no such path: it is older, or the part is empty."""


class NodeSilentError(Exception):
    """The node does not answer, or not with anything that is of use."""


class NotExoError(NodeSilentError):
    """Something answers there, and it is not exo."""


class ExoClient:
    """Questions and commands to nodes, each named by its base URL. Belongs to one event loop.

    Attributes:
        http: the client, for requests of other kinds to the same nodes. It has no read timeout.
        received: bytes of the answers so far.
    """

    def __init__(self) -> None:
        self.http = open_near_client(connect=CONNECT_SECONDS)
        self.received = 0

    async def aclose(self) -> None:
        """Close all connections."""
        await self.http.aclose()

    async def node_id(self, url: str, patience: float = PATIENCE) -> Part:
        """Return the id of the node at `url`, and how long it took to say it.

        Raises:
            NodeSilentError: nothing answers there.
            NotExoError: something else does.
        """
        try:
            part = await self._get(f"{url}/node_id", patience)
        except NoSuchPartError:
            raise NotExoError(f"{url} is not exo.") from None
        if not isinstance(part.value, str) or not 0 < len(part.value) <= 64 or not part.value.isalnum():  # noqa: PLR2004
            raise NotExoError(f"{url} is not exo.")
        return part

    async def first_to_answer(self, urls: Iterable[str], patience: float) -> str | None:
        """Return the first of some base URLs where exo answers, all being asked at once; None if none does in time."""
        asking = {asyncio.create_task(self.node_id(url, patience)): url for url in urls}
        try:
            waiting = set(asking)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if task.exception() is None:
                        return asking[task]
            return None
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def state(self, url: str, part: str = "", patience: float = PATIENCE) -> Part:
        """Return a part of the state, or all of it.

        Raises:
            NoSuchPartError: there is none of that name, or, before 1.0.70, no parts at all.
            NodeSilentError: no good answer.
        """
        return await self._get(f"{url}/state/{part}" if part else f"{url}/state", patience)

    async def models(self, url: str, *, downloaded: bool = False) -> list[dict[str, Any]]:
        """Return the catalogue, or what some node has whole on its disk, as ``/v1/models`` lists it."""
        path = f"{url}/v1/models?status=downloaded" if downloaded else f"{url}/v1/models"
        answer = await self._asked(path, url)
        entries = answer.get("data") if isinstance(answer, dict) else None
        return [
            each
            for each in (entries if isinstance(entries, list) else [])
            if isinstance(each, dict) and isinstance(each.get("id"), str)
        ]

    async def previews(self, url: str, model: str) -> list[dict[str, Any]]:
        """Return the ways to place a model, each with an instance or the reason why it cannot be.

        Raises:
            ModelRefusedError: exo does not know the model.
            ModelUnreachableError: the node does not answer.
        """
        answer = await self._asked(f"{url}/instance/previews?model_id={quote(model, safe='')}", url, COMMAND_PATIENCE)
        found = answer.get("previews") if isinstance(answer, dict) else None
        return [each for each in (found if isinstance(found, list) else []) if isinstance(each, dict)]

    async def create(self, url: str, instance: Mapping[str, Any]) -> None:
        """Place an instance as a preview gave it. That exo takes the command proves nothing. Raises like `previews`."""
        await self._told("POST", f"{url}/instance", url, {"instance": instance})

    async def delete(self, url: str, instance: str) -> None:
        """Remove an instance. Raises like `previews`; one that is gone already is no error."""
        try:
            await self._told("DELETE", f"{url}/instance/{quote(instance, safe='')}", url)
        except NoSuchPartError:
            return

    async def _get(self, url: str, patience: float) -> Part:
        begun = time.perf_counter()
        status, body = await self._exchange("GET", url, patience)
        if status in {404, 405}:
            raise NoSuchPartError(url)
        if status != httpx.codes.OK:
            raise NodeSilentError(f"{url} answers {status}.")
        try:
            return Part(json.loads(body), len(body), time.perf_counter() - begun)
        except (ValueError, RecursionError):
            raise NodeSilentError(f"{url} answers with something that is not JSON.") from None

    async def _exchange(self, method: str, url: str, patience: float, content: Any = None) -> tuple[int, bytes]:
        try:
            async with (
                asyncio.timeout(patience),
                self.http.stream(method, url, **({} if content is None else {"json": content})) as response,
            ):
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > _MOST_BYTES:
                        raise NodeSilentError(f"{url} answers with more than {_MOST_BYTES >> 20} MiB.")
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise NodeSilentError(f"{url} does not answer ({type(error).__name__}).") from error
        self.received += len(body)
        return response.status_code, bytes(body)

    async def _asked(self, path: str, url: str, patience: float = PATIENCE) -> Any:
        """Return the answer to a question that the user has asked; errors are in words for them."""
        return await self._told("GET", path, url, patience=patience)

    async def _told(
        self, method: str, path: str, url: str, content: Any = None, patience: float = COMMAND_PATIENCE
    ) -> Any:
        try:
            status, body = await self._exchange(method, path, patience, content)
        except NodeSilentError as error:
            raise ModelUnreachableError(
                f"{where_is(url, 'exo')} does not answer. Is it still running there?"
            ) from error
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if status == httpx.codes.OK and answer is not None:
            return answer
        if status in {404, 405} and method != "GET":
            raise NoSuchPartError(path)
        raise _refused(url, status, answer)


def _refused(url: str, status: int, answer: object) -> ModelError:
    said = error_text(answer) if answer is not None else ""
    return ModelRefusedError(f"{where_is(url, 'exo')} refuses ({status}{': ' + said[:300] if said else ''}).")
