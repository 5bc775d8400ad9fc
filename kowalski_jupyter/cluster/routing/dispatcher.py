"""Sends each request to the end that suits it best, and holds those for which there is no room."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from kowalski_jupyter.cluster.routing.decisions import Decisions
from kowalski_jupyter.cluster.routing.end import Condition, End
from kowalski_jupyter.cluster.routing.queue import Queue, Waiting
from kowalski_jupyter.cluster.routing.score import Figures, Wanted, Weights, cost, reasons
from kowalski_jupyter.models.base import ModelError

_TICK: Final = 0.1
"""Seconds between two looks at what waits, besides those when something changes."""

_SCANNED: Final = 32
"""Waiting requests that are looked at behind the first for which there is no room."""

_SURE: Final = 1.25
"""How many times as long as by itself a reply is taken to need at an end that is full, besides its turn there."""

_PATIENCE: Final = 0.5
"""Seconds without any end before the user is told."""

_REVIVE_EVERY: Final = 3.0


class Dispatcher:
    """Belongs to one event loop.

    Args:
        weights: the user's.

    Attributes:
        decisions: the last ones.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.decisions = Decisions()
        self._queue = Queue()
        self._ticking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._woken: asyncio.Handle | None = None
        self._without: dict[Callable[[str], None], float] = {}
        self._told: set[Callable[[str], None]] = set()
        self._reviving: dict[End, asyncio.Task[None]] = {}

    @property
    def waiting(self) -> int:
        """How many requests wait for room anywhere."""
        return len(self._queue)

    def waiting_for(self, end: End) -> list[Waiting]:
        """Return the requests that wait for room at an end, or at others too."""
        return [waiting for waiting in self._queue if end in waiting.ends]

    async def place(
        self, wanted: Wanted, ends: Sequence[End], tell: Callable[[str], None], *, again: bool = False
    ) -> End:
        """Return the end that a request goes to, as soon as there is one; it counts there as taken.

        Args:
            wanted: what is known of the request.
            ends: where it may go.
            tell: takes a line for the user, if it has to wait for an end to come back.
            again: whether it was sent before, and lost.
        """
        if not self._queue and (chosen := self._choose(wanted, ends, 1)) is not None:
            return chosen
        waiting = Waiting(wanted, ends, tell, again, asyncio.get_running_loop().create_future())
        self._queue.add(waiting)
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick())
        self.wake()
        try:
            return await waiting.placed
        except BaseException:
            if waiting.placed.done() and not waiting.placed.cancelled():
                # It was given a place in the moment in which it was cancelled.
                end = waiting.placed.result()
                end.in_flight -= 1
                end.breaker.left()
                self.wake()
            raise
        finally:
            self._queue.remove(waiting)

    def spare(self, wanted: Wanted, ends: Sequence[End], why: str) -> End | None:
        """Return an end with room for a second attempt, taken for it; None while anything waits."""
        best = None if self._queue else self._best(wanted, ends, 1)
        return None if best is None else self._take(wanted, best[0], why, did="also went to")

    def wake(self) -> None:
        """Look at what waits, once this turn of the loop is over: something has changed."""
        if self._queue and self._woken is None:
            self._woken = asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._woken = None
        placed, blocked = 0, 0
        full: set[tuple[int, str]] = set()
        for waiting in self._queue:
            if waiting.placed.done():
                continue
            alike = (id(waiting.ends), waiting.wanted.kind)
            chosen = None if alike in full else self._choose(waiting.wanted, waiting.ends, len(self._queue) - placed)
            if chosen is not None:
                placed += 1
                waiting.placed.set_result(chosen)
                self._back(waiting.tell, chosen)
                continue
            if alike not in full:
                full.add(alike)
                for end in waiting.ends:
                    if not end.condition().slots:
                        self._revive(end, waiting.tell)
            blocked += 1
            if blocked > _SCANNED:
                break

    async def close(self) -> None:
        """Stop looking. Whoever waits is cancelled by its own run."""
        tasks = [task for task in (self._ticking, *self._reviving.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for handle in (self._timer, self._woken):
            if handle is not None:
                handle.cancel()

    # -- choosing ----------------------------------------------------------------------------------------

    def _choose(self, wanted: Wanted, ends: Sequence[End], queued: int) -> End | None:
        """Return the best end that has room, taken; None if there is none, or if to wait for another is better."""
        best = self._best(wanted, ends, queued)
        return None if best is None else self._take(wanted, *best)

    def _take(self, wanted: Wanted, chosen: End, why: str, *, did: str = "went to") -> End:
        chosen.took(wanted)
        self.decisions.note(wanted.kind, chosen.where, why, did=did)
        return chosen

    def _best(self, wanted: Wanted, ends: Sequence[End], queued: int) -> tuple[End, str] | None:
        """Return what `_choose` does, and why, and take nothing."""
        able = [(end, condition) for end in ends if (condition := end.condition()).slots and _fits(wanted, end)]
        if not wanted.small:
            able = [each for each in able if not each[1].small_only] or able
        if wanted.avoid:
            able = [each for each in able if each[0].key not in wanted.avoid] or able
        if not able:
            return None
        known = [seconds for end, _ in able if (seconds := end.seconds(wanted.kind)) is not None]
        typical = min(known, default=0.0)
        free: list[tuple[float, int, End, Figures]] = []
        soon: list[float] = []
        for place, (end, condition) in enumerate(able):
            if end.in_flight < end.room(condition) + self._stock(wanted, end, condition, able, queued):
                pause = end.pause()
                if pause > 0:
                    soon.append(pause)
                    continue
                figures = end.figures(wanted, condition)
                free.append((cost(figures, self.weights, typical), place, end, figures))
        if soon and not free:
            self._wake_in(min(soon))
        if not free:
            return None
        _, _, chosen, figures = min(free, key=lambda each: each[:2])
        faster = self._faster(wanted, chosen, able, queued)
        if faster is not None:
            return None
        return chosen, self._why(figures, able, free)

    def _stock(
        self, wanted: Wanted, end: End, condition: Condition, able: Sequence[tuple[End, Condition]], queued: int
    ) -> int:
        """Return how many may wait at an end: none when all that waits is done elsewhere before it is done with one."""
        seconds = end.seconds(wanted.kind)
        stock = end.stock(condition) if seconds is not None and queued > condition.slots else 0
        if not stock or seconds is None:
            return 0
        meanwhile = sum(at.slots * seconds / (other.seconds(wanted.kind) or seconds) for other, at in able)
        return stock if queued > meanwhile else 0

    def _faster(self, wanted: Wanted, chosen: End, able: Sequence[tuple[End, Condition]], queued: int) -> End | None:
        """Return an end that is full and yet would have all that waits done sooner than `chosen` this one request."""
        seconds = chosen.seconds(wanted.kind)
        if seconds is None:
            return None
        for end, condition in able:
            other = end.seconds(wanted.kind)
            if end is not chosen and other is not None and other * (_SURE + queued / condition.slots) < seconds:
                return end
        return None

    def _why(
        self, figures: Figures, able: Sequence[tuple[End, Condition]], free: Sequence[tuple[float, int, End, Figures]]
    ) -> str:
        said = reasons(figures)
        if len(able) == 1:
            return f"the only one that answers: {said}"
        return f"{said}; the best of {len(free)} with room" if len(free) > 1 else f"{said}; the others are full"

    # -- waiting -----------------------------------------------------------------------------------------

    def _wake_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is None or self._timer.cancelled() or self._timer.when() <= loop.time():
            self._timer = loop.call_later(seconds, self.wake)

    async def _tick(self) -> None:
        while self._queue:
            await asyncio.sleep(_TICK)
            self.wake()
            now = time.monotonic()
            lacking: dict[Callable[[str], None], str] = {}
            for tell, ends in {(id(each.ends), each.tell): (each.tell, each.ends) for each in self._queue}.values():
                conditions = [end.condition() for end in ends]
                if not any(condition.slots or condition.trying for condition in conditions):
                    lacking[tell] = "; ".join(condition.why for condition in conditions)
                if len(lacking) > _SCANNED:
                    break
            for tell, why in lacking.items():
                since = self._without.setdefault(tell, now)
                if tell not in self._told and now - since > _PATIENCE:
                    self._told.add(tell)
                    tell(f"No model answers now ({why}). The run waits until one does; interrupt the cell to stop it.")
        self._without.clear()

    def _back(self, tell: Callable[[str], None], end: End) -> None:
        self._without.pop(tell, None)
        if tell in self._told:
            self._told.discard(tell)
            tell(f"{end.where} answers again: the run goes on.")

    def _revive(self, end: End, tell: Callable[[str], None]) -> None:
        if end not in self._reviving:
            self._reviving[end] = task = asyncio.create_task(self._bring_back(end, tell))
            task.add_done_callback(lambda _: self._reviving.pop(end, None))

    async def _bring_back(self, end: End, tell: Callable[[str], None]) -> None:
        told: list[str] = []

        def report(text: str, done: int | None, total: int | None) -> None:
            del done, total
            if not told:
                told.append(text)
                tell(f"{text}.")

        try:
            await end.revive(report)
        except ModelError:
            await asyncio.sleep(_REVIVE_EVERY)
        else:
            self.wake()
            await asyncio.sleep(_TICK)


def _fits(wanted: Wanted, end: End) -> bool:
    return end.context_tokens is None or wanted.tokens <= end.context_tokens
