"""The requests of ours that are under way in one cluster, and what becomes of those that it has lost."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Final

from kowalski_jupyter.cluster.routing.attempt import Attempt
from kowalski_jupyter.cluster.routing.vigil import LostError, Trail, judge, tasks_of
from kowalski_jupyter.cluster.snapshot import Snapshot

_REMEMBERED: Final = 256


class UnderWay:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._open: dict[Attempt, Trail] = {}
        self._left: dict[Attempt, str] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._lists = False
        self._doubted: deque[int] = deque(maxlen=_REMEMBERED)

    def begin(self, attempt: Attempt, trail: Trail) -> None:
        """Note that a request was sent."""
        self._open[attempt] = trail

    def end(self, attempt: Attempt) -> None:
        """Note that a request has ended, well or badly."""
        self._open.pop(attempt, None)

    def by_api(self) -> Counter[str]:
        """Return how many went through each device's API."""
        return Counter(trail.url for trail in self._open.values())

    def look(self, snapshot: Snapshot, cluster: str) -> None:
        """Give up what is lost, by what is known of the cluster of that key now."""
        self._let_go(set(snapshot.instances))
        commands, seeds = tasks_of(snapshot, cluster)
        self._lists = self._lists or bool(commands)
        for attempt, trail in self._open.items():
            trail.find(attempt, commands, seeds)
        for attempt, trail in list(self._open.items()):
            # What is judged by others' progress is so judged once: whatever holds it up may do so again.
            doubted = trail.seed in self._doubted
            beside = () if doubted else [each for each, its in self._open.items() if its.instance == trail.instance]
            verdict = judge(trail, attempt, snapshot, beside=beside, lists=self._lists)
            if verdict is None:
                continue
            if verdict.beside:
                self._doubted.append(trail.seed)
            if verdict.leave:
                self._left[attempt] = trail.instance
            attempt.give_up(LostError(verdict.reason), leave=verdict.leave)

    def _let_go(self, known: set[str]) -> None:
        """Close the connections that were left open at replicas that are gone."""
        for attempt, instance in list(self._left.items()):
            if instance not in known:
                del self._left[attempt]
                task = asyncio.create_task(attempt.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End all of them."""
        await asyncio.gather(*(attempt.close() for attempt in [*self._open, *self._left]), *self._closing)
        self._left.clear()
