"""The user's devices, under watch: found, asked, and shown as a `Snapshot` that is always there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Final

import httpx

from kowalski_jupyter.cluster.alerts import AlertBook
from kowalski_jupyter.cluster.discovery import LOCAL, Discovery
from kowalski_jupyter.cluster.exo.client import ExoClient
from kowalski_jupyter.cluster.exo.views import Device
from kowalski_jupyter.cluster.health import take_snapshot
from kowalski_jupyter.cluster.history import History
from kowalski_jupyter.cluster.known import KnownNodes
from kowalski_jupyter.cluster.models import ClusterModels
from kowalski_jupyter.cluster.snapshot import DeviceHealth, Snapshot
from kowalski_jupyter.cluster.traffic import Traffic
from kowalski_jupyter.cluster.watch import Watch

_log = logging.getLogger(__name__)

FAST: Final = 1.0
"""Seconds between two looks while somebody looks or a run goes on."""

SLOW: Final = 15.0
"""Seconds between two looks otherwise."""

_SEARCH: Final = 3.0
"""Seconds between two searches for clusters that are not known yet, while somebody looks."""


_FIRST_SEARCH: Final = 0.45
"""Seconds that somebody who asks waits for the first cluster to be found and looked at."""

_FIRST_WAYS: Final = 0.1
"""Seconds more for the ways to its other nodes, of which there may be many."""


class Cluster:
    """All clusters of the user's. Belongs to one event loop; begins to watch when it is first asked for something.

    Args:
        known: file of the addresses where nodes have been.
        addresses: base URLs that the user has set.
        local: where exo is on this machine, if it is.

    Attributes:
        snapshot: all that is known. Replaced, never changed.
        traffic: whoever sends requests to a cluster says so here.
        exo: asks nodes.
        models: what is loaded on them, and gets models loaded.
    """

    def __init__(self, known: Path, addresses: Sequence[str] = (), *, local: str = LOCAL) -> None:
        self.snapshot = Snapshot()
        self.traffic = Traffic()
        self.exo = ExoClient()
        self.models = ClusterModels(self)
        self.alerts = AlertBook()
        self._discovery = Discovery(self.exo, KnownNodes(known), addresses, local)
        self._watches: list[Watch] = []
        self._histories: dict[str, History] = {}
        self._watchers: set[Callable[[], None]] = set()
        self._lookers = 0
        self._wanted = asyncio.Event()
        self._found = asyncio.Event()
        self._reached = asyncio.Event()
        self._searched = asyncio.Event()
        self._looking = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def client(self) -> httpx.AsyncClient:
        """The HTTP client that reaches all nodes over one pool of connections. It has no read timeout."""
        return self.exo.http

    # -- watching --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch, if that has not begun."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._search()), asyncio.create_task(self._keep_looking())]

    async def close(self) -> None:
        """Stop watching and close all connections."""
        await self.models.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for watch in self._watches:
            await watch.close()
        await self.exo.aclose()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Have the clusters watched closely for as long as the context lasts."""
        self.start()
        self._lookers += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._lookers -= 1

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Have `watcher` called after every look, until the function that this returns is called."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    async def look(self) -> Snapshot:
        """Look now, and return what is there. Where no cluster is known, the first search gets half a second."""
        self.start()
        if self._watches:
            await self._look(fresh=True)
        else:
            await self._first_search()
        return self.snapshot

    async def at(self, url: str) -> str | None:
        """Return the key of the cluster that a node at this base URL is of; None if no exo answers there.

        One that no search has found yet is watched from now on, for those who name its address: the URL may stand in a
        stranger's notebook.
        """
        self.start()
        known = next((watch for watch in self._watches if url in watch.reachable), None)
        if known is not None:
            return known.key
        answer = await self._discovery.ask(url)
        if answer is None:
            return None
        node, _ = answer
        if not any(watch.has(node) for watch in self._watches):
            await self._add(Watch(self.exo, *answer, only_named=not self._discovery.knows(url)))
        return next((watch.key for watch in self._watches if watch.has(node)), None)

    def trend(self, health: DeviceHealth, field: str, seconds: float) -> list[float | None]:
        """Return the history of a device (`History.trend`)."""
        history = self._histories.get(_history_key(health.device))
        return [] if history is None else history.trend(field, time.time(), seconds)

    async def _first_search(self) -> None:
        """Wait for what a search finds first, or for its end, but not long: a machine that is off does not refuse."""
        waits = [asyncio.create_task(event.wait()) for event in (self._found, self._searched)]
        try:
            await asyncio.wait(waits, timeout=_FIRST_SEARCH, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._found.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_WAYS):
                    await self._reached.wait()

    async def _search(self) -> None:
        """Search for clusters, for ever."""
        while True:
            await self._search_once()
            self._searched.set()
            await self._pause(_SEARCH)

    async def _search_once(self) -> None:
        covered = {url for watch in self._watches if not watch.only_named for url in watch.reachable}
        async with aclosing(self._discovery.find(covered)) as answers:
            async for node, url in answers:
                if not any(watch.has(node) for watch in self._watches):
                    await self._add(Watch(self.exo, node, url))
                for watch in self._watches:
                    watch.only_named = watch.only_named and not watch.has(node)

    async def _add(self, watch: Watch) -> None:
        """Take in a cluster that was found; one with nodes that are known already was found twice."""
        try:
            async with self._looking:
                await watch.look()
                there = {node for known in self._watches for node in known.state.devices}
                if watch.url is not None and not there & watch.state.devices.keys():
                    self._watches.append(watch)
                    self._publish()
                    self._found.set()
        finally:
            if watch not in self._watches:
                await watch.close()
        # The first look was for what can be shown at once.
        await self._look()
        self._reached.set()

    async def _keep_looking(self) -> None:
        while True:
            begun = time.monotonic()
            await self._look()
            await self._pause(FAST - (time.monotonic() - begun))

    async def _pause(self, seconds: float) -> None:
        """Wait for so long if somebody looks, else until somebody does or the slow rhythm's time has come."""
        if not self._lookers:
            self._wanted.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SLOW):
                    await self._wanted.wait()
            return
        await asyncio.sleep(max(0.0, seconds))

    async def _look(self, *, fresh: bool = False) -> None:
        async with self._looking:
            try:
                await asyncio.gather(*(watch.look(fresh=fresh) for watch in self._watches))
            except Exception:  # noqa: BLE001 (logged)
                # Whatever a device says, the watch goes on.
                _log.exception("A look at the cluster failed by a fault of ours")
            await self._tidy()
            self._publish()

    async def _tidy(self) -> None:
        """Drop clusters that are gone, and what was two and is one now: two halves have found each other again."""
        kept: list[Watch] = []
        for watch in self._watches:
            there = {node for each in kept for node in each.state.devices}
            if watch.over or there & watch.state.devices.keys():
                await watch.close()
            else:
                kept.append(watch)
        self._watches = kept

    def _publish(self) -> None:
        self.snapshot = take_snapshot(self._watches, self.traffic, self.alerts)
        for watch in self._watches:
            watch.returned, watch.new_master = [], False
        self._record()
        self._discovery.note(url for watch in self._watches if not watch.only_named for url in watch.reachable)
        for watcher in list(self._watchers):
            watcher()

    def _record(self) -> None:
        """Add to the histories; those of devices that are gone for long go too."""
        there = {_history_key(health.device): health for health in self.snapshot.devices.values()}
        self._histories = {key: self._histories.get(key) or History() for key in there}
        for key, health in there.items():
            if health.condition != "lost":
                self._histories[key].add(self.snapshot.time, **_figures(health, self.snapshot))


def _history_key(device: Device) -> str:
    """Return what a device's history is kept under: its name, since its id is another after each start of exo."""
    return f"{device.name} {device.model}" if device.name else device.id


def _figures(health: DeviceHealth, snapshot: Snapshot) -> dict[str, float | None]:
    device = health.device
    total, free = device.memory_total, device.memory_available
    on_it = [each for each in snapshot.instances.values() if device.id in each.instance.nodes]
    return {
        "memory": None if not total or free is None else 1 - free / total,
        "load": health.load,
        "temperature": device.temperature,
        "power": device.power,
        "round_trip": health.round_trip,
        "in_flight": float(sum(each.in_flight for each in on_it)),
    }
