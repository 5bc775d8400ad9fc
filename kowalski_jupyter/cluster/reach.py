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

_WEIGHT: Final = 0.3
_AT_A_TIME: Final = 32
_ENOUGH_FAILURES: Final = 2


@dataclass(slots=True)
class _Reach:
    url: str | None = None
    round_trip: float | None = None
    failures: int = 0
    next: float = 0.0


class Reaches:
    """What is known of the ways to the nodes of one cluster.

    Args:
        client: asks.
    """

    def __init__(self, client: ExoClient) -> None:
        self._client = client
        self._reaches: dict[str, _Reach] = {}
        self._gate = asyncio.Semaphore(_AT_A_TIME)

    def url(self, node: str) -> str | None:
        """Return where a node's API answers, or None."""
        reach = self._reaches.get(node)
        return reach.url if reach is not None and reach.failures < _ENOUGH_FAILURES else None

    def round_trip(self, node: str) -> float | None:
        """Return the seconds that a node takes to say its id, smoothed; None if it cannot be reached."""
        return self._reaches[node].round_trip if self.url(node) else None

    def silent(self, node: str) -> bool:
        """Tell whether a node was asked, and was silent, or is another one now."""
        reach = self._reaches.get(node)
        return reach is not None and reach.failures > 0

    @property
    def urls(self) -> list[str]:
        """All addresses where nodes answer, the fastest first."""
        able = [reach for node, reach in self._reaches.items() if self.url(node)]
        return [reach.url for reach in sorted(able, key=lambda reach: reach.round_trip or 0.0) if reach.url]

    async def check(self, devices: Iterable[Device], places: Mapping[str, str], *, urgent: Iterable[str] = ()) -> None:
        """Ask the nodes whose time it is.

        Args:
            devices: all there are; others are forgotten.
            places: by node, where one has answered before, which its own records need not tell.
            urgent: ids of those that are asked now in any case.
        """
        now, haste = time.monotonic(), set(urgent)
        devices = list(devices)
        self._reaches = {each.id: self._reaches.get(each.id) or _Reach() for each in devices}
        due = [each for each in devices if each.id in haste or self._reaches[each.id].next <= now]
        await asyncio.gather(*(self._check(each, self._reaches[each.id], places.get(each.id)) for each in due))

    async def _check(self, device: Device, reach: _Reach, place: str | None) -> None:
        places = dict.fromkeys(url for url in (reach.url, place, *device.addresses) if url)
        reach.next = time.monotonic() + _EVERY
        async with self._gate:
            for url in places:
                try:
                    answer = await self._client.node_id(url, _PATIENCE)
                except NodeSilentError:
                    continue
                if answer.value == device.id:
                    known = reach.round_trip if reach.round_trip is not None and reach.url == url else answer.seconds
                    reach.url, reach.failures = url, 0
                    reach.round_trip = known + _WEIGHT * (answer.seconds - known)
                    return
        reach.failures += 1
        reach.next = time.monotonic() + 1.0 if reach.url and reach.failures < _ENOUGH_FAILURES else reach.next
