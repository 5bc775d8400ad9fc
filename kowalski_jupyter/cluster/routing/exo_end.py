"""A model in an exo cluster: as many replicas as there are, behind whichever device's API answers.

A client cannot choose the replica: exo's master sends a request to the one with the fewest, by a count that is a moment
old. So no more are sent at once than would be well if they all went to the same one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.health import device_name
from kowalski_jupyter.cluster.routing.attempt import Attempt
from kowalski_jupyter.cluster.routing.breaker import Breaker
from kowalski_jupyter.cluster.routing.end import Condition, End
from kowalski_jupyter.cluster.routing.score import Wanted
from kowalski_jupyter.cluster.routing.vigil import LostError, Trail, judge, tasks_of
from kowalski_jupyter.cluster.snapshot import DeviceHealth, Snapshot
from kowalski_jupyter.models.base import (
    Delta,
    Message,
    ModelCutOffError,
    ModelError,
    ModelStalledError,
    ModelUnreachableError,
    Report,
    Sampling,
)
from kowalski_jupyter.models.exo import EXO_WIDTH
from kowalski_jupyter.models.openai import AT_ONCE, OpenAIModel

COUNTS: Final = 0.1
"""Seconds that exo's master may take to count a request that it was given."""

_SHORT: Final = 4 * COUNTS
"""Seconds of a reply below which replicas are kept busy by a reserve in their queues, and not by sending slowly."""

_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a look at the cluster means for one model there.

    Attributes:
        snapshot: the look.
        condition: of the model, as far as the look tells.
        places: the APIs where it can be asked, best first.
        where: the devices that have it, in words.
    """

    snapshot: Snapshot
    condition: Condition
    places: Sequence[tuple[str, DeviceHealth | None]]
    where: str


def _see(snapshot: Snapshot, key: str, model: str) -> _Seen:
    there = [each for each in snapshot.of_model(model, ready=False) if each.cluster == key]
    ready = [each for each in there if each.ready]
    health = snapshot.clusters.get(key)
    if health is None or health.url is None:
        return _Seen(snapshot, Condition(0, why="no device of the exo cluster answers"), (), "exo")
    if not ready:
        problem = there[0].problem if there else "it is not loaded"
        return _Seen(snapshot, Condition(0, why=f"{model} on exo: {problem}"), (), "exo")
    members = [each for each in snapshot.members(key) if each.url and each.condition in {"ok", "stale"}]
    members.sort(key=lambda each: (each.condition != "ok", each.round_trip or 1.0))
    places: list[tuple[str, DeviceHealth | None]] = [(each.url, each) for each in members if each.url]
    devices = snapshot.devices
    nodes = [devices[node] for node in dict.fromkeys(node for each in ready for node in each.instance.nodes)]
    names = [device_name(each.device) for each in nodes]
    shown = names if len(names) <= _NAMED else [*names[: _NAMED - 1], f"{len(names) - _NAMED + 1} more"]
    condition = Condition(
        EXO_WIDTH * len(ready),
        sum(each.others for each in ready),
        round_trip=members[0].round_trip if members else None,
        staleness=max(0.0, min((each.staleness or 0.0 for each in nodes), default=0.0) - 1.0),
        small_only=all(any(devices[node].small_work_only for node in each.instance.nodes) for each in ready),
    )
    return _Seen(snapshot, condition, places or [(health.url, None)], f"exo on {', '.join(shown)}")


class ExoEnd(End):
    """One model in one cluster.

    Args:
        cluster: under watch.
        key: of the cluster.
        model: its id.
        context_tokens: the window, if known.

    Attributes:
        cluster_key: the same as `key`.
    """

    def __init__(self, cluster: Cluster, key: str, model: str, context_tokens: int | None) -> None:
        super().__init__(f"{key} {model}", model, context_tokens, EXO_WIDTH)
        self._cluster = cluster
        self.cluster_key = key
        self._servers: dict[str, OpenAIModel] = {}
        self._apis: dict[str, Breaker] = {}
        self._open: dict[Attempt, tuple[Trail, str]] = {}
        self._left: dict[Attempt, str] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._lists = False
        self._sends: deque[float] = deque(maxlen=256)
        self._last: _Seen | None = None
        self._unwatch = cluster.watch(self._look)

    @property
    def where(self) -> str:
        """See `End.where`."""
        return self._seen().where

    @property
    def gone(self) -> bool:
        """See `End.gone`."""
        health = self._cluster.snapshot.clusters.get(self.cluster_key)
        return health is None or health.url is None

    # -- its condition -----------------------------------------------------------------------------------

    def condition(self) -> Condition:
        """See `End.condition`."""
        seen = self._seen()
        if not seen.condition.slots:
            return seen.condition
        if not any(self._breaker(url).allows for url, _ in seen.places):
            return Condition(0, why="no device of the exo cluster takes requests")
        if not self.breaker.allows:
            return Condition(0, why=f"{self.name} on exo has failed again and again")
        self.width.set_most(seen.condition.slots)
        return seen.condition

    def _seen(self) -> _Seen:
        """Return what the last look at the cluster means for it."""
        snapshot = self._cluster.snapshot
        if self._last is None or self._last.snapshot is not snapshot:
            self._last = _see(snapshot, self.cluster_key, self.name)
        return self._last

    def room(self, condition: Condition) -> int:
        """See `End.room`. Short replies have a reserve; and where others fill the cluster, we still queue a little."""
        replicas = max(1, condition.slots // EXO_WIDTH)
        limit = min(self.width.limit, condition.slots)
        return max(replicas, limit + self._reserve(limit, replicas) - condition.others)

    def _reserve(self, limit: int, replicas: int) -> int:
        """Return as many requests as are done while the master counts those that it was just given."""
        seconds = self.seconds("subcall")
        if replicas == 1 or seconds is None or seconds > _SHORT:
            return 0
        return min(limit, math.ceil(limit * COUNTS / max(seconds, COUNTS / 10)))

    @property
    def replicas(self) -> int:
        """See `End.replicas`."""
        return self._seen().condition.slots // EXO_WIDTH

    def pause(self) -> float:
        """See `End.pause`."""
        replicas = self.replicas
        seconds = self.seconds("subcall")
        if replicas < 2 or (seconds is not None and seconds <= _SHORT):  # noqa: PLR2004
            return 0.0
        free = (EXO_WIDTH * replicas - self.in_flight) // replicas
        done = math.ceil(EXO_WIDTH * replicas * COUNTS / seconds) if seconds else 1
        most = max(1, free, done)
        now = time.monotonic()
        if len(self._sends) < most or now - self._sends[-most] >= COUNTS:
            return 0.0
        return self._sends[-most] + COUNTS - now

    def took(self, wanted: Wanted) -> None:
        """See `End.took`."""
        super().took(wanted)
        self._sends.append(time.monotonic())

    def _api(self) -> tuple[str, DeviceHealth | None] | None:
        """Return where the next request goes: to the API that has the fewest of ours, the nearest of those."""
        able = [place for place in self._seen().places if self._breaker(place[0]).allows]
        counts = Counter(url for _, url in self._open.values())
        return min(able, key=lambda place: counts[place[0]], default=None)

    def _breaker(self, url: str) -> Breaker:
        return self._apis.setdefault(url, Breaker())

    # -- requests ----------------------------------------------------------------------------------------

    def send(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        news: asyncio.Event,
        over: Callable[[Attempt], None],
    ) -> Attempt:
        """See `End.send`."""
        api = self._api()
        if api is None:
            return Attempt(_nowhere(), news, over)
        url, device = api
        health = self._cluster.snapshot.clusters[self.cluster_key]
        trail = Trail(self.cluster_key, self.name, device.device.id if device else None, health.session, sampling.seed)
        breaker = self._breaker(url)
        breaker.sent()

        def ended(attempt: Attempt) -> None:
            self._open.pop(attempt, None)
            error = attempt.error
            if error is None:
                breaker.succeeded()
            elif isinstance(error, ModelUnreachableError | ModelStalledError | ModelCutOffError):
                breaker.failed(surely=isinstance(error, ModelUnreachableError))
                error.reason = error.reason or _reason(error, device)
            else:
                breaker.left()
            over(attempt)

        attempt = Attempt(self._stream(url, messages, sampling), news, ended)
        self._open[attempt] = (trail, url)
        return attempt

    async def _stream(self, url: str, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        server = self._servers.get(url)
        if server is None:
            server = OpenAIModel(url, self.name, kind="exo", context_tokens=self.context_tokens)
            server.pauses = AT_ONCE
            self._servers[url] = server
        request = self._cluster.traffic.begin(self.cluster_key, self.name, sampling.seed)
        first, tokens = 0.0, 0
        try:
            async with aclosing(server.stream(messages, sampling)) as deltas:
                async for delta in deltas:
                    if delta.reply_id and not request.command:
                        request.named(delta.reply_id)
                    if delta.text or delta.reasoning:
                        first = first or time.monotonic()
                        tokens += 1
                    if delta.usage:
                        tokens = delta.usage.completion_tokens
                    yield delta
            request.done(tokens, time.monotonic() - first if first else 0.0)
        finally:
            request.done()

    def _look(self) -> None:
        """Give up what is lost, after each look at the cluster."""
        snapshot = self._cluster.snapshot
        self._let_go(set(snapshot.instances))
        commands, seeds = tasks_of(snapshot, self.cluster_key)
        self._lists = self._lists or bool(commands)
        for attempt, (trail, _) in list(self._open.items()):
            verdict = judge(trail, attempt, snapshot, commands, seeds, lists=self._lists)
            if verdict is None:
                continue
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

    async def revive(self, report: Report) -> None:
        """See `End.revive`: exo forgets what was loaded when its master changes."""
        await self._cluster.models.ensure(self.name, report, cluster=self.cluster_key)

    async def aclose(self) -> None:
        """See `End.aclose`."""
        self._unwatch()
        await asyncio.gather(*(attempt.close() for attempt in [*self._open, *self._left]), *self._closing)
        self._left.clear()
        for server in self._servers.values():
            await server.aclose()


def _reason(error: ModelError, device: DeviceHealth | None) -> str:
    """Return half a line about a request that failed at a device's API."""
    name = device_name(device.device) if device is not None else "exo"
    if isinstance(error, ModelUnreachableError):
        return f"{name} stopped answering"
    return f"{name} went silent" if isinstance(error, ModelStalledError) else f"{name} broke off replies"


async def _nowhere() -> AsyncGenerator[Delta, None]:
    nothing: Sequence[Delta] = ()
    for delta in nothing:
        yield delta
    raise ModelUnreachableError("No device of the exo cluster takes requests.")
