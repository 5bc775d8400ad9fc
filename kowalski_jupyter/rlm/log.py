"""The append-only list of a run's events, and how others follow it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from kowalski_jupyter.rlm.events import Event, RunFinished


class EventLog:
    """A run's events in order. Belongs to one event loop; only `append` and `take` change it.

    Args:
        listener: called with every event as it is appended (the service's store and panel).
    """

    def __init__(self, listener: Callable[[Event], None] = lambda _: None) -> None:
        self.events: list[Event] = []
        self._listener = listener
        self._waiting: set[asyncio.Event] = set()
        self._end = asyncio.Event()

    @property
    def finished(self) -> bool:
        """Whether the last event of the run is in the list."""
        return bool(self.events) and isinstance(self.events[-1], RunFinished)

    def append(self, event: Event) -> None:
        """Number the event, which is new, stamp it and tell everyone who follows.

        What the run has left behind may end after its last event: that is not told any more.
        """
        if self.finished:
            return
        event.stamp(len(self.events) + 1, time.time())
        self.take(event)

    def take(self, event: Event) -> None:
        """Add the next event as it was numbered and stamped elsewhere, and tell everyone who follows."""
        self.events.append(event)
        self._listener(event)
        for waiting in self._waiting:
            waiting.set()
        if self.finished:
            self._end.set()

    async def wait_finished(self, seconds: float) -> None:
        """Return when the last event is there, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._end.wait()

    async def follow(self, after: int = 0) -> AsyncIterator[list[Event]]:
        """Yield the events with `seq` above `after`, as many at once as there are, up to the run's last.

        What is new is told two rounds of the event loop later: the run goes on in the first, and a listener may have
        put off its work to the end of that one. At a run's end there is nothing to put off for.
        """
        news = asyncio.Event()
        self._waiting.add(news)
        try:
            while True:
                news.clear()
                known = len(self.events)
                if known > after:
                    if not self.finished:
                        await asyncio.sleep(0)
                        await asyncio.sleep(0)
                    batch, after = self.events[after:known], known
                    yield batch
                    continue
                if self.finished:
                    return
                await news.wait()
        finally:
            self._waiting.discard(news)
