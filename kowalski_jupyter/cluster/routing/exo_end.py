"""A model in an exo cluster: as many replicas as there are, behind whichever device's API answers.

A client cannot choose the replica: exo's master sends a request to the one with the fewest, by a count that is a moment
old. So no more are sent at once than would be well if they all went to the same one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final

import httpx

from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.health import device_name
from kowalski_jupyter.cluster.routing.attempt import Attempt, NotSentError
from kowalski_jupyter.cluster.routing.breaker import Breaker
from kowalski_jupyter.cluster.routing.end import Condition, End
from kowalski_jupyter.cluster.routing.outlook import Outlook, look_at
from kowalski_jupyter.cluster.routing.pace import Pace, reserve, stock
from kowalski_jupyter.cluster.routing.score import Wanted
from kowalski_jupyter.cluster.routing.under_way import UnderWay
from kowalski_jupyter.cluster.routing.vigil import LostError, Trail
from kowalski_jupyter.cluster.snapshot import DeviceHealth, Snapshot
from kowalski_jupyter.models.base import (
    Delta,
    Message,
    ModelCutOffError,
    ModelError,
    ModelRefusedError,
    ModelStalledError,
    ModelUnreachableError,
    Report,
    Sampling,
)
from kowalski_jupyter.models.exo import EXO_WIDTH
from kowalski_jupyter.models.openai import A_MOMENT, AT_ONCE, OpenAIModel

_API_PAUSE: Final = 2.0
"""Seconds for which one device's API is left alone at most: each look at the cluster tells whether it is back."""

_OF_AN_API: Final = (ModelUnreachableError, ModelStalledError, ModelCutOffError)


class ExoEnd(End):
    """One model in one cluster.

    Args:
        cluster: under watch.
        key: of the cluster.
        model: its id.
        context_tokens: the window, if known.
        restores: whether as many replicas as there were are loaded again when exo has forgotten them.

    Attributes:
        cluster_key: the same as `key`.
    """

    def __init__(
        self, cluster: Cluster, key: str, model: str, context_tokens: int | None, *, restores: bool = True
    ) -> None:
        super().__init__(f"{key} {model}", model, context_tokens, EXO_WIDTH)
        self._cluster = cluster
        self.cluster_key = key
        self._servers: dict[str, OpenAIModel] = {}
        self._apis: dict[str, Breaker] = {}
        self._under_way = UnderWay()
        self._pace = Pace()
        self._last: Outlook | None = None
        self._refused_in: Snapshot | None = None
        self._restores = restores
        self._session = -1
        self._had = 0
        self._unwatch = cluster.watch(self._look)
        self._count_replicas()

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
        if seen.snapshot is self._refused_in:
            return Condition(0, why=f"{self.name} on exo: it is not loaded")
        if not any(self._breaker(url).allows for url, _ in seen.places):
            trying = any(self._breaker(url).trying for url, _ in seen.places)
            return Condition(0, why="no device of the exo cluster takes requests", trying=trying)
        if not self.breaker.allows:
            return Condition(0, why=f"{self.name} on exo has failed again and again", trying=self.breaker.trying)
        self.width.set_most(seen.condition.slots)
        return seen.condition

    def _seen(self) -> Outlook:
        """Return what the last look at the cluster means for it."""
        snapshot = self._cluster.snapshot
        if self._last is None or self._last.snapshot is not snapshot:
            self._last = look_at(snapshot, self.cluster_key, self.name)
        return self._last

    def room(self, condition: Condition) -> int:
        """See `End.room`. Short replies have a reserve; and where others fill the cluster, we still queue a little."""
        if not any(self._breaker(url).closed for url, _ in self._seen().places):
            return 1  # to see whether an API is back
        replicas = max(1, condition.slots // EXO_WIDTH)
        limit = min(self.width.limit, condition.slots)
        spare = reserve(limit, replicas, self.seconds("subcall"))
        return max(replicas, limit + spare - condition.others)

    def stock(self, condition: Condition) -> int:
        """See `End.stock`. None where exo works on less than it could, or for others too: they would wait longer."""
        if condition.others or self.replicas != 1 or self.width.limit < condition.slots:
            return 0
        return stock(condition.slots, self.seconds("subcall"), condition.round_trip)

    @property
    def replicas(self) -> int:
        """See `End.replicas`."""
        return self._seen().condition.slots // EXO_WIDTH

    def pause(self) -> float:
        """See `End.pause`."""
        return self._pace.pause(self.replicas, self.in_flight, self.seconds("subcall"))

    def took(self, wanted: Wanted) -> None:
        """See `End.took`."""
        super().took(wanted)
        self._pace.sent()

    def failed(self, error: ModelError) -> None:
        """See `End.failed`. Of one device's API only that is left alone, and of what is lost the cluster tells."""
        if isinstance(error, _OF_AN_API):
            self.breaker.left()
        else:
            super().failed(error)

    def _api(self) -> tuple[str, DeviceHealth | None] | None:
        """Return where the next request goes: to the API that has the fewest of ours, the nearest of those."""
        able = [place for place in self._seen().places if self._breaker(place[0]).allows]
        counts = self._under_way.by_api()
        return min(able, key=lambda place: counts[place[0]], default=None)

    def _breaker(self, url: str) -> Breaker:
        breaker = self._apis.get(url)
        if breaker is None:
            breaker = self._apis[url] = Breaker(longest=_API_PAUSE)
        return breaker

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
        node = device.device.id if device else None
        trail = Trail(self.cluster_key, self.name, url, node, health.session, sampling.seed)
        breaker = self._breaker(url)
        breaker.sent()

        def ended(attempt: Attempt) -> None:
            self._under_way.end(attempt)
            error = attempt.error
            if error is None:
                breaker.succeeded()
            elif isinstance(error, _OF_AN_API) and not self._forgotten(trail):
                breaker.failed(surely=isinstance(error, ModelUnreachableError))
                error.reason = error.reason or _reason(error, device)
            else:
                breaker.left()
            over(attempt)

        attempt = Attempt(self._stream(url, messages, sampling), news, ended)
        self._under_way.begin(attempt, trail)
        return attempt

    def _forgotten(self, trail: Trail) -> bool:
        """Tell whether a request was lost with a master, of which no device's API is to blame."""
        health = self._cluster.snapshot.clusters.get(self.cluster_key)
        return health is not None and health.session != trail.session

    async def _stream(self, url: str, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        server = self._servers.get(url)
        if server is None:
            server = OpenAIModel(url, self.name, kind="exo", context_tokens=self.context_tokens)
            server.pauses, server.busy_pause = AT_ONCE, A_MOMENT
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
        except ModelRefusedError as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
            # The last look is older than what exo says: the next one tells what there is.
            self._refused_in = self._cluster.snapshot
            raise LostError(f"{self.name} was unloaded") from error
        finally:
            request.done()

    def _look(self) -> None:
        """Give up what is lost, after each look at the cluster."""
        self._count_replicas()
        self._under_way.look(self._cluster.snapshot, self.cluster_key)

    def _count_replicas(self) -> None:
        """Note how many replicas this master has had last; a new one's when they are as many again."""
        health = self._cluster.snapshot.clusters.get(self.cluster_key)
        if health is not None and self.replicas and (health.session == self._session or self.replicas >= self._had):
            self._session, self._had = health.session, self.replicas

    async def revive(self, report: Report) -> None:
        """See `End.revive`: exo forgets what was loaded when its master changes, all replicas of it."""
        await self._cluster.models.ensure(self.name, report, cluster=self.cluster_key)
        snapshot = await self._cluster.look()
        missing = self._had - self.replicas if self._restores else 0
        self._session = snapshot.clusters[self.cluster_key].session
        for _ in range(missing):
            busy = {node for each in self._cluster.snapshot.instances.values() for node in each.instance.nodes}
            with contextlib.suppress(ModelError):  # it does without
                await self._cluster.models.load(self.name, report, cluster=self.cluster_key, avoid=frozenset(busy))

    async def aclose(self) -> None:
        """See `End.aclose`."""
        self._unwatch()
        await self._under_way.close()
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
    raise NotSentError("No device of the exo cluster takes requests.")
