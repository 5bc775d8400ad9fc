"""Which nodes can be reached from here, where, and how fast they answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from kowalski_jupyter.cluster.exo.client import ExoClient, NodeSilentError
from kowalski_jupyter.cluster.exo.views import Device

_PATIENCE: Final = 1.5
"""Seconds for a node to say its id. One that takes longer is of no use for work."""

_EVERY: Final = 5.0
"""Seconds between two questions to a node that answers."""

_AGAIN: Final = 1.0
"""Seconds until one is asked again that has failed once."""

_SELDOM: Final = 60.0
"""Seconds between two questions, at most, to one that has never answered."""

_WAIT: Final = 0.15
"""Seconds that a look waits for answers. Devices that live answer within; one that is dead must not hold it up."""

_WEIGHT: Final = 0.3
_AT_A_TIME: Final = 32
_ENOUGH_FAILURES: Final = 2


@dataclass(slots=True)
class _Reach:
    url: str | None = None
    round_trip: float | None = None
    failures: int = 0
    next: float = 0.0
    asked: bool = False
    ways: tuple[str, ...] = ()


class Reaches:
    """What is known of the ways to the nodes of one cluster.

    Args:
        client: asks.
    """

    def __init__(self, client: ExoClient) -> None:
        self._client = client
        self._reaches: dict[str, _Reach] = {}
        self._gate = asyncio.Semaphore(_AT_A_TIME)
        self._checking: set[asyncio.Task[None]] = set()

    def url(self, node: str) -> str | None:
        """Return where a node's API answers, or None."""
        reach = self._reaches.get(node)
        return reach.url if reach is not None and reach.failures < _ENOUGH_FAILURES else None

    def round_trip(self, node: str) -> float | None:
        """Return the seconds that a node takes to say its id, smoothed; None if it cannot be reached."""
        return self._reaches[node].round_trip if self.url(node) else None

    def silent(self, node: str) -> bool:
        """Tell whether a node was asked, and did not answer, or is another one now."""
        reach = self._reaches.get(node)
        return reach is not None and reach.failures > 0

    @property
    def urls(self) -> list[str]:
        """All addresses where nodes answer, the fastest first."""
        able = [reach for node, reach in self._reaches.items() if self.url(node)]
        return [reach.url for reach in sorted(able, key=lambda reach: reach.round_trip or 0.0) if reach.url]

    async def check(self, devices: Iterable[Device], places: Mapping[str, str], *, urgent: Iterable[str] = ()) -> None:
        """Ask the nodes whose time it is. Those that are slow are not waited for: the next call knows of them.

        Args:
            devices: all there are; others are forgotten.
            places: by node, where one has answered before, which its own records need not tell.
            urgent: ids of those that are asked now in any case.
        """
        now, haste = time.monotonic(), set(urgent)
        devices = list(devices)
        self._reaches = {each.id: self._reaches.get(each.id) or _Reach() for each in devices}
        for each in devices:
            reach = self._reaches[each.id]
            ways = tuple(dict.fromkeys(filter(None, (reach.url, places.get(each.id), *each.addresses))))
            due = each.id in haste or reach.next <= now or ways != reach.ways
            if ways and due and not reach.asked:
                reach.ways, reach.asked = ways, True
                task = asyncio.create_task(self._check(each.id, reach))
                self._checking.add(task)
                task.add_done_callback(self._checking.discard)
        if self._checking:
            await asyncio.wait(self._checking, timeout=_WAIT)

    async def close(self) -> None:
        """Stop asking."""
        for task in self._checking:
            task.cancel()
        await asyncio.gather(*self._checking, return_exceptions=True)

    async def _check(self, node: str, reach: _Reach) -> None:
        try:
            async with self._gate:
                answer = await self._answer(node, reach.ways)
        finally:
            reach.asked = False
        if answer is None:
            reach.failures += 1
            known = reach.url is not None and reach.failures < _ENOUGH_FAILURES
            longest = _SELDOM if reach.url is None else 2 * _EVERY
            pause = _AGAIN if known else min(_EVERY * 2**reach.failures, longest)
        else:
            url, seconds = answer
            known_trip = reach.round_trip if reach.round_trip is not None and reach.url == url else seconds
            reach.url, reach.failures, pause = url, 0, _EVERY
            reach.round_trip = known_trip + _WEIGHT * (seconds - known_trip)
        reach.next = time.monotonic() + pause

    async def _answer(self, node: str, places: Iterable[str]) -> tuple[str, float] | None:
        """Return where a node says its id, and in how many seconds; None if it does so nowhere."""
        for url in places:
            try:
                answer = await self._client.node_id(url, _PATIENCE)
            except NodeSilentError:
                continue
            if answer.value == node:
                return url, answer.seconds
        return None
