"""All ends of a service, and what decides between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.routing.dispatcher import Dispatcher
from kowalski_jupyter.cluster.routing.end import End, PlainEnd
from kowalski_jupyter.cluster.routing.exo_end import ExoEnd
from kowalski_jupyter.cluster.routing.hedging import WHY, Hedging
from kowalski_jupyter.cluster.routing.scaling import Patience, Scaling
from kowalski_jupyter.cluster.routing.score import Wanted, Weights
from kowalski_jupyter.cluster.routing.telling import Tell
from kowalski_jupyter.cluster.routing.troubles import Troubles
from kowalski_jupyter.models.base import ChatModel
from kowalski_jupyter.models.openai import A_MOMENT, AT_ONCE, OpenAIModel

_RETRIES: Final = 60.0
_PER_REPLY: Final = 0.2
_PER_SECOND: Final = 2.0


class Retries:
    """A purse that requests are sent again from: no more than a fifth of all, once the first sixty are spent.

    Where it is empty a request waits: what fails again and again is not asked faster and faster.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = _RETRIES
        self._counted = clock()

    def earned(self) -> None:
        """Note a whole reply."""
        self._left = min(_RETRIES, self._left + _PER_REPLY)

    async def wait(self) -> None:
        """Take one out, as soon as there is one."""
        self._left = min(_RETRIES, self._left + (self._clock() - self._counted) * _PER_SECOND)
        self._counted = self._clock()
        self._left -= 1
        if self._left < 0:
            await asyncio.sleep(-self._left / _PER_SECOND)


class Router:
    """Belongs to one event loop.

    Args:
        cluster: the user's devices.
        weights: by the names of `Weights`.
        hedges: whether a reply that takes too long may be asked for at a second end too.
        adds_replicas: whether a model may be loaded on further devices while many requests wait for it.
        patience: how long they wait before that is done.

    Raises:
        ValueError: a weight is wrong.

    Attributes:
        cluster: the user's devices.
        dispatcher: holds requests and places them.
        troubles: tells what was lost and sent again.
        retries: limits how much is sent again.
    """

    def __init__(
        self,
        cluster: Cluster,
        weights: Mapping[str, float] | None = None,
        *,
        hedges: bool = True,
        adds_replicas: bool = False,
        patience: Patience = Patience(),  # noqa: B008 (it is frozen)
    ) -> None:
        self.cluster = cluster
        self.dispatcher = Dispatcher(Weights.of(weights or {}))
        self.troubles = Troubles()
        self.retries = Retries()
        self._hedging = Hedging(self.dispatcher.decisions) if hedges else None
        self._adds_replicas = adds_replicas
        self._patience = patience
        self._scaling: Scaling | None = None
        self._ends: dict[str, End] = {}
        self._unwatch = cluster.watch(self.dispatcher.wake)

    def exo(self, key: str, model: str, context_tokens: int | None) -> End:
        """Return the end that is a model in a cluster."""
        if self._adds_replicas and self._scaling is None:
            self._scaling = Scaling(self.cluster, self.dispatcher, self._in_clusters, self._patience)
        known = self._ends.get(f"{key} {model}")
        if known is None:
            known = ExoEnd(self.cluster, key, model, context_tokens, restores=not self._adds_replicas)
            self._ends[known.key] = known
        return known

    def _in_clusters(self) -> list[ExoEnd]:
        return [end for end in self._ends.values() if isinstance(end, ExoEnd)]

    async def plain(self, key: str, model: ChatModel) -> End:
        """Return the end that is a server's model; `model` is closed with it, or now if that end is there already."""
        if key in self._ends:
            await model.aclose()
            return self._ends[key]
        if isinstance(model, OpenAIModel):
            model.pauses, model.busy_pause = AT_ONCE, A_MOMENT
        return self._ends.setdefault(key, PlainEnd(key, model))

    def hedge_at(self, end: End, wanted: Wanted) -> float | None:
        """Return when a reply that was asked for now takes too long; None if it is left to take its time."""
        return None if self._hedging is None else self._hedging.at(end, wanted)

    def hedge(self, ends: Sequence[End], first: End, wanted: Wanted) -> End | None:
        """Return where to ask a second time, taken; None if there is no room to spare."""
        if self._hedging is None or not self._hedging.allows():
            return None
        others = [end for end in ends if end is not first or end.replicas > 1]
        second = self.dispatcher.spare(wanted, others, WHY.format(where=first.where))
        if second is not None:
            self._hedging.hedged()
        return second

    def hedge_over(self, wanted: Wanted, ends: Sequence[End], whole: Sequence[bool], tell: Tell) -> None:
        """Note what came of attempts at these ends, of which some are whole; nothing, where there was but one."""
        if self._hedging is not None and len(ends) > 1 and any(whole):
            self._hedging.over(wanted, *ends, won=not whole[0], tell=tell)

    async def leave(self, ends: Sequence[End]) -> None:
        """Note that a model made of these ends is not needed any more."""
        for end in ends:
            end.users -= 1
            if end.users <= 0 and self._ends.get(end.key) is end:
                del self._ends[end.key]
                await end.aclose()

    async def close(self) -> None:
        """Close everything."""
        self._unwatch()
        self.troubles.close()
        if self._hedging is not None:
            self._hedging.close()
        if self._scaling is not None:
            await self._scaling.close()
        await self.dispatcher.close()
        ends = list(self._ends.values())
        self._ends.clear()
        for end in ends:
            await end.aclose()
