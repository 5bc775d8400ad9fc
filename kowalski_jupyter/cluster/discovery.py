"""Finds clusters: at the addresses that the user gave, on this machine, and where nodes have been before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Final

from kowalski_jupyter.cluster.exo.addresses import DEFAULT_PORT
from kowalski_jupyter.cluster.exo.client import ExoClient, NodeSilentError, NotExoError
from kowalski_jupyter.cluster.known import KnownNodes
from kowalski_jupyter.models.base import ModelError
from kowalski_jupyter.models.urls import origin

LOCAL: Final = f"http://localhost:{DEFAULT_PORT}"

_PATIENCE: Final = 2.0
"""Seconds for a node to say its id. A machine that is off does not refuse: it is silent."""

_OTHER_SECONDS: Final = 60.0
"""How long a place is left alone where another kind of server answers."""


class Discovery:
    """The places where a cluster may be.

    Args:
        client: asks.
        known: where nodes have answered before.
        given: addresses that the user has set.
        local: where exo is on this machine, if it is.
    """

    def __init__(self, client: ExoClient, known: KnownNodes, given: Sequence[str] = (), local: str = LOCAL) -> None:
        self._client = client
        self._known = known
        self._others: dict[str, float] = {}
        self._given = [*_origins([*given, local])]

    async def find(self, covered: Collection[str]) -> AsyncGenerator[tuple[str, str], None]:
        """Ask at all places at the same time, and give node id and base URL of each that answers, as it does.

        Args:
            covered: base URLs that need not be asked: what is there is known.
        """
        places = dict.fromkeys([*self._given, *self._known.urls])
        asking = [asyncio.create_task(self.ask(url)) for url in places if url not in covered]
        try:
            for answer in asyncio.as_completed(asking):
                if (found := await answer) is not None:
                    yield found
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    def note(self, urls: Iterable[str]) -> None:
        """Note where nodes answer, for the next start."""
        self._known.note(urls)

    def knows(self, url: str) -> bool:
        """Return whether a base URL is one of the places that are asked anyway."""
        return url in self._given or url in self._known.urls

    async def ask(self, url: str) -> tuple[str, str] | None:
        """Return node id and base URL if a node answers at `url`; None if not, or if something else lately did."""
        is_plain = url.startswith("http://")  # exo speaks nothing else
        if not is_plain or self._others.get(url, 0.0) > time.monotonic():
            return None
        try:
            return (await self._client.node_id(url, _PATIENCE)).value, url
        except NotExoError:
            self._others[url] = time.monotonic() + _OTHER_SECONDS
        except NodeSilentError:
            pass
        return None


def _origins(given: Iterable[str]) -> Iterable[str]:
    """Give what the user wrote as base URLs."""
    for url in given:
        with suppress(ModelError):
            yield origin(url)
