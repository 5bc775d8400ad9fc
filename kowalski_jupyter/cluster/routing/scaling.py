"""Further replicas of a model on idle devices while many requests wait for it, and away with them when few do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.routing.dispatcher import Dispatcher
from kowalski_jupyter.cluster.routing.exo_end import ExoEnd
from kowalski_jupyter.models.base import ModelError

_TICK: Final = 0.5
_LONG: Final = 2
"""Waiting requests for each place above which a queue is long."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long it takes until something is done, in seconds.

    `long`: that a queue has been long before a replica is added. `empty`: that it has been empty before replicas are
    taken away. `refused`: after a refusal, until the next attempt.
    """

    long: float = 5.0
    empty: float = 60.0
    refused: float = 60.0


@dataclass(slots=True)
class _Watched:
    """One model in one cluster.

    Attributes:
        placed: ids of the replicas that were added.
        long_since: when its queue became long; None if it is not.
        empty_since: when it became empty; None if it is not.
        not_before: when the next replica may be added.
        work: what is being done about it.
    """

    placed: list[str] = field(default_factory=list)
    long_since: float | None = None
    empty_since: float | None = None
    not_before: float = 0.0
    work: asyncio.Task[None] | None = None


class Scaling:
    """Adds and removes replicas. Belongs to one event loop.

    Args:
        cluster: the user's devices.
        dispatcher: knows what waits.
        ends: gives the models in clusters.
        patience: how long it looks before it acts.
    """

    def __init__(
        self,
        cluster: Cluster,
        dispatcher: Dispatcher,
        ends: Callable[[], Iterable[ExoEnd]],
        patience: Patience = Patience(),
    ) -> None:
        self._cluster = cluster
        self._dispatcher = dispatcher
        self._ends = ends
        self._patience = patience
        self._watched: dict[str, _Watched] = {}
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            for end in self._ends():
                self._look(end, self._watched.setdefault(end.key, _Watched()))

    def _look(self, end: ExoEnd, watched: _Watched) -> None:
        now = time.monotonic()
        queued = self._dispatcher.waiting_for(end)
        slots = end.condition().slots
        long = slots > 0 and len(queued) > _LONG * slots
        watched.long_since = (watched.long_since or now) if long else None
        empty = not queued and end.in_flight == 0
        watched.empty_since = (watched.empty_since or now) if empty else None
        if watched.work is not None and not watched.work.done():
            return
        if watched.long_since and now - watched.long_since >= self._patience.long and now >= watched.not_before:
            if self._idle(end):
                tells = {waiting.tell for waiting in queued}
                watched.work = asyncio.create_task(self._add(end, watched, tells))
        elif watched.empty_since and now - watched.empty_since >= self._patience.empty and watched.placed:
            watched.work = asyncio.create_task(self._remove(watched))

    def _idle(self, end: ExoEnd) -> bool:
        """Tell whether there is a device that has no model, and may have one."""
        busy = self._busy()
        members = self._cluster.snapshot.members(end.cluster_key)
        return any(
            each.condition == "ok" and each.device.id not in busy and not each.small_work_only for each in members
        )

    def _busy(self) -> frozenset[str]:
        return frozenset(node for each in self._cluster.snapshot.instances.values() for node in each.instance.nodes)

    async def _add(self, end: ExoEnd, watched: _Watched, tells: Iterable[Callable[[str], None]]) -> None:
        for tell in tells:
            tell(f"Many requests wait for {end.name}: it is loaded on one more device.")
        watched.long_since = None
        try:
            made = await self._cluster.models.load(
                end.name, lambda *_: None, cluster=end.cluster_key, avoid=self._busy()
            )
        except ModelError:
            watched.not_before = time.monotonic() + self._patience.refused
        else:
            watched.placed.append(made.instance.id)
            self._dispatcher.wake()

    async def _remove(self, watched: _Watched) -> None:
        placed, watched.placed = watched.placed, []
        for instance in placed:
            try:
                await self._cluster.models.unload(instance)
            except ModelError:
                continue  # it is gone already, or nobody is there to be asked

    async def close(self) -> None:
        """Stop, and take away what was added, as far as that can be done at once."""
        tasks = [self._task, *(each.work for each in self._watched.values() if each.work is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(2.0):
                for watched in self._watched.values():
                    await self._remove(watched)
        except TimeoutError:
            pass
